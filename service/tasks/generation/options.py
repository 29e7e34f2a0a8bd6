"""Sampling options: how the tokens of a text are chosen, when it ends, and what is reported about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_STOP_CHARACTERS = 256
MAX_SEED = 2**64 - 1

#: Length of a text for which no limit is given, unless the bundle allows less.
DEFAULT_NEW_TOKENS = 200


@dataclass(frozen=True)
class DecodingRules:
    """The rules that shape the distribution of the next token; None for no rule."""

    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None

    @property
    def has_penalty(self) -> bool:
        """Whether the choice depends on the tokens read and produced before."""
        return self.repetition_penalty is not None or self.frequency_penalty is not None


@dataclass(frozen=True)
class SamplingOptions(DecodingRules):
    """Everything a caller chooses for one text. Protocols translate their own parameters into these.

    Attributes:
        samples: draw each token at random; otherwise take the most likely one (greedy decoding).
        seed: of the random numbers, up to `MAX_SEED`; None for one that is chosen at random.
        max_new_tokens: None for `DEFAULT_NEW_TOKENS`, or what the bundle allows if that is less.
        stop: strings, each up to `MAX_STOP_CHARACTERS` long; the first to appear ends the text and is part of it.
        max_prompt_tokens: keep only the last tokens of a longer prompt; None refuses prompts beyond the bundle's limit.
        lists_tokens: the result lists every token with its log-probability.
        num_top_tokens: for each listed or streamed token, also list this many of the most likely ones.
        lists_prompt: the result lists the tokens of the prompt with their log-probabilities.
    """

    samples: bool = False
    seed: int | None = None
    max_new_tokens: int | None = None
    stop: Sequence[str] = ()
    max_prompt_tokens: int | None = None
    lists_tokens: bool = False
    num_top_tokens: int = 0
    lists_prompt: bool = False
