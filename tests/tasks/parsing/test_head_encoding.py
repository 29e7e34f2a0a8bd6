"""Heads as labels: encoded and decoded, word by word and as scores of arcs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.tasks.parsing.head_encoding import (
    LEAST_KNOWN,
    ROOT,
    UNKNOWN,
    HeadEncodings,
    decode_head,
    encode_heads,
)

TAGS = ("NOUN", "VERB", "DET", "X:Y")


def test_encodings_are_those_of_the_paper() -> None:
    """The determiner hangs from the first noun to its right, the second noun from the verb to its left."""
    tags = ["DET", "NOUN", "VERB", "DET", "ADJ", "NOUN"]
    heads = [2, 3, 0, 6, 6, 3]
    assert encode_heads(tags, heads) == ["NOUN:+1", "VERB:+1", ROOT, "NOUN:+1", "NOUN:+1", "VERB:-1"]


SENTENCES = st.lists(st.sampled_from(TAGS), min_size=1, max_size=7)


@settings(max_examples=50, deadline=None)
@given(SENTENCES, st.integers(0, 2**32 - 1))
def test_decoding_takes_back_encoding(tags: list[str], seed: int) -> None:
    """Every head has one encoding, which names that head and no other."""
    random = np.random.default_rng(seed)
    others = [[head for head in range(len(tags) + 1) if head != word] for word in range(1, len(tags) + 1)]
    heads = [int(random.choice(candidates)) for candidates in others]
    encodings = encode_heads(tags, heads)
    assert [decode_head(tags, word, encoding) for word, encoding in enumerate(encodings)] == heads


@settings(max_examples=50, deadline=None)
@given(SENTENCES, st.integers(0, 2**32 - 1))
def test_each_arc_has_the_score_of_its_encoding(tags: list[str], seed: int) -> None:
    """The table gives every word and candidate head the score of the encoding that names it, or the one of unknown."""
    random = np.random.default_rng(seed)
    everything = [ROOT, *(f"{tag}:{sign}{number}" for tag in TAGS for sign in "+-" for number in (1, 2, 3))]
    known = [encoding for encoding in everything if random.random() < 0.7] or [ROOT]
    log_probs = -np.abs(random.normal(size=(len(tags), len(known))))
    tag_ids = np.array([TAGS.index(tag) for tag in tags])
    scores = HeadEncodings(TAGS, known).arc_scores(log_probs, tag_ids)
    assert scores.shape == (len(tags), len(tags) + 1)
    for word in range(len(tags)):
        for head in set(range(len(tags) + 1)) - {word + 1}:
            heads = [head if other == word else 0 for other in range(len(tags))]
            encoding = encode_heads(tags, heads)[word]
            expected = log_probs[word, known.index(encoding)] if encoding in known else UNKNOWN
            assert scores[word, head] == expected


def test_what_can_never_fit_a_word_is_no_error() -> None:
    """Encodings of tags that the model does not give are ignored, and no root among them leaves the root unknown."""
    scores = HeadEncodings(("NOUN",), ("VERB:+1", "NOUN:+1")).arc_scores(np.full((2, 2), -1.0), np.zeros(2, np.int64))
    assert scores.tolist() == [[UNKNOWN, UNKNOWN, -1.0], [UNKNOWN, UNKNOWN, UNKNOWN]]


def test_a_known_encoding_is_always_better_than_an_unknown_one() -> None:
    scores = HeadEncodings(("NOUN",), ("NOUN:+1",)).arc_scores(np.full((2, 1), -3e38), np.zeros(2, np.int64))
    assert scores[0].tolist() == [UNKNOWN, UNKNOWN, LEAST_KNOWN]


@pytest.mark.parametrize(("encoding", "head"), [("NOUN:+2", None), ("NOUN:-1", None), ("VERB:+1", 2)])
def test_an_encoding_may_name_no_word(encoding: str, head: int | None) -> None:
    assert decode_head(["DET", "VERB", "NOUN"], 0, encoding) == head
