"""The hypotheses of prefix beam search: texts, each with the scores of all alignments that write it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from service.tasks.transcription.decoder import BLANK, Token
from service.tasks.transcription.search.biasing import NO_CONTEXT, Context
from service.tasks.transcription.search.language_model import LanguagePoint

#: The last token of a text without tokens.
NOTHING: Final = -1
#: The key of the text without tokens.
ROOT_KEY: Final = 0
NEVER: Final = -math.inf


class Scores(NamedTuple):
    """Natural logarithms of a text: of all alignments that end in a blank, of all that end in its last token, and of
    the best of each kind (Hannun et al. 2014)."""

    in_blank: float
    in_token: float
    best_in_blank: float
    best_in_token: float

    @property
    def total(self) -> float:
        """Of all alignments."""
        return log_add(self.in_blank, self.in_token)


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
        scores: of each text; all lack the term `base`.
        base: log-probability of the steps that were blank beyond doubt.
        top_id: the most probable token of the last step.
        num_quiet: steps since one where that was not the blank.
    """

    prefixes: tuple[Prefix, ...]
    alignments: tuple[Alignments, ...]
    scores: tuple[Scores, ...]
    base: float = 0.0
    top_id: int = BLANK
    num_steps: int = 0
    num_quiet: int = 0

    @property
    def totals(self) -> list[float]:
        """The log-probability of each text, with what was added to it, but without `base`."""
        return [
            log_add(score[0], score[1]) + prefix.extra for score, prefix in zip(self.scores, self.prefixes, strict=True)
        ]

    def best_path(self, index: int) -> Written | None:
        """The best alignment of a text."""
        score, alignments = self.scores[index], self.alignments[index]
        return alignments.in_blank if score.best_in_blank >= score.best_in_token else alignments.in_token

    def tokens(self, index: int) -> tuple[Token, ...]:
        """The tokens of a text, where its best alignment has them."""
        return tokens_of(self.best_path(index))


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
    blank, token = (NEVER, 0.0) if held_id != NOTHING else (0.0, NEVER)
    prefix = Prefix(last_id=held_id, context=context, point=point)
    scores = Scores(blank, token, blank, token)
    return Hypotheses((prefix,), (Alignments(),), (scores,), top_id=max(held_id, BLANK))


def key_after(key: int, token_id: int) -> int:
    """The key of a text with one more token. Different texts share one with a probability below 2 ** -60."""
    return hash((key, token_id))


def log_add(first: float, second: float) -> float:
    """`log(exp(first) + exp(second))`."""
    if first < second:
        first, second = second, first
    return first if second == NEVER else first + math.log1p(math.exp(second - first))
