"""What a batch asks of a memory of prefixes: the state of the network after texts that were read before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.tasks.base import Array


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
