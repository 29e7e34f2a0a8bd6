"""The prefix cache returns the state of the longest cached prefix and stays within its memory limit."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.state.prefix_cache import PrefixCache
from service.tasks.generation.prompt_reader import PrefixCheckpoints
from tests.inference.state.prefix_machine import PrefixMachine, assert_is_after, state_after, texts

MUCH_BYTES = 10**9


def filled(texts: Sequence[Sequence[int]], max_bytes: int = MUCH_BYTES, block_tokens: int = 4) -> PrefixCache:
    cache = PrefixCache(max_bytes, block_tokens)
    for ids in texts:
        cache.put(ids, state_after(ids))
    return cache


@settings(max_examples=300)
@given(st.lists(texts, max_size=15), texts, st.integers(1, 5))
def test_the_longest_known_prefix_is_found(known: list[list[int]], asked: list[int], block_tokens: int) -> None:
    """The longest cached prefix is found, compared with a linear search of all cached texts."""
    cache = filled(known, block_tokens=block_tokens)
    longest = max((ids for ids in known if asked[: len(ids)] == ids), key=len, default=None)
    found = cache.longest(asked)
    assert (longest is None) == (found is None)
    if longest is not None and found is not None:
        assert found[0] == len(longest)
        assert_is_after(found[1], longest)


TestAgainstADict = PrefixMachine.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_it_is_what_batches_ask_for() -> None:
    """The cache works through the interface that tasks use, and returns states with their shapes."""
    checkpoints: PrefixCheckpoints = PrefixCache(MUCH_BYTES, block_tokens=2)
    checkpoints.put([4, 5, 6], {"hidden": np.ones((2, 1, 3))})
    found = checkpoints.longest([4, 5, 6, 7])
    assert found is not None
    assert found[0] == 3
    assert found[1].arrays["hidden"].shape == (2, 1, 3)


def test_a_list_and_an_array_of_ids_are_the_same_prefix() -> None:
    cache = filled([[4, 5, 6]])
    assert cache.longest(np.array([4, 5, 6], dtype=np.int32)) is not None


def test_entries_are_copies_that_nobody_can_change() -> None:
    state = {"hidden": np.ones((1, 3))}
    cache = PrefixCache(MUCH_BYTES, block_tokens=2)
    cache.put([4], state)
    state["hidden"][:] = 0
    found = cache.longest([4])
    assert found is not None
    assert found[1].arrays["hidden"].tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="read-only"):
        found[1].arrays["hidden"][:] = 0


def test_what_is_known_is_not_kept_twice() -> None:
    cache = filled([[4, 5], [4, 5]])
    found = cache.longest([4, 5])
    assert found is not None
    assert len(cache) == 1
    assert cache.num_bytes == found[1].num_bytes


def test_what_happens_is_counted() -> None:
    cache = filled([[4, 5, 6]])
    cache.longest([4, 5, 6, 7])
    cache.longest([4, 5])
    assert (cache.num_hits, cache.num_misses, cache.num_hit_tokens, cache.num_evictions) == (1, 1, 3, 0)


def test_the_least_recently_used_prefix_is_evicted_first() -> None:
    cache = filled([[4], [5]], max_bytes=2 * 1050)
    assert cache.longest([4]) is not None
    cache.put([6], state_after([6]))
    assert cache.longest([5]) is None
    assert cache.longest([4]) is not None
    assert cache.num_evictions == 1


@pytest.mark.parametrize("max_bytes", [0, 100])
def test_what_is_larger_than_the_cache_is_not_kept(max_bytes: int) -> None:
    cache = filled([[4, 5]], max_bytes=max_bytes)
    assert (len(cache), cache.num_bytes, cache.num_evictions) == (0, 0, 0)
    assert cache.longest([4, 5]) is None


def test_a_lookup_takes_few_digests_however_long_the_text_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup of 2,000 tokens among 1,000 prompts computes at most one digest per block plus those at the start."""
    others = [[4, length, *([5] * length)] for length in range(1, 1000)]
    long = [6] * 2000
    cache = filled([*others, *(long[:end] for end in range(50, 2001, 50))], block_tokens=50)
    digests = _count_digests(monkeypatch)
    found = cache.longest([*long[:1990], *([7] * 10)])
    assert found is not None
    assert found[0] == 1950
    assert len(digests) <= 2000 / 50 + 50


def test_evicted_entries_cost_lookups_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups do not try the lengths of evicted prompts."""
    cache = filled([[4] * length for length in range(1, 50)], max_bytes=1300, block_tokens=50)
    assert len(cache) == 1
    digests = _count_digests(monkeypatch)
    assert cache.longest([5] * 49) is None
    assert digests == [49]


def test_an_empty_prefix_is_not_cached() -> None:
    cache = PrefixCache(MUCH_BYTES, block_tokens=2)
    assert cache.longest([]) is None
    with pytest.raises(ValueError, match="an empty prefix is not cached"):
        cache.put([], {})
    with pytest.raises(ValueError, match="at least one token"):
        PrefixCache(MUCH_BYTES, block_tokens=0)


def test_threads_can_share_a_cache() -> None:
    """With four concurrent threads, lookups return only states of their own text, and the byte count stays correct."""
    cache = PrefixCache(20 * 1100, block_tokens=3)
    wrong: list[int] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(500):
            ids = random.integers(4, 6, size=random.integers(1, 12)).tolist()
            cache.put(ids, state_after(ids))
            found = cache.longest(ids)
            if found and found[1].arrays["hidden"].tolist() != [[found[0], *ids[: found[0]]]]:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.num_hits + cache.num_misses == 2000
    assert cache.num_bytes == sum(entry.num_bytes for _, entry in cache._entries.values()) <= cache.max_bytes


def _count_digests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which each digest of a prefix appends its length."""
    import service.inference.state.prefix_cache as module

    original, seen = module.digest_after, []

    def counted(hasher: object, data: bytes, num_hashed_tokens: int, num_tokens: int) -> bytes:
        seen.append(num_tokens)
        return original(hasher, data, num_hashed_tokens, num_tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "digest_after", counted)
    return seen
