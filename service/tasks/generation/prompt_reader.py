"""Requests whose prompts are being read, and which part of them is read by the next run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array

#: A run takes in whoever can fill this share of the time of the first; the rest of it is padding.
_MIN_FILLED = 0.75


class Prompt(Protocol):
    """What is read for a request."""

    @property
    def ids_to_read(self) -> list[int]: ...
    @property
    def state_before(self) -> RecurrentState | None: ...
    @property
    def reports_prompt(self) -> bool: ...
    def read_prompt(self, start: int, logits: Array) -> None: ...


PromptT = TypeVar("PromptT", bound=Prompt)


class PromptReader(Generic[PromptT]):
    """One request, and how far its prompt is read.

    All but the last token only move the state on. The last is read by a step like every token that was chosen, so that
    all choices are made by the scores of one graph, however the prompt was read.

    Attributes:
        ids: what there is to read.
        num_read: how many of them the state has seen.
        state: one row.
    """

    def __init__(
        self,
        request: PromptT,
        before_all: RecurrentState,
        max_chunk_tokens: int,
        checkpoints: PrefixCheckpoints | None,
    ) -> None:
        """`before_all` is the one row of state before a first token; `checkpoints` knows prefixes read before."""
        self.request = request
        self.ids = request.ids_to_read
        self.num_read = 0
        self.state = request.state_before or before_all
        self._max_chunk_tokens = max_chunk_tokens
        # What a state has read is not known here, so that a prefix after it cannot be told from others.
        self._checkpoints = None if request.state_before else checkpoints
        found = None
        if self._checkpoints is not None and len(self.ids) > 1 and not request.reports_prompt:
            found = self._checkpoints.longest(self.ids[:-1])
        if found is not None:
            self.num_read, entry = found
            self.state = RecurrentState(entry.arrays)

    @property
    def num_before_last(self) -> int:
        """How many tokens there still are before the last one."""
        return len(self.ids) - 1 - self.num_read

    @property
    def chunk_tokens(self) -> int:
        """How many tokens the next run of its own may read: up to where a checkpoint is noted, or to the last."""
        most = min(self.num_before_last, self._max_chunk_tokens)
        if self._checkpoints is None:
            return most
        block_tokens = self._checkpoints.block_tokens
        return min(most, block_tokens - self.num_read % block_tokens)

    def move_on(self, num_tokens: int, state: Callable[[], RecurrentState]) -> None:
        """So many more tokens were read; `state` takes the row after them out of its batch, if it is needed."""
        self.num_read += num_tokens
        checkpoints = self._checkpoints
        if checkpoints is not None and (not self.num_before_last or self.num_read % checkpoints.block_tokens == 0):
            checkpoints.put(self.ids[: self.num_read], state().arrays)

    def take(self, logits: Array, state: RecurrentState) -> None:
        """Take in what a run of its own gave: `[tokens, vocab]` scores of the part it read, and the row after it."""
        if self.request.reports_prompt:
            self.request.read_prompt(self.num_read, logits)
        self.state = state
        self.move_on(len(logits), lambda: state)


def next_part(
    readers: Sequence[PromptReader[PromptT]], max_padded_tokens: int
) -> tuple[list[PromptReader[PromptT]], int]:
    """Who reads in the next run, and how many tokens at most: as many as the first one may.

    The first is always among them. Those that can read as much are cut to it and read the rest later, which costs
    nothing; those that fall short a little join; for short ones a run of their own is cheaper than padding.
    """
    time = readers[0].chunk_tokens
    group = [reader for reader in readers if reader.chunk_tokens >= _MIN_FILLED * time]
    return group[: max(1, max_padded_tokens // time)], time


class PrefixEntry(Protocol):
    """The state after a prefix: one row, `[layers, 1, width]` by name. Nobody may change the arrays."""

    @property
    def arrays(self) -> Mapping[str, Array]: ...


class PrefixCheckpoints(Protocol):
    """Shared by all batches of a model, so any thread may call it."""

    @property
    def block_tokens(self) -> int:
        """A long prompt is noted at every multiple of this length, and before its last token."""
        ...

    def longest(self, ids: Sequence[int]) -> tuple[int, PrefixEntry] | None:
        """The longest known prefix of `ids`, which may be all of them: how many tokens it has, and the state there."""
        ...

    def put(self, ids: Sequence[int], arrays: Mapping[str, Array]) -> None:
        """Note the state after `ids`. The arrays are copied."""
        ...
