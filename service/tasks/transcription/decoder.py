"""The interface between a decoder and the task: outputs of an encoder to tokens, over any division of the steps.

A decoder is immutable and shared by all streams. What it knows of one utterance is a value of its own type, its
hypotheses, which `advance` replaces and never changes. The task knows only the functions below; it cuts the steps of
an input into utterances by what `best` tells of silence, and begins each with `start` or `next_utterance`.

Steps are counted from the first step of the utterance's hypotheses. Advancing over steps one by one, all at once, or
beside other streams must give equal hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from service.bundle.tokenizer import PAD
from service.tasks.core.state_bytes import malformed
from service.tasks.core.task import Array, Runner

#: The token that stands for no token: the blank of CTC and of the transducer.
BLANK = PAD

_TOKEN = np.dtype([("token_id", "<u4"), ("step", "<u4"), ("log_prob", "<f4")])


class Token(NamedTuple):
    """A token that was written at a step.

    Attributes:
        step: the first step at which it was written, from the start of the utterance.
        log_prob: its natural log-probability, at most 0: the highest of the steps that write it. A float32.
    """

    token_id: int
    step: int
    log_prob: float


class FoundKeyword(NamedTuple):
    """A keyword that was heard; `step` is where it ends, `confidence` is 0 to 1."""

    keyword: str
    step: int
    confidence: float


class Decoded(NamedTuple):
    """The best hypothesis of an utterance.

    Attributes:
        tokens: in the order of their steps.
        num_quiet: steps since the last one that was not blank; all steps, if all were.
        keywords: those that were found in it, for decoders that look for some.
    """

    tokens: tuple[Token, ...]
    num_quiet: int
    keywords: tuple[FoundKeyword, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was heard."""
        return not self.tokens and not self.keywords


HypothesesT = TypeVar("HypothesesT")


class Decoder(Protocol[HypothesesT]):
    """Turns the outputs of an encoder into tokens.

    `HypothesesT` is immutable and bounded in size, as an utterance has a bounded number of steps. A language model's
    state is part of it, or is computed again from the tokens of the utterance.

    Attributes:
        name: what its hypotheses are, a few ASCII characters: only a decoder of the same name continues them.
    """

    @property
    def name(self) -> str: ...

    def start(self) -> HypothesesT:
        """The hypotheses before the first step of an input."""
        ...

    def next_utterance(self, hypotheses: HypothesesT) -> HypothesesT:
        """The hypotheses before the first step of the utterance that follows another one in the same input.

        What reaches over the border is kept: a token that is still being written is not written again.
        """
        ...

    def advance(self, runner: Runner, hypotheses: Sequence[HypothesesT], rows: Sequence[Array]) -> list[HypothesesT]:
        """The hypotheses of many streams, each after the steps of its row.

        Args:
            runner: for decoders that run graphs of the bundle themselves.
            rows: for each stream what the encoder gave, finite: log-probabilities `[steps, vocabulary]` for CTC,
                vectors `[steps, width]` for a transducer. Rows have at least one step, and may differ in their number.
        """
        ...

    def best(self, hypotheses: HypothesesT, is_final: bool) -> Decoded:
        """The best hypothesis. With `is_final` no step follows, so that incomplete words count as they stand."""
        ...

    def to_bytes(self, hypotheses: HypothesesT) -> bytes:
        """The whole value; equal hypotheses give equal bytes."""
        ...

    def from_bytes(self, data: bytes, max_steps: int) -> HypothesesT:
        """The inverse of `to_bytes`, for hypotheses of at most `max_steps` steps.

        Raises:
            StateRefused: these are not hypotheses of this decoder; see `malformed`.
        """
        ...


def tokens_to_bytes(tokens: Sequence[Token]) -> bytes:
    """12 bytes for each token."""
    return np.array(list(tokens), dtype=_TOKEN).tobytes()  # a tuple would be a single record


def tokens_from_bytes(data: bytes, vocabulary_size: int, num_steps: int) -> tuple[Token, ...]:
    """The inverse of `tokens_to_bytes`.

    Raises:
        StateRefused: a token is not in the vocabulary, or stands at no step of the utterance.
    """
    if len(data) % _TOKEN.itemsize:
        raise malformed(f"its tokens have {len(data)} bytes, which is no multiple of {_TOKEN.itemsize}")
    found = np.frombuffer(data, _TOKEN)
    ids, steps, log_probs = found["token_id"], found["step"].astype(np.int64), found["log_prob"]
    if not ((ids > BLANK) & (ids < vocabulary_size)).all():
        raise malformed("a token is not in the vocabulary")
    if not (steps < num_steps).all() or not (np.diff(steps) >= 0).all():
        raise malformed("its tokens are not in the order of its steps")
    if not (np.isfinite(log_probs) & (log_probs <= 0)).all():
        raise malformed("the log-probability of a token is not finite, or above 0")
    return tuple(map(Token, ids.tolist(), steps.tolist(), log_probs.tolist()))
