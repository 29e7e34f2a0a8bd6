"""Tiny models of speech in numpy: an encoder whose tokens and state are easy to compute, and log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec, Limits, Manifest, StateSpec, TensorSpec
from service.bundle.padding import FloatArray
from service.bundle.task_options import FramesSpec, TranscriptionOptions, WaveformSpec
from service.tasks.core.task import Array, Frames, Waveform
from tests.tasks.builders import character_tokenizer

CHARACTERS = " abc"
VOCABULARY = 4 + len(CHARACTERS)
RATE_HZ, PER_STEP = 8000, 80
STATE = (
    StateSpec(name="level", next_name="next_level", layers=1, width=1),
    StateSpec(name="count", next_name="next_count", layers=2, width=3),
)
SOUND = WaveformSpec(sample_rate_hz=RATE_HZ, samples_per_step=PER_STEP)
FRAMES = FramesSpec(features=("left", "right"))


class NoRunner:
    """A runner that must not be asked."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        raise AssertionError(f"{graph} was run")


NO_RUNNER = NoRunner()


def log_probs_of(ids: Sequence[int], vocabulary_size: int, probability: float = 0.9) -> FloatArray:
    """`[steps, vocabulary]`: each step gives its token that probability, and the others the rest in equal parts."""
    rest = (1 - probability) / (vocabulary_size - 1)
    probabilities = np.full((len(ids), vocabulary_size), rest)
    probabilities[np.arange(len(ids)), list(ids)] = probability
    return np.log(probabilities).astype(np.float32)


def random_log_probs(generator: np.random.Generator, num_steps: int, vocabulary_size: int) -> FloatArray:
    """`[steps, vocabulary]`, with many blanks and runs."""
    ids = np.where(generator.random(num_steps) < 0.4, 0, generator.integers(1, min(4, vocabulary_size), num_steps))
    logits = generator.normal(size=(num_steps, vocabulary_size))
    logits[np.arange(num_steps), ids] += 4.0
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), dtype=np.float32)


class LevelRunner:
    """An encoder that reads the loudness of each step as a token: 0.1 is the first character, 0.2 the second, ...

    A step is answered one step later, as the state `level` carries it over: so the answer to the last one comes with
    the silence after the input. `count` counts steps. What it was run with is kept: (rows, longest) of each run.
    """

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert graph == "encoder"
        values, lengths = feeds.get("samples", feeds.get("frames")), feeds["lengths"]
        assert values is not None
        if values.ndim == 3:
            values, per_step = values[:, :, 0], 1
        else:
            per_step = PER_STEP
        num_steps = -(-int(lengths.max()) // per_step)
        self.runs.append((len(values), num_steps))
        padded = np.zeros((len(values), num_steps * per_step), dtype=np.float32)
        for row, length in enumerate(lengths.tolist()):
            padded[row, :length] = values[row, :length]
        # NaN where a step has some, so that a test can have a row that fails.
        levels = np.abs(padded.reshape(len(values), num_steps, per_step)).mean(axis=2)
        before = np.concatenate([feeds["level"][0], levels], axis=1)
        steps = -(-lengths // per_step)
        log_probs = np.stack([_spoken(row) for row in before[:, :-1]])
        last = before[np.arange(len(values)), steps]
        return {
            "log_probs": log_probs,
            "next_level": last.astype(np.float32)[None, :, None],
            "next_count": feeds["count"] + steps.astype(np.float32)[None, :, None],
        }


def _spoken(levels: FloatArray) -> FloatArray:
    numbers = np.nan_to_num(np.round(levels * 10)).astype(int) % (len(CHARACTERS) + 1)
    found = log_probs_of([0 if number == 0 else 3 + number for number in numbers.tolist()], VOCABULARY)
    found[np.isnan(levels)] = np.nan
    return found


def speech_bundle(signal: Any = SOUND, max_steps: int = 4000, **options: Any) -> Bundle:
    """A streaming bundle for `LevelRunner`, with steps of 10 ms: 80 ms of silence end an utterance."""
    settings = {"step_ms": 10.0, "flush_steps": 2, "endpoint_ms": 80.0, "max_utterance_s": 1.0} | options
    shape = ("batch", "time") if isinstance(signal, WaveformSpec) else ("batch", "time", len(signal.features))
    states = [TensorSpec(name=s.name, dtype="float32", shape=(s.layers, "batch", s.width)) for s in STATE]
    after = [TensorSpec(name=s.next_name, dtype="float32", shape=(s.layers, "batch", s.width)) for s in STATE]
    name = "samples" if isinstance(signal, WaveformSpec) else "frames"
    encoder = GraphSpec(
        file="encoder.onnx",
        inputs=(
            TensorSpec(name=name, dtype="float32", shape=shape),
            TensorSpec(name="lengths", dtype="int64", shape=("batch",)),
            *states,
        ),
        outputs=(TensorSpec(name="log_probs", dtype="float32", shape=("batch", "steps", VOCABULARY)), *after),
    )
    manifest = Manifest(
        name="levels",
        task="transcription",
        options=TranscriptionOptions(signal=signal, **settings),
        graphs={"encoder": encoder},
        state=STATE,
        limits=Limits(max_input_tokens=max_steps),
        tokenizers={"text": "text.json"},
    )
    return Bundle(path=Path("levels"), manifest=manifest, tokenizers={"text": character_tokenizer(CHARACTERS)})


def speech(spelling: str, steps_per_character: int = 1) -> FloatArray:
    """Samples that `LevelRunner` hears as those characters; `-` is silence."""
    numbers = [0 if character == "-" else 1 + CHARACTERS.index(character) for character in spelling]
    steps = np.repeat(np.array(numbers, dtype=np.float32) / 10, steps_per_character)
    return np.repeat(steps, PER_STEP)


def sound(spelling: str, steps_per_character: int = 1) -> Waveform:
    return Waveform(speech(spelling, steps_per_character), RATE_HZ)


def frames(spelling: str) -> Frames:
    levels = speech(spelling)[::PER_STEP]
    return Frames(np.stack([levels, np.zeros_like(levels)], axis=1))
