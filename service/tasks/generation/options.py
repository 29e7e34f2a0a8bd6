"""Sampling options: how the tokens of a text are chosen, when it ends, and what is reported about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from service.errors import InvalidInput
from service.tasks.generation.constraints.constraint import Constraint

MAX_STOP_CHARACTERS = 256
MAX_SEED = 2**64 - 1

#: Entries of a logit bias, and the most that one may add to a logit or take from it: enough to
#: force a token, or to ban it.
MAX_BIASED_TOKENS = 1024
MAX_LOGIT_BIAS = 100.0

#: Length of a text for which no limit is given, unless the bundle allows less.
DEFAULT_NEW_TOKENS = 200


# Not frozen, and with slots: a frozen dataclass sets each of its fields by a call, for every request.
@dataclass(slots=True)
class DecodingRules:
    """The rules that shape the distribution of the next token; None for no rule.

    `logit_bias` is added to the logits of the tokens with these ids.
    """

    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None

    @property
    def has_penalty(self) -> bool:
        """Whether the choice depends on the tokens read and produced before."""
        is_repetition = self.repetition_penalty is not None
        return is_repetition or self.frequency_penalty is not None or self.presence_penalty is not None


@dataclass(slots=True)
class SamplingOptions(DecodingRules):
    """Everything a caller chooses for one text. Protocols translate their own parameters into these.

    Attributes:
        samples: draw each token at random; otherwise take the most likely one (greedy decoding).
        seed: of the random numbers, up to `MAX_SEED`; None for one that is chosen at random.
        max_new_tokens: None for `DEFAULT_NEW_TOKENS`, or what the bundle allows if that is less. With 0 the prompt is
            read, and nothing is written.
        stop: strings, each up to `MAX_STOP_CHARACTERS` long; the first to appear ends the text and is part of it.
        choices: the text is one of these.
        regex: the whole text matches this regular expression; see `constraints.pattern` for what one may hold.
        bad_words: strings that never appear in the text.
        max_prompt_tokens: keep only the last tokens of a longer prompt; None refuses prompts beyond the bundle's limit.
        lists_tokens: the result lists every token with its log-probability.
        num_top_tokens: for each listed or streamed token, also list this many of the most likely ones.
    """

    samples: bool = False
    seed: int | None = None
    max_new_tokens: int | None = None
    stop: Sequence[str] = ()
    choices: tuple[str, ...] = ()
    regex: str | None = None
    bad_words: tuple[str, ...] = ()
    max_prompt_tokens: int | None = None
    lists_tokens: bool = False
    num_top_tokens: int = 0

    @property
    def constraint(self) -> Constraint | None:
        """What the text may be; None for anything."""
        is_free = self.regex is None and not (self.choices or self.bad_words)
        return None if is_free else Constraint(self.choices, self.regex, self.bad_words)


def require_biases(logit_bias: Mapping[int, float], vocabulary_size: int) -> None:
    """Raises InvalidInput for too many entries, an id outside of the vocabulary, or a bias beyond the limit."""
    field = ("parameters", "logit_bias")
    if len(logit_bias) > MAX_BIASED_TOKENS:
        raise InvalidInput(f"{len(logit_bias)} tokens have a bias, at most {MAX_BIASED_TOKENS} may have one", field)
    for token_id, bias in logit_bias.items():
        require_token_id(token_id, vocabulary_size, (*field, str(token_id)))
        if not isfinite(bias) or abs(bias) > MAX_LOGIT_BIAS:
            limits = f"from {-MAX_LOGIT_BIAS:g} to {MAX_LOGIT_BIAS:g}"
            raise InvalidInput(f"a bias is a number {limits}, not {bias}", (*field, str(token_id)))


def require_token_id(token_id: object, vocabulary_size: int, field: Sequence[str | int]) -> None:
    """Raises InvalidInput for what is no id of the vocabulary."""
    if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id < vocabulary_size:
        message = f"the tokens of this model have the ids 0 to {vocabulary_size - 1}, {token_id!r} is none"
        raise InvalidInput(message, field)
