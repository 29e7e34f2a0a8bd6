"""The hypotheses of prefix beam search: texts, each with the scores of all alignments that write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.tasks.core.probabilities import DoubleArray
from service.tasks.transcription.decoder import BLANK, Token
from service.tasks.transcription.search.biasing import NO_CONTEXT, Context
from service.tasks.transcription.search.language_model import LanguagePoint

#: The last token of a text without tokens.
NOTHING: Final = -1
#: The key of the text without tokens.
ROOT_KEY: Final = 0
#: Rows of `Hypotheses.scores`.
ENDS_IN_BLANK, ENDS_IN_TOKEN, BEST_IN_BLANK, BEST_IN_TOKEN = range(4)


class Written(NamedTuple):
    """The last token of an alignment, and those before it; alignments share their common past."""

    token: Token
    before: Written | None


class Prefix(NamedTuple):
    """A text, by the hash of its tokens; equal texts have equal keys.

    Attributes:
        key: of the text, and `parent_key` of that without its last token.
        last_id: the last token; NOTHING at the start, or the token of the utterance before that is still being written.
        extra: what language model, word list and phrases add to the log-probability of the sound.
        point: where the language model is; None without one.
    """

    key: int = ROOT_KEY
    parent_key: int = ROOT_KEY
    last_id: int = NOTHING
    extra: float = 0.0
    context: Context = NO_CONTEXT
    point: LanguagePoint | None = None


class Alignments(NamedTuple):
    """The best alignment of a text that ends in a blank, and the best that ends in its last token."""

    in_blank: Written | None = None
    in_token: Written | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Hypotheses:
    """The texts that are followed, the best first.

    Attributes:
        scores: `[4, texts]`, natural logarithms: of all alignments that end in a blank, of all that end in the last
            token, and of the best of each kind (Hannun et al. 2014). All lack the term `base`.
        base: log-probability of the steps that were blank beyond doubt.
        top_id: the most probable token of the last step.
        num_quiet: steps since one where that was not the blank.
    """

    prefixes: tuple[Prefix, ...]
    alignments: tuple[Alignments, ...]
    scores: DoubleArray
    base: float = 0.0
    top_id: int = BLANK
    num_steps: int = 0
    num_quiet: int = 0

    @property
    def totals(self) -> DoubleArray:
        """`[texts]`: the log-probability of each text, with what was added to it, but without `base`."""
        totals: DoubleArray = np.logaddexp(self.scores[ENDS_IN_BLANK], self.scores[ENDS_IN_TOKEN]) + self.extras
        return totals

    @property
    def extras(self) -> DoubleArray:
        """`[texts]`: what was added to each."""
        return np.array([prefix.extra for prefix in self.prefixes], dtype=np.float64)

    @property
    def last_ids(self) -> IntArray:
        """`[texts]`: the last token of each."""
        return np.array([prefix.last_id for prefix in self.prefixes], dtype=np.int64)

    def tokens(self, index: int) -> tuple[Token, ...]:
        """The tokens of a text, where its best alignment has them."""
        ends_in_blank = self.scores[BEST_IN_BLANK, index] >= self.scores[BEST_IN_TOKEN, index]
        path = self.alignments[index].in_blank if ends_in_blank else self.alignments[index].in_token
        return tokens_of(path)


def tokens_of(path: Written | None) -> tuple[Token, ...]:
    """The tokens of an alignment, the first one first."""
    found: list[Token] = []
    while path is not None:
        found.append(path.token)
        path = path.before
    found.reverse()
    return tuple(found)


def first_hypotheses(context: Context, point: LanguagePoint | None, held_id: int = NOTHING) -> Hypotheses:
    """Before the first step: the empty text. A token `held_id` may still be sounding, which writes nothing."""
    starts = [-np.inf, 0.0] if held_id != NOTHING else [0.0, -np.inf]
    prefix = Prefix(last_id=held_id, context=context, point=point)
    scores = np.array([starts[0], starts[1], starts[0], starts[1]])[:, None]
    return Hypotheses((prefix,), (Alignments(),), scores, top_id=max(held_id, BLANK))


def key_after(key: int, token_id: int) -> int:
    """The key of a text with one more token. Different texts share one with a probability below 2 ** -60."""
    return hash((key, token_id))


def best_of(values: Sequence[float] | DoubleArray) -> int:
    """The index of the highest value, the first of equals."""
    return int(np.argmax(values))
