"""Heads as labels of words: relative part-of-speech-based encoding (Strzyz, Vilares and Gómez-Rodríguez 2019).

`NOUN:-1` says that the head is the nearest noun to the left, `VERB:+2` the second verb to the right, `ROOT` the root.
Given the tags of a sentence, each possible head of a word has exactly one encoding, so scores of encodings are scores
of arcs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from service.bundle.padding import Array, IntArray
from service.tasks.core.probabilities import DoubleArray

ROOT: Final = "ROOT"
#: The score of an arc whose encoding the model does not know, and the lowest one of an encoding that it knows. So a
#: tree without unknown arcs is better than any with one, up to a thousand words.
UNKNOWN: Final = -1e6
LEAST_KNOWN: Final = -1e3


def encode_heads(tags: Sequence[str], heads: Sequence[int]) -> list[str]:
    """The encoding of each word's head.

    Args:
        tags: of each word.
        heads: 0 for the root, j for the j-th word, as in CoNLL-U.
    """
    return [_encoded(tags, word, head) for word, head in enumerate(heads, start=1)]


def _encoded(tags: Sequence[str], word: int, head: int) -> str:
    if head == 0:
        return ROOT
    tag = tags[head - 1]
    if head > word:
        return f"{tag}:+{tags[word:head].count(tag)}"
    return f"{tag}:-{tags[head - 1 : word - 1].count(tag)}"


def decode_head(tags: Sequence[str], word: int, encoding: str) -> int | None:
    """The head that an encoding names for the word at index `word`: 0 for the root, j for the j-th word; None for none.

    One word at a time; `HeadEncodings` decodes whole sentences.
    """
    if encoding == ROOT:
        return 0
    tag, _, number = encoding.rpartition(":")
    steps = int(number)
    places = range(word + 1, len(tags)) if steps > 0 else range(word - 1, -1, -1)
    heads = [place + 1 for place in places if tags[place] == tag]
    return heads[abs(steps) - 1] if abs(steps) <= len(heads) else None


class HeadEncodings:
    """The encodings that a model gives scores for, as a table from tag and number to encoding.

    Args:
        labels: the tags of words, in the order of their ids.
        encodings: in the order of their scores. Those of tags that are no label never fit a word.
    """

    def __init__(self, labels: Sequence[str], encodings: Sequence[str]) -> None:
        ids = {label: label_id for label_id, label in enumerate(labels)}
        parts = [encoding.rpartition(":") for encoding in encodings]
        numbers = [int(number) if separator else 0 for _, separator, number in parts]
        self._reach = max(map(abs, numbers), default=0) + 1
        self._root = list(encodings).index(ROOT) if ROOT in encodings else -1
        # `[labels, 2 * reach + 1]`: the encoding for each tag and number from -reach to reach; -1 for none.
        self._table = np.full((len(labels), 2 * self._reach + 1), -1, dtype=np.int64)
        for place, ((tag, _, _), number) in enumerate(zip(parts, numbers, strict=True)):
            if number and tag in ids:
                self._table[ids[tag], self._reach + number] = place

    def arc_scores(self, log_probs: Array, tag_ids: Array) -> DoubleArray:
        """The score of each word's candidate heads, `[words, words + 1]`: column 0 is the root, column j word j - 1.

        Args:
            log_probs: of the encodings, finite, `[words, encodings]`.
            tag_ids: the tag of each word, `[words]`.
        """
        places = np.concatenate((np.full((len(tag_ids), 1), self._root), self._encodings(tag_ids)), axis=1)
        known = np.maximum(np.take_along_axis(log_probs, np.maximum(places, 0), axis=1), LEAST_KNOWN)
        return np.asarray(np.where(places < 0, UNKNOWN, known), dtype=np.float64)

    def _encodings(self, tag_ids: Array) -> IntArray:
        """`[words, words]`: the encoding of each word (column) as the head of each word (row); -1 for none."""
        words = np.arange(len(tag_ids))
        # `[words, words]`: how many of the first words up to this row have the tag of the word in this column.
        counts = np.cumsum(tag_ids[:, None] == tag_ids[None, :], axis=0)
        rank = counts[words, words]
        right = rank - counts
        before = counts - (tag_ids[:, None] == tag_ids[None, :])
        left = before - rank + 1
        numbers = np.where(words[None, :] > words[:, None], right, -left)
        numbers = np.clip(numbers, -self._reach, self._reach)
        return np.asarray(self._table[tag_ids[None, :], self._reach + numbers])
