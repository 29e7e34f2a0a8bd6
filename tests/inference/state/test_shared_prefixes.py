"""The prefix cache of several workers: what one has read all know, within one bound, and nothing wrong is found."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import settings

from service.inference.state.prefix_lmdb import SharedPrefixCache
from service.tasks.generation.prompt_reader import PrefixCheckpoints
from tests.inference.state.prefix_machine import PrefixMachine, assert_is_after, state_after
from tests.inference.state.processes import worker

SECRET = "s" * 43
MUCH_BYTES = 50_000_000

#: Caches prefixes for ever, until it is killed.
PUT_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from service.inference.state.prefix_lmdb import SharedPrefixCache
cache = SharedPrefixCache(Path(sys.argv[1]), "s" * 43, "poet 1", 20 * 1100, 3)
for number in range(10**9):
    if number == 20:
        print("ready", flush=True)
    cache.put([number, number + 1], {"hidden": np.array([[2, number, number + 1]], dtype=np.float32)})
"""


def open_cache(
    folder: Path, identity: str = "poet 1", max_bytes: int = MUCH_BYTES, block_tokens: int = 3
) -> SharedPrefixCache:
    return SharedPrefixCache(folder, SECRET, identity, max_bytes, block_tokens)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[SharedPrefixCache, SharedPrefixCache]]:
    """The caches of two workers."""
    ours, theirs = open_cache(tmp_path), open_cache(tmp_path)
    yield ours, theirs
    ours.close()
    theirs.close()


class SharedAgainstADict(PrefixMachine):
    """The cache of two workers, used in turn."""

    def new_cache(self) -> SharedPrefixCache:
        self.folder = tempfile.TemporaryDirectory()
        return open_cache(Path(self.folder.name), max_bytes=self.max_bytes, block_tokens=self.block_tokens)

    def teardown(self) -> None:
        self.cache.close()
        self.folder.cleanup()


TestSharedAgainstADict = SharedAgainstADict.TestCase
TestSharedAgainstADict.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)

Two = tuple[SharedPrefixCache, SharedPrefixCache]


def test_what_one_worker_has_read_the_other_finds(two: Two) -> None:
    """Several arrays come back with their names, shapes and types, and nobody can change them."""
    ours, theirs = two
    checkpoints: PrefixCheckpoints = theirs
    state = {"h": np.ones((2, 1, 3), dtype=np.float32), "c": np.arange(6.0).reshape(3, 2).T, "n": np.array([7])}
    ours.put([4, 5, 6, 7], state)
    found = checkpoints.longest([4, 5, 6, 7, 8])
    assert found is not None
    assert found[0] == 4
    assert list(found[1].arrays) == ["h", "c", "n"]
    for name, array in state.items():
        np.testing.assert_array_equal(found[1].arrays[name], array, strict=True)
        with pytest.raises(ValueError, match="read-only"):
            found[1].arrays[name][...] = 0
    assert (ours.num_hits, theirs.num_hits, theirs.num_hit_tokens) == (0, 1, 4)
    assert len(ours) == len(theirs) == 1


def test_another_model_version_or_graph_finds_nothing(tmp_path: Path) -> None:
    """Also where its entries have been copied into the folder of the other."""
    ours, theirs = open_cache(tmp_path, "poet 1 ab fp32"), open_cache(tmp_path, "poet 1 ab int8")
    ours.put([4, 5], state_after([4, 5]))
    assert theirs.longest([4, 5]) is None
    records = ours._store.look(lambda transaction: [(bytes(k), bytes(v)) for k, v in transaction.cursor()])
    theirs._store.change(lambda transaction: [transaction.put(*record) for record in records])
    assert theirs.longest([4, 5]) is None
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: b"",
        lambda value: value[:3],
        lambda value: value[:-1],
        lambda value: value + b"\0",
        lambda value: bytes(len(value)),
        lambda value: value[:-4] + struct.pack("<f", 9.0),
        lambda value: value[:4] + struct.pack("<I", 2**32 - 1) + value[8:],
    ],
)
def test_an_entry_that_is_not_whole_is_a_miss(two: Two, spoil: object) -> None:
    ours, theirs = two
    ours.put([4, 5], state_after([4, 5]))

    def change(transaction: lmdb.Transaction[bytes]) -> None:
        (key,) = [key for key, _ in transaction.cursor() if key.startswith(b"E")]
        transaction.put(key, spoil(transaction.get(key)))  # type: ignore[operator]

    ours._store.change(change)
    assert theirs.longest([4, 5]) is None
    assert theirs.num_misses == 1


