"""Beams, word lists, phrases and keywords through the task: whole inputs, chunks of any size, and states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.bundle.padding import FloatArray
from service.errors import StateRefused
from service.tasks.core.parameters import check_parameters
from service.tasks.core.task import Waveform
from service.tasks.transcription.speech_state import SpeechState
from service.tasks.transcription.transcript import TranscriptionParameters
from service.tasks.transcription.transcription import Transcription
from tests.tasks.transcription.builders import RATE_HZ, LevelRunner, sound, speech_bundle

TASK = Transcription(speech_bundle(endpoint_ms=300.0))
SAID = "ab-c--- -b-a-c"
SAMPLES = sound(SAID, 2).samples

ASKED: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 4},
    "word list": {"vocabulary": ["abc", "bac", "b"]},
    "phrases": {"phrases": ["abc", "b"], "phrase_boost": 0.5},
    "keywords": {"keywords": ["abc", "ac", "BAC"], "words": True},
    "everything": {"num_beams": 3, "vocabulary": ["abc", "bac"], "phrases": ["bac"], "keywords": ["bac"]},
}


def parameters(given: dict[str, Any]) -> TranscriptionParameters:
    found: TranscriptionParameters = check_parameters(TranscriptionParameters, given)
    return found


def in_chunks(given: dict[str, Any], size: int, as_bytes: bool, samples: FloatArray = SAMPLES) -> list[Any]:
    """The utterances of a sound in chunks of so many samples, with the state as an object or as bytes."""
    state: SpeechState | bytes | None = None
    finished: list[Any] = []
    for start in range(0, len(samples), size):
        piece = Waveform(samples[start : start + size], RATE_HZ)
        example = TASK.chunk(piece, parameters(given), state, start + size >= len(samples))
        (output,) = TASK.run(LevelRunner(), [example])
        finished += [one for one in TASK.plain_answer(example, output) if one["is_final"]]
        after = TASK.state_after(example, output)
        state = after.to_bytes() if after is not None and as_bytes else after
    return finished


@pytest.mark.parametrize("name", ASKED)
def test_the_answer_is_the_same_whole_and_in_chunks(name: str) -> None:
    """Text and keywords do not depend on how the sound was divided, nor on whether the state was sent as bytes."""
    given = ASKED[name]
    whole = TASK.answer(LevelRunner(), sound(SAID, 2), given).model_dump(mode="json")
    assert whole["text"] == "abc bac"
    for size, as_bytes in ((37, False), (240, True), (1000, True)):
        pieces = in_chunks(given, size, as_bytes)
        assert " ".join(one["text"] for one in pieces) == whole["text"]
        assert [k for one in pieces for k in one.get("keywords", ())] == whole.get("keywords", [])
    if "keywords" in given:
        assert {found["keyword"] for found in whole["keywords"]} == {*given["keywords"]} - {"ac"}


@pytest.mark.parametrize("num_beams", [1, 3])
def test_keywords_of_every_utterance_have_their_times_in_the_whole_input(num_beams: int) -> None:
    """Times count from the start of the input: in the second utterance, in the third, and in chunks of any size."""
    silence = "-" * 40  # ends an utterance
    spelling = f"ab-c{silence}b-a-c{silence}--ab-c{silence}"
    given = {"keywords": ["abc", "bac"], "words": True, "num_beams": num_beams}
    expected = [("abc", 0.05), ("bac", 0.50), ("abc", 0.96)]  # the encoder is a step of 10 ms late
    whole = TASK.answer(LevelRunner(), sound(spelling), given).model_dump(mode="json")
    assert [(one["keyword"], one["time_s"]) for one in whole["keywords"]] == expected
    for size, as_bytes in ((33, False), (80, True), (1111, True)):
        pieces = in_chunks(given, size, as_bytes, sound(spelling).samples)
        assert [[(one["keyword"], one["time_s"]) for one in piece["keywords"]] for piece in pieces] == [
            [one] for one in expected
        ]
        assert [word["end_s"] for piece in pieces for word in piece["words"]] == [time_s for _, time_s in expected]
        assert all(one["start_s"] < time_s <= one["end_s"] for one, (_, time_s) in zip(pieces, expected, strict=True))


def test_chunks_with_other_parameters_are_refused() -> None:
    """A state of greedy decoding does not go on with beams, nor one of a word list with another."""
    piece = sound("ab")
    for first, second in ((0, 1), (1, 0), (2, 3)):
        given = [{}, {"num_beams": 2}, {"vocabulary": ["abc"]}, {"vocabulary": ["bac"]}]
        example = TASK.chunk(piece, parameters(given[first]), None, False)
        (output,) = TASK.run(LevelRunner(), [example])
        state = TASK.state_after(example, output)
        assert state is not None
        for before in (state, state.to_bytes()):
            with pytest.raises(StateRefused, match="keep the parameters"):
                TASK.chunk(piece, parameters(given[second]), before, False)
            assert TASK.chunk(piece, parameters(given[first]), before, False)


def test_strangers_with_other_parameters_in_one_batch_change_nothing() -> None:
    """Inputs that are decoded in five ways side by side are answered as alone."""
    examples = [TASK.preprocess(sound(SAID, 2), parameters(given)) for given in ({}, *ASKED.values())]
    outputs = TASK.run(LevelRunner(), examples)
    answers = [TASK.plain_answer(example, output) for example, output in zip(examples, outputs, strict=True)]
    alone = [TASK.answer(LevelRunner(), sound(SAID, 2), given).model_dump() for given in ({}, *ASKED.values())]
    assert answers == alone


def test_silence_and_noise_find_no_keyword() -> None:
    """Nothing is told of what was not said."""
    quiet = sound("-" * 50)
    assert TASK.answer(LevelRunner(), quiet, {"keywords": ["abc"]}).model_dump()["keywords"] == []
    loud = quiet.__class__(np.random.default_rng(0).normal(0, 0.02, 8000).astype(np.float32), 8000)
    assert TASK.answer(LevelRunner(), loud, {"keywords": ["abc"]}).model_dump()["keywords"] == []
