"""Evaluation of speech recognition through the service's own task code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.bundle.manifest import DataSource
from tests.tasks.transcription.builders import FRAMES, RATE_HZ, LevelRunner, frames, speech, speech_bundle
from tests.tasks.transcription.tiny_transducer import TinyRecogniser, transducer_bundle
from training.config.recipe import parse_recipe
from training.data.records import Utterance
from training.evaluation.evaluate import evaluate_records
from training.evaluation.predictions import Prediction
from training.evaluation.tasks.catalogue import evaluation_task
from training.preprocessing.load_records import RunData

BUNDLE = speech_bundle()
TASK = evaluation_task(BUNDLE.manifest)


def utterance(text: str, heard: str, speaker: str = "") -> Utterance:
    """A sound that `LevelRunner` hears as `heard`, with silence between letters."""
    return Utterance(speech("-".join(heard)), text, sample_rate_hz=RATE_HZ, group=speaker)


def scored(records: list[Utterance], **parameters: Any) -> tuple[dict[str, Any], list[Prediction[Utterance]]]:
    kept: list[Prediction[Utterance]] = []
    found = evaluate_records(TASK, BUNDLE, LevelRunner(), records, parameters=parameters, keep=kept.append)
    return found, kept


def test_transcripts_are_scored_by_words_and_characters() -> None:
    """Batches of different length, one error of a word; the prediction of each record in its order."""
    found, kept = scored([utterance("ab c", "ab c"), utterance("a b", "a c"), utterance("c", "c")])
    assert [prediction.text for prediction in kept] == ["ab c", "a c", "c"]
    assert all(prediction.attention is None for prediction in kept)
    assert found["wer"] == pytest.approx(20.0)
    assert found["cer"] == pytest.approx(100 / 8)
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (pytest.approx(20.0), 0.0, 0.0)
    assert (found["words"], found["truncated"], found["refused"], found["count"]) == (5, 0, 0, 3)


def test_what_is_longer_than_the_limit_is_cut_and_what_the_model_cannot_read_is_refused() -> None:
    """Nothing ends the evaluation: the rest counts as left out."""
    strange = Utterance(frames("a").values, "a", FRAMES.features)
    records = [utterance("ab", "ab"), utterance("a b", "a b"), strange]
    found = evaluate_records(TASK, speech_bundle(max_steps=3), LevelRunner(), records)
    assert (found["truncated"], found["refused"]) == (1, 1)
    assert found["sentence_error"] == pytest.approx(200 / 3)


def test_the_analysis_sees_the_probabilities_of_the_encoder() -> None:
    """Right and wrong utterances are drawn, with the words where they are."""
    found, kept = scored([utterance("ab", "ab"), utterance("b", "c")], **TASK.analysis_parameters)
    plain, _ = scored([utterance("ab", "ab"), utterance("b", "c")])
    assert found == plain
    first, second = (prediction.attention for prediction in kept)
    assert first.probabilities.shape == (3 + BUNDLE.manifest.options.flush_steps, 4 + 4)  # type: ignore[union-attr]
    assert first.probabilities.argmax(axis=1).tolist() == [0, 5, 0, 6, 0]
    assert [word.word for word in (*first.words, *second.words)] == ["ab", "c"]
    assert first.step_s == 0.01


def test_frames_without_a_rate_are_scored_and_drawn() -> None:
    """Words have no place in seconds then."""
    bundle = speech_bundle(FRAMES, step_ms=0.0)
    record = Utterance(frames("a-b").values, "ab", FRAMES.features)
    kept: list[Prediction[Utterance]] = []
    asked = TASK.analysis_parameters
    found = evaluate_records(TASK, bundle, LevelRunner(), [record], parameters=asked, keep=kept.append)
    assert found["wer"] == 0.0
    assert kept[0].attention.words == []


def test_a_transducer_is_scored_and_drawn_without_probabilities() -> None:
    """What its encoder gives are vectors for the joint network, and no tokens of CTC."""
    kept: list[Prediction[Utterance]] = []
    records = [utterance("ab", "ab"), utterance("c", "ccc" * 40)]
    asked = TASK.analysis_parameters
    found = evaluate_records(
        TASK, transducer_bundle(), TinyRecogniser(3, 0.5), records, parameters=asked, keep=kept.append
    )
    assert (found["count"], found["refused"], found["truncated"]) == (2, 0, 0)
    assert all(prediction.text for prediction in kept), "random weights write something"
    assert [prediction.attention.probabilities for prediction in kept] == [None, None]


def test_sounds_are_brought_to_the_rate_of_the_recipe() -> None:
    """Once, before training; frames stay as they are."""
    sound = Utterance(np.zeros(1600, dtype=np.float32), "a", sample_rate_hz=16_000)
    recipe = parse_recipe(
        {"name": "x", "task": "transcription", "data": {"train": "a.tsv"}, "signal": {"kind": "waveform"}}, "x"
    )
    prepared = TASK.prepare(recipe, RunData([sound], [sound], DataSource(name="x", licence="x", splits={})))
    for part in (prepared.train, prepared.dev):
        (found,) = part
        assert isinstance(found, Utterance)
        assert (len(found.values), found.sample_rate_hz) == (800, 8000)
