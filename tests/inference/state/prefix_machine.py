"""A prefix cache compared with a dict, for every kind of cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.inference.state.prefix_cache import PrefixCache, PrefixEntry

#: A small vocabulary, so that texts share prefixes.
texts = st.lists(st.integers(4, 5), min_size=1, max_size=12)


def state_after(ids: Sequence[int]) -> dict[str, np.ndarray]:
    """A state that identifies its text."""
    return {"hidden": np.array([[len(ids), *ids]], dtype=np.float32)}


def assert_is_after(entry: PrefixEntry, ids: Sequence[int]) -> None:
    np.testing.assert_array_equal(entry.arrays["hidden"], state_after(ids)["hidden"])


class PrefixMachine(RuleBasedStateMachine):
    """A cache with room for a few entries, compared with a dict in LRU order: that of one process, unless replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.max_bytes = 5 * 1100
        self.block_tokens = 3
        self.cache = self.new_cache()
        self.model: dict[tuple[int, ...], int] = {}

    def new_cache(self) -> Any:
        """An empty cache of these bounds."""
        return PrefixCache(self.max_bytes, self.block_tokens)

    @rule(ids=texts)
    def put(self, ids: list[int]) -> None:
        self.cache.put(ids, state_after(ids))
        self.model.pop(tuple(ids), None)
        self.model[tuple(ids)] = 1024 + state_after(ids)["hidden"].nbytes
        while sum(self.model.values()) > self.max_bytes:
            del self.model[next(iter(self.model))]

    @rule(ids=texts)
    def look_up(self, ids: list[int]) -> None:
        longest = max((known for known in self.model if tuple(ids[: len(known)]) == known), key=len, default=None)
        found = self.cache.longest(np.array(ids))
        assert (longest is None) == (found is None)
        if longest is not None and found is not None:
            assert_is_after(found[1], longest)
            self.model[longest] = self.model.pop(longest)

    @invariant()
    def the_same_is_kept(self) -> None:
        assert len(self.cache) == len(self.model)
        assert self.cache.num_bytes == sum(self.model.values()) <= self.max_bytes
