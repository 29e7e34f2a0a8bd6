"""The text of a choice without its stop string, and its tokens with log-probabilities in OpenAI's form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from service.bundle.tokenizer import EOS
from service.tasks.generation.result import GeneratedText, PromptToken, Token, TokenEvent

#: OpenAI's words for `FinishReason`.
FINISH_REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}


class ScoredToken(NamedTuple):
    """A token of a choice. `offset` is where it begins in the text of the choice, in characters.

    The first token of a prompt has neither log-probability nor `top`: nothing came before it.
    """

    text: str
    log_probability: float | None
    top: dict[str, float] | None
    offset: int


class Piece(NamedTuple):
    """What a choice gains by some of its tokens."""

    text: str
    tokens: Sequence[ScoredToken]
    finish_reason: str | None = None


def written_logprobs(tokens: Sequence[ScoredToken]) -> dict[str, Any]:
    """`logprobs` of a choice as JSON values."""
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.log_probability for token in tokens],
        "top_logprobs": [token.top for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The part of a text before the stop string at its end; of several that end there, before the longest."""
    found = max((len(one) for one in stop if text.endswith(one)), default=None)
    # Where a text was continued, a stop string may have begun in the part before.
    return "" if found is None else text[: len(text) - found]


def num_undecided(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop string."""
    if not stop:
        return 0
    longest = max(map(len, stop)) - 1
    lengths = range(min(longest, len(text)), 0, -1)
    return next((length for length in lengths if any(one.startswith(text[-length:]) for one in stop)), 0)


def prompt_piece(text: str, tokens: Sequence[PromptToken], starts: Sequence[int]) -> Piece:
    """The prompt as the beginning of a choice that echoes it, with the tokens that are scored and where they begin."""
    scored = [
        ScoredToken(token.text, token.log_probability, _top_of_prompt(token), start)
        for token, start in zip(tokens, starts, strict=True)
    ]
    return Piece(text, scored)


def starts_of(tokens: Sequence[PromptToken]) -> list[int]:
    """Where tokens begin in the text that they decode to, of which special ones are no part."""
    lengths = [0 if token.id <= EOS else len(token.text) for token in tokens[:-1]]
    return list(accumulate(lengths, initial=0)) if tokens else []


def whole_piece(made: GeneratedText, stop: Sequence[str], start: int) -> Piece:
    """A finished text as one piece; it begins at the character `start` of its choice, and ends before `stop`."""
    is_cut = made.finish_reason == "stop_sequence" and bool(stop)
    text = before_stop(made.text, stop) if is_cut else made.text
    tops: Iterable[Sequence[Token]] = made.top_tokens or [()] * len(made.tokens)
    scored, offset = [], 0
    for token, top in zip(made.tokens, tops, strict=True):
        if not is_cut or offset < len(text):
            scored.append(_scored(token, top, start + offset))
        offset += 0 if token.is_special else len(token.text)
    return Piece(text, scored, FINISH_REASONS[made.finish_reason])


class StreamedText:
    """The pieces of one choice of a stream. Text that may belong to a stop string is held back until that is known."""

    def __init__(self, stop: Sequence[str], start: int, *, is_scored: bool) -> None:
        """`start` is the character of the choice where the text begins, after an echoed prompt."""
        self._stop = stop
        self._is_scored = is_scored
        self._held = ""
        self._held_tokens: list[ScoredToken] = []
        self._start = start
        self._num_given = start
        self._num_seen = start

    @property
    def num_characters(self) -> int:
        """Characters of the text so far, those held back included."""
        return self._num_seen - self._start

    def take(self, event: TokenEvent, ending: str = "") -> Piece | None:
        """The piece that a token completes; None while there is none. `ending` is text that only the end releases."""
        token = event.token
        if self._is_scored:
            self._held_tokens.append(_scored(token, event.top_tokens, self._num_seen))
        text = ending if token.is_special else token.text
        self._held += text
        self._num_seen += len(text)
        if event.finish_reason is not None:
            return self._last(event.finish_reason)
        num_sure = len(self._held) - num_undecided(self._held, self._stop)
        return self._given(num_sure) if num_sure else None

    def _last(self, reason: str) -> Piece:
        is_cut = reason == "stop_sequence" and bool(self._stop)
        text = before_stop(self._held, self._stop) if is_cut else self._held
        end = self._num_given + len(text)
        tokens = [token for token in self._held_tokens if not is_cut or token.offset < end]
        return Piece(text, tokens, FINISH_REASONS[reason])

    def _given(self, num_sure: int) -> Piece:
        text, self._held = self._held[:num_sure], self._held[num_sure:]
        self._num_given += num_sure
        tokens = [token for token in self._held_tokens if token.offset < self._num_given]
        del self._held_tokens[: len(tokens)]
        return Piece(text, tokens)


def _scored(token: Token, top: Sequence[Token], offset: int) -> ScoredToken:
    return ScoredToken(token.text, token.log_probability, _by_text(top, token), offset)


def _by_text(top: Sequence[Token], chosen: Token) -> dict[str, float]:
    """Log-probabilities by the text of the token, the chosen one among them; of tokens of equal text the likeliest."""
    return {chosen.text: chosen.log_probability} | {token.text: token.log_probability for token in reversed(top)}


def _top_of_prompt(token: PromptToken) -> dict[str, float] | None:
    if token.log_probability is None:
        return None
    return {token.text: token.log_probability} | {one.text: one.log_probability for one in reversed(token.top)}
