"""The copy mechanism: a decoder that writes words of its vocabulary or words of the source (pointer-generator network).

    p(w) = g * softmax(logits)[w] + (1 - g) * sum of the attention to source positions that hold w

as in See et al. (2017, eq. 9); g is the sigmoid of the graph's `generate_logit`. A source word outside the target
vocabulary has an id of its own in an extended vocabulary: the size of the vocabulary plus the position where the word
stands first. Such ids belong to one source; the decoder reads them as the unknown token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS, UNK, TextTokenizer
from service.tasks.core.task import Array

#: Smaller probabilities count as this one, so that logarithms are finite.
_LEAST: Final = np.float32(1e-37)
#: The sigmoid of float32 is 0 or 1 beyond it.
_LARGEST_LOGIT: Final = 80.0
#: A token was copied if more than this share of its probability is from the attention.
_COPIED_SHARE: Final = 0.5


def extended_ids(target: TextTokenizer, words: Sequence[str]) -> list[int]:
    """The id of each source word among the target words; an extended id where the vocabulary does not have it.

    `words` are cut by the target tokenizer, see `TextTokenizer.words`. One that spells a special token is unknown.
    """
    size, first = target.vocabulary_size, dict[str, int]()
    ids = []
    for position, word in enumerate(words):
        known = target.token_id(word)
        is_known = known is not None and known > EOS
        ids.append(known if known is not None and is_known else first.setdefault(word, size + position))
    return ids


def readable_ids(ids: IntArray, vocabulary_size: int) -> IntArray:
    """Ids as the decoder reads them: extended ones are unknown."""
    return np.where(ids < vocabulary_size, ids, UNK)


class CopyStep(NamedTuple):
    """The distribution of one decoder step.

    Attributes:
        scores: log-probabilities `[rows, vocab + time]` over the extended vocabulary.
        copied: the share of each source position in its probability, `[rows, time]`.
        copy_ids: the extended id of each source position, `[rows, time]`; 0 on padding.
    """

    scores: Array
    copied: Array
    copy_ids: IntArray

    @classmethod
    def of(cls, logits: Array, generate_logit: Array, attention: Array, copy_ids: IntArray) -> CopyStep:
        """Mix `logits` `[rows, vocab]` and `attention` `[rows, time]` by `generate_logit` `[rows]`.

        Rows with numbers that are not finite have NaN scores.
        """
        (rows, vocabulary), time = logits.shape, attention.shape[1]
        mixed = np.zeros((rows, vocabulary + time), dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            generate = 1.0 / (1.0 + np.exp(-np.clip(generate_logit, -_LARGEST_LOGIT, _LARGEST_LOGIT)))
            generated = mixed[:, :vocabulary]
            np.exp(logits - logits.max(axis=1, keepdims=True), out=generated)
            generated *= (generate / generated.sum(axis=1))[:, None]
            copied = (1.0 - generate)[:, None] * attention
            np.add.at(mixed, (np.arange(rows)[:, None], copy_ids), copied)
            return cls(np.log(np.maximum(mixed, _LEAST)), copied, copy_ids)

    def origins(self, rows: IntArray, tokens: IntArray) -> IntArray:
        """The source position that each token of a row was copied from, that with most attention; -1 if generated."""
        shares = np.where(self.copy_ids[rows] == tokens[:, None], self.copied[rows], 0.0)
        is_copied = shares.sum(axis=1) > _COPIED_SHARE * np.exp(self.scores[rows, tokens])
        return np.where(is_copied, shares.argmax(axis=1), -1)