def test_an_entry_under_the_key_of_another_is_a_miss(two: Two) -> None:
    """A state is whole, and of another prefix."""
    ours, theirs = two
    ours.put([4, 5], state_after([4, 5]))
    ours.put([6, 7], state_after([6, 7]))

    def swap(transaction: lmdb.Transaction[bytes]) -> None:
        first, second = [(key, value) for key, value in transaction.cursor() if key.startswith(b"E")]
        transaction.put(first[0], second[1])
        transaction.put(second[0], first[1])

    ours._store.change(swap)
    assert theirs.longest([4, 5]) is None
    assert theirs.longest([6, 7]) is None


def test_a_lookup_takes_few_digests_however_long_the_text_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of the cache of one process: one digest per block at most, plus those of lengths that are cached after it."""
    import service.inference.state.prefix_lmdb as module

    cache = open_cache(tmp_path, block_tokens=50)
    long = [6] * 2000
    for ids in [[4, length, *([5] * length)] for length in range(1, 200)]:
        cache.put(ids, state_after(ids[:2]))
    cache.put(long[:1950], state_after([6]))
    original, digests = module.digest_after, []

    def counted(hasher: object, data: bytes, num_hashed_tokens: int, num_tokens: int) -> bytes:
        digests.append(num_tokens)
        return original(hasher, data, num_hashed_tokens, num_tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "digest_after", counted)
    found = cache.longest([*long[:1990], *([7] * 10)])
    assert found is not None
    assert found[0] == 1950
    assert cache.longest([5, *long]) is None
    assert len(digests) <= 2 * (2000 / 50 + 50)
    cache.close()


def test_all_workers_together_stay_within_the_bound(tmp_path: Path) -> None:
    """Two workers put far more than fits: what was used is kept, and the bytes are those of the entries."""
    ours, theirs = (open_cache(tmp_path, max_bytes=20 * 1100) for _ in range(2))
    for number in range(50):
        for cache, ids in ((ours, [4, number]), (theirs, [5, number])):
            cache.put(ids, state_after(ids))
            assert cache.longest([4, 0]) is not None
            assert cache.num_bytes <= 20 * 1100
    assert 15 <= len(ours) == len(theirs) <= 21
    assert ours.num_evictions + theirs.num_evictions == 100 - len(ours)
    ours.close()
    theirs.close()


def test_a_worker_killed_while_it_writes_harms_nobody(tmp_path: Path) -> None:
    """Killed at any moment, it leaves whole entries, the right totals, and a store that others write at once."""
    cache = open_cache(tmp_path, max_bytes=20 * 1100)
    for _ in range(3):
        with worker(PUT_FOR_EVER, tmp_path) as other:
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
        cache.put([1, 2, 3], state_after([1, 2, 3]))
        found = cache.longest([1, 2, 3])
        assert found is not None
        assert_is_after(found[1], [1, 2, 3])
        sizes = cache._store.look(lambda transaction: [len(v) for k, v in transaction.cursor() if bytes(k[:1]) == b"E"])
        assert len(cache) == len(sizes)
        assert 0 < cache.num_bytes <= 20 * 1100
    cache.close()


def test_the_last_one_removes_the_cache_of_a_model(tmp_path: Path) -> None:
    """A version that is no longer served takes no memory; a worker that was killed keeps nothing."""
    ours, theirs = open_cache(tmp_path), open_cache(tmp_path)
    ours.put([4], state_after([4]))
    ours.close()
    assert theirs.longest([4]) is not None
    with worker(PUT_FOR_EVER, tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    theirs.close()
    assert not list(tmp_path.glob("prefixes-*"))
    again = open_cache(tmp_path)
    assert again.longest([4]) is None
    again.put([4], state_after([4]))
    assert again.longest([4]) is not None
    again.close()


def test_a_store_that_is_broken_is_a_miss_and_begins_anew(tmp_path: Path) -> None:
    """Garbage in the middle of the file: nothing wrong is found, and all workers go on with an empty cache."""
    ours, theirs = open_cache(tmp_path), open_cache(tmp_path)
    for number in range(300):
        ours.put([number], state_after([number]))
    (path,) = tmp_path.glob("prefixes-*/0/data.mdb")
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(zlib.crc32(b"garbage").to_bytes(4) * ((path.stat().st_size - 8192) // 4))
    for number in range(300):
        found = theirs.longest([number])
        if found is not None:
            assert_is_after(found[1], [number])
    theirs.put([7], state_after([7]))
    theirs.put([8], state_after([8]))
    ours.put([8], state_after([8]))
    found = ours.longest([8])
    assert found is not None
    assert len(ours) == len(theirs) <= 2
    ours.close()
    theirs.close()


def test_an_empty_prefix_is_not_cached(two: Two) -> None:
    assert two[0].longest([]) is None
    with pytest.raises(ValueError, match="an empty prefix is not cached"):
        two[0].put([], {})


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    with contextlib.closing(open_cache(tmp_path, max_bytes=100)) as cache:
        cache.put([4, 5], state_after([4, 5]))
        assert (len(cache), cache.num_bytes) == (0, 0)
