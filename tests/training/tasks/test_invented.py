"""Examples for bundles of private data: none of them is a record, and they are always the same."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from training.config.recipe import parse_recipe
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    ParsedSentence,
    Passage,
    Record,
    SentencePair,
    Series,
    TaggedSentence,
    text_key,
)
from training.tasks.invented import invented_records, invented_texts

CHANCE = random.Random(3)
WORDS = [f"word{chr(97 + number)}" for number in range(20)]
SENTENCES = [" ".join(CHANCE.choice(WORDS) for _ in range(6)) + f" secret{number}" for number in range(200)]
NAMES = ["".join(CHANCE.choice("abcdefgh") for _ in range(6)) for _ in range(300)]


@pytest.mark.parametrize("known", [SENTENCES, NAMES, ["x"], ["", " "], ["日本語の文"] * 9, [*NAMES, *SENTENCES]])
def test_no_invented_text_is_a_record(known: list[str]) -> None:
    """Whatever the texts are like, up to four different texts come out, none of them known, and no rare word."""
    texts = invented_texts(known, random.Random(1))
    assert 1 <= len(texts) <= 4
    assert {text_key(text) for text in texts}.isdisjoint(text_key(text) for text in known)
    assert not any("secret" in text for text in texts)
    assert texts == invented_texts(known, random.Random(1))


def test_frequent_words_are_used() -> None:
    """Texts of several words are made of words that many records hold, so that the vocabulary knows them."""
    assert all(word in WORDS for text in invented_texts(SENTENCES, random.Random(1)) for word in text.split())


def records_of(kind: str) -> Sequence[Record]:
    rows = np.random.default_rng(0).normal(3.0, 2.0, (40, 12, 2)).astype(np.float32)
    match kind:
        case "text":
            return [LabelledText(text, "x") for text in SENTENCES]
        case "tags":
            return [TaggedSentence(tuple(text.split()), ("O",) * 7) for text in SENTENCES]
        case "trees":
            nothing = ("_",) * 7
            return [ParsedSentence(tuple(text.split()), nothing, (0,) * 7, nothing, nothing) for text in SENTENCES]
        case "pairs":
            return [SentencePair(text, text[::-1]) for text in SENTENCES]
        case "passage":
            return [Passage("\n".join(SENTENCES))]
        case "frames":
            return [LabelledSignal(values, "up", ("a", "b"), group="annabel") for values in rows]
        case "sound":
            return [LabelledSignal(values[:, 0] / 10, "yes", (), 8000, "annabel") for values in rows]
        case "pictures":
            return [CaptionedPicture(b"png", "a secret")]
        case _:
            values = rows.reshape(-1, 2).astype(np.float64)
            return [Series(("a", "b"), ("a",), values, tuple(map(str, range(480))), 480)]


@pytest.mark.parametrize("kind", ["text", "tags", "trees", "pairs", "passage", "frames", "sound", "pictures", "series"])
def test_records_of_every_kind(kind: str) -> None:
    """They are of the kind of the data, without labels, captions or groups, and are no records of it."""
    known = records_of(kind)
    task = {"series": "forecasting", "pictures": "captioning"}.get(kind, "classification")
    values = {"name": "mine", "task": task, "data": {"train": "a"}}
    found = invented_records(parse_recipe(values, "made"), known, known)
    assert found
    assert {type(record) for record in found} == {type(known[0])}
    assert "secret" not in repr(found)
    assert "annabel" not in repr(found)
    match found[0]:
        case LabelledSignal(made):
            assert made.shape[0] <= 12
            assert np.isfinite(made).all()
            assert not any(np.array_equal(made, record.values) for record in known)  # type: ignore[union-attr]
        case CaptionedPicture(png):
            assert Image.open(io.BytesIO(png)).size == (64, 64)
        case Series(_, _, rows):
            assert np.isfinite(rows).all()
            given = {tuple(row) for row in np.round(known[0].values, 4).tolist()}  # type: ignore[union-attr]
            assert given.isdisjoint(tuple(row) for row in rows.tolist())
