"""Bundles of speech recognition with random weights, and sounds that they hear something in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from service.bundle.manifest import Limits
from service.bundle.padding import FloatArray
from service.bundle.task_options import FramesSpec, TranscriptionOptions, WaveformSpec
from tests.training.tiny_speech import FRAMES, NUM_FEATURES, SOUND, VOCABULARY, transcriber, utterances
from training.config.signals import SignalConfig
from training.evaluation.task import Question
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.signal_values import json_form
from training.preprocessing.vocabulary import fit_characters
from training.publish.export import export_bundle

RATE_HZ = SOUND.sample_rate_hz
#: Two convolutions, each of which halves what a window of 10 ms brings.
SAMPLES_PER_STEP = 4 * SOUND.samples_per_step
MAX_STEPS = 2000


def write_tiny_speech_bundle(
    models_root: Path, name: str, signal: SignalConfig = SOUND, *, bidirectional: bool = False
) -> Path:
    """Export a network with random weights, verified, with two recorded answers."""
    models_root.mkdir(parents=True, exist_ok=True)
    tokenizer = fit_characters(["abcde"])
    assert tokenizer.vocabulary_size == VOCABULARY
    spec = (
        WaveformSpec(sample_rate_hz=RATE_HZ, samples_per_step=SAMPLES_PER_STEP)
        if signal.kind == "waveform"
        else FramesSpec(features=tuple(f"feature {number}" for number in range(NUM_FEATURES)))
    )
    options = TranscriptionOptions(
        signal=spec,
        frames_per_step=1 if signal.kind == "waveform" else signal.stride,
        step_ms=1000 * SAMPLES_PER_STEP / RATE_HZ if signal.kind == "waveform" else 30.0,
        flush_steps=0 if bidirectional else 3,
        endpoint_ms=200.0,
        max_utterance_s=1.0,
    )
    draft = BundleDraft(name, options, {"text": tokenizer}, limits=Limits(max_input_tokens=MAX_STEPS))
    questions = [Question(json_form(record)) for record in utterances(signal, 2)]
    network = transcriber(signal, bidirectional=bidirectional)
    with torch.no_grad():
        network.output.weight *= 8.0  # so that texts depend on the sound, and are not blank throughout
        network.output.bias[:4] = torch.tensor([0.0, -9.0, -9.0, -9.0])
    return export_bundle(network, draft, questions, models_root).path


def sound(seconds: float, seed: int = 1) -> FloatArray:
    """Noise whose loudness changes, from -1 to 1."""
    chance = np.random.default_rng(seed)
    num_samples = round(seconds * RATE_HZ)
    loudness = np.repeat(chance.random(-(-num_samples // 400)), 400)[:num_samples]
    return np.clip(0.5 * loudness * chance.standard_normal(num_samples), -1, 1).astype(np.float32)


__all__ = ["FRAMES", "SOUND", "sound", "write_tiny_speech_bundle"]
