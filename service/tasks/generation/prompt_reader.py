"""Prefill: prompts that are being read, in parts, and which of them the next run reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array

#: A prompt is read together with the first one if it fills at least this share of its time; the rest is padding.
_MIN_FILLED = 0.75


class Prompt(Protocol):
    """The part of a request that prefill needs."""

    @property
    def ids_to_read(self) -> list[int]: ...
    @property
    def state_before(self) -> RecurrentState | None: ...
    @property
    def reports_prompt(self) -> bool: ...
    def read_prompt(self, start: int, logits: Array) -> None: ...


PromptT = TypeVar("PromptT", bound=Prompt)


class PromptReader(Generic[PromptT]):
    """The prompt of one request, and how much of it has been read.

    All but the last token only advance the state. The last is read by a step like every chosen token, so that all
    choices come from the logits of one graph, however the prompt was read.

    Attributes:
        ids: the tokens to read.
        num_read: how many of them `state` has read.
        state: one row.
    """

    def __init__(
        self,
        request: PromptT,
        before_all: RecurrentState,
        max_chunk_tokens: int,
        checkpoints: PrefixCheckpoints | None,
    ) -> None:
        """`before_all` is one row, the state before any token; `checkpoints` has the states of prefixes read before."""
        self.request = request
        self.ids = request.ids_to_read
        self.num_read = 0
        self.state = request.state_before or before_all
        self._max_chunk_tokens = max_chunk_tokens
        # The tokens that a client's state has read are unknown here, so a prefix after it must not be cached.
        self._checkpoints = None if request.state_before else checkpoints
        found = None
        if self._checkpoints is not None and len(self.ids) > 1 and not request.reports_prompt:
            found = self._checkpoints.longest(self.ids[:-1])
        if found is not None:
            self.num_read, entry = found
            self.state = RecurrentState(entry.arrays)

    @property
    def num_before_last(self) -> int:
        """Tokens left to read before the last one."""
        return len(self.ids) - 1 - self.num_read

    @property
    def chunk_tokens(self) -> int:
        """Tokens that the next prefill run may read: up to the next checkpoint, or up to the last token."""
        most = min(self.num_before_last, self._max_chunk_tokens)
        if self._checkpoints is None:
            return most
        block_tokens = self._checkpoints.block_tokens
        return min(most, block_tokens - self.num_read % block_tokens)

    def move_on(self, num_tokens: int, state: Callable[[], RecurrentState]) -> None:
        """Note that `num_tokens` more were read. `state` copies the row after them out of its batch, if needed."""
        self.num_read += num_tokens
        checkpoints = self._checkpoints
        if checkpoints is not None and (not self.num_before_last or self.num_read % checkpoints.block_tokens == 0):
            checkpoints.put(self.ids[: self.num_read], state().arrays)

    def take(self, logits: Array, state: RecurrentState) -> None:
        """Process a prefill run: the logits `[tokens, vocab]` of the part that was read, and the row after it."""
        if self.request.reports_prompt:
            self.request.read_prompt(self.num_read, logits)
        self.state = state
        self.move_on(len(logits), lambda: state)


def next_part(
    lead: PromptReader[PromptT], readers: Sequence[PromptReader[PromptT]], max_padded_tokens: int
) -> tuple[list[PromptReader[PromptT]], int]:
    """The prompts of the next prefill run, and its length in tokens: as many as the one that leads it may read.

    That one is always included. Longer prompts are cut to that length and continue later, which costs nothing;
    slightly shorter ones are padded; for much shorter ones a run of their own is cheaper than padding.
    """
    time = lead.chunk_tokens
    others = [reader for reader in readers if reader is not lead and reader.chunk_tokens >= _MIN_FILLED * time]
    return [lead, *others][: max(1, max_padded_tokens // time)], time


class PrefixEntry(Protocol):
    """The state after a prefix: one row, `[layers, 1, width]` by name. The arrays must not be changed."""

    @property
    def arrays(self) -> Mapping[str, Array]: ...


class PrefixCheckpoints(Protocol):
    """The prefix cache, as generation uses it. All batches of a model share it, so it is thread-safe."""

    @property
    def block_tokens(self) -> int:
        """A prompt is cached at every multiple of this length, and before its last token."""
        ...

    def longest(self, ids: Sequence[int]) -> tuple[int, PrefixEntry] | None:
        """The longest cached prefix of `ids`, which may be all of them: its number of tokens, and its state."""
        ...

    def put(self, ids: Sequence[int], arrays: Mapping[str, Array]) -> None:
        """Cache the state after `ids`. The arrays are copied."""
        ...
