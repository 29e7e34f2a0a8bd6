"""What generation produces: the tokens of a stream as they are chosen, and the result once all sequences have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Literal, NamedTuple

#: e to this is still a number of double precision.
_MAX_EXPONENT = 700.0

FinishReason = Literal["length", "eos_token", "stop_sequence"]


class PromptScore(NamedTuple):
    """How well the model predicts a text, over its tokens that have a log-probability; lower is better.

    `perplexity` is that of a token. `bits_per_character` compares models with different tokens; None if they are no
    characters.
    """

    perplexity: float
    bits_per_character: float | None

    @classmethod
    def of(cls, log_probabilities: Sequence[float], num_characters: int) -> PromptScore:
        """The score of tokens that are so many characters; an unknown token counts as one."""
        surprise = -fsum(log_probabilities)
        perplexity = exp(min(surprise / len(log_probabilities), _MAX_EXPONENT))
        return cls(perplexity, surprise / log(2) / num_characters if num_characters > 0 else None)


class Token(NamedTuple):
    """A token that was chosen, or could have been.

    `log_probability` is natural, after penalties, temperature and filters. `is_special` is true for the end token,
    which is not part of the text.
    """

    id: int
    text: str
    log_probability: float
    is_special: bool


class PromptToken(NamedTuple):
    """A token of the prompt, with its log-probability as the model computed it.

    The first of a text has none: nothing came before it. `top` has the most likely tokens at its place, if asked for.
    """

    id: int
    text: str
    log_probability: float | None
    top: Sequence[Token] = ()


@dataclass(slots=True)  # not frozen: one is made for each token of a stream, and that would take three times as long
class TokenEvent:
    """One step of a stream. `index` counts from 1; `finish_reason` is set at the last step."""

    index: int
    token: Token
    top_tokens: Sequence[Token] = ()
    finish_reason: FinishReason | None = None


class GeneratedText(NamedTuple):
    """One finished sequence.

    Attributes:
        text: without the prompt; a stop string is part of it, an end token is not.
        token_ids: every token that was chosen, the end token included.
        seed: None if nothing was drawn at random.
        tokens: empty unless asked for; `top_tokens` has one list for each of them.
    """

    text: str
    token_ids: Sequence[int]
    finish_reason: FinishReason
    seed: int | None
    tokens: Sequence[Token] = ()
    top_tokens: Sequence[Sequence[Token]] = ()

    @property
    def mean_log_probability(self) -> float:
        """Of the listed tokens, the end token included; 0 if there are none."""
        return sum(token.log_probability for token in self.tokens) / max(1, len(self.tokens))


class GenerationResult(NamedTuple):
    """All sequences of one request. What concerns the prompt is left out unless it was asked for."""

    sequences: Sequence[GeneratedText]
    prompt_tokens: Sequence[PromptToken] = ()
    prompt_score: PromptScore | None = None

    @property
    def text(self) -> str:
        """The text of the first sequence, which is the only one unless several were asked for, or the best of them."""
        return self.sequences[0].text
