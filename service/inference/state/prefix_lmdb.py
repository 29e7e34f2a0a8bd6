"""Prefix cache that the workers of one machine share, in an embedded store (LMDB) in memory: see `prefix_cache`.

What one worker has read, all of them know. The records of the store begin with a letter: `E` and the key of a prefix
for its state, `U` and the key for its place in the order of use and its size, `O` and a place for the key, and `T` for
the totals. An entry has a checksum over its key and content, so that one that is cut off, or another's, is not found.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
import shutil
import struct
import threading
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.inference.state.prefix_cache import (
    ID_BYTES,
    BlockHasher,
    PrefixEntry,
    PrefixHashing,
    bytes_of,
    digest_after,
)
from service.inference.state.shared_store import SharedStore, StoreBroken, StoreFull
from service.process_locks import ProcessLocks, taking
from service.tasks.core.task import Array

if TYPE_CHECKING:
    import lmdb

logger = logging.getLogger(__name__)

#: A key is the digest of whole blocks, the number of tokens after them, and the digest of all.
_TAIL = struct.Struct(">I")
_PLACE = struct.Struct(">Q")
#: The place in the order of use, and the bytes of the entry.
_USE = struct.Struct("<QQ")
#: The next place in the order of use, entries, their bytes.
_TOTALS = struct.Struct("<QQQ")
#: Checksum of the key and all that follows; length of what says which arrays there are.
_HEAD = struct.Struct("<II")
#: An entry is moved to the end of the order of use when it has fallen behind by this part of all: not at every use.
_MOVED_AFTER = 1 / 8
#: Locks say who uses the cache of a model: numbers from that of the model, one of them for each user.
_USERS = 1 << 20
_OPENING_LOCK, _PATIENCE_S = (1 << 62) - 1, 10.0


class _Found(NamedTuple):
    num_tokens: int
    key: bytes
    value: bytes
    has_fallen_behind: bool


class _Layout(NamedTuple):
    """One array of an entry."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


class SharedPrefixCache:
    """Recurrent states of one model by prefix, with about LRU eviction, for all workers. Thread-safe.

    Attributes:
        num_hits, num_misses, num_hit_tokens, num_evictions: as of `PrefixCache`, of this worker.
    """

    def __init__(self, folder: Path, secret: str, identity: str, max_bytes: int, block_tokens: int) -> None:
        """Open the cache of one model; `identity` names it, its version and its graphs, and how they are run.

        Raises:
            OSError: the folder has no room, or cannot be used.
        """
        self.max_bytes = max_bytes
        self.block_tokens = block_tokens
        self.num_hits = self.num_misses = self.num_hit_tokens = self.num_evictions = 0
        own = hashlib.blake2b(identity.encode(), key=secret.encode()[: hashlib.blake2b.MAX_KEY_SIZE]).digest()
        self._hashing = PrefixHashing(own, block_tokens)
        self._lock = threading.Lock()
        self._has_warned = False
        self._use = _ModelUse(folder, own)
        self._store = self._use.opened(max_bytes)

    def __len__(self) -> int:
        return self._read_totals()[1]

    @property
    def num_bytes(self) -> int:
        """Memory used by the entries, at most `max_bytes`."""
        return self._read_totals()[2]

    def longest(self, ids: Sequence[int] | Array) -> tuple[int, PrefixEntry] | None:
        """See `PrefixCache.longest`."""
        data = bytes_of(ids)
        hashers = self._hashing.blocks(data)
        try:
            found = self._store.look(lambda transaction: self._find(transaction, data, hashers))
        except StoreBroken:
            found = None
        entry = None if found is None else _entry_of(found.key, found.value)
        with self._lock:
            if found is None or entry is None:
                self.num_misses += 1
                return None
            self.num_hits += 1
            self.num_hit_tokens += found.num_tokens
        if found.has_fallen_behind:
            self._touch(found.key)
        return found.num_tokens, entry

    def put(self, ids: Sequence[int] | Array, arrays: Mapping[str, Array]) -> None:
        """See `PrefixCache.put`. Where there is no room at all, nothing is cached."""
        data = bytes_of(ids)
        if not data:
            raise ValueError("an empty prefix is not cached: the state before the first token is constant")
        prefix = self._hashing.key_of(data)
        key = prefix.blocks_digest + _TAIL.pack(prefix.num_tail_tokens) + prefix.digest
        num_bytes = PrefixEntry(arrays).num_bytes
        if num_bytes > self.max_bytes:
            return
        try:
            use = self._store.look(lambda transaction: _use_of(transaction, key))
            if use is None:
                value = _value_of(key, arrays)
                self._store.change_with_room(lambda table: self._insert(table, key, value, num_bytes), self._evict)
            elif use:
                self._touch(key)
        except StoreBroken:
            pass  # it is logged, and was a cache
        except StoreFull as error:
            self._warn(error)

    def close(self) -> None:
        """Leave the cache. The last one that leaves it removes it."""
        self._store.close()
        self._use.end()

    def _find(
        self, transaction: lmdb.Transaction[memoryview], data: bytes, hashers: Sequence[BlockHasher]
    ) -> _Found | None:
        """Look at the lengths that are cached after each number of whole blocks, the longest first."""
        num_tokens = len(data) // ID_BYTES
        with transaction.cursor() as cursor:
            for num_blocks in range(len(hashers) - 1, -1, -1):
                num_block_tokens = num_blocks * self.block_tokens
                start = b"E" + hashers[num_blocks].digest()
                length = num_tokens - num_block_tokens
                while (tail := _longest_tail(cursor, start, length)) is not None:
                    end = num_block_tokens + tail
                    key = start[1:] + _TAIL.pack(tail) + digest_after(hashers[num_blocks], data, num_block_tokens, end)
                    value = transaction.get(b"E" + key)
                    if value is not None:
                        return _Found(end, key, bytes(value), bool(_use_of(transaction, key)))
                    length = tail - 1
        return None

    def _insert(self, transaction: lmdb.Transaction[bytes], key: bytes, value: bytes, num_bytes: int) -> None:
        if transaction.get(b"U" + key) is not None:
            return  # another worker was faster
        place, num_entries, total = _totals(transaction.get(b"T"))
        transaction.put(b"E" + key, value)
        transaction.put(b"U" + key, _USE.pack(place, num_bytes))
        transaction.put(b"O" + _PLACE.pack(place), key)
        transaction.put(b"T", _TOTALS.pack(place + 1, num_entries + 1, total + num_bytes))
        while total + num_bytes > self.max_bytes and (freed := _drop_oldest(transaction)):
            total -= freed
            self.num_evictions += 1

    def _evict(self, transaction: lmdb.Transaction[bytes], count: int) -> bool:
        evicted = sum([_drop_oldest(transaction) > 0 for _ in range(count)])
        self.num_evictions += evicted
        return evicted > 0

    def _touch(self, key: bytes) -> None:
        def change(transaction: lmdb.Transaction[bytes]) -> None:
            use = transaction.get(b"U" + key)
            if use is not None:
                old, num_bytes = _USE.unpack(use)
                place, num_entries, total = _totals(transaction.get(b"T"))
                transaction.delete(b"O" + _PLACE.pack(old))
                transaction.put(b"O" + _PLACE.pack(place), key)
                transaction.put(b"U" + key, _USE.pack(place, num_bytes))
                transaction.put(b"T", _TOTALS.pack(place + 1, num_entries, total))

        try:
            self._store.change(change)
        except (StoreBroken, StoreFull) as error:
            self._warn(error)

    def _read_totals(self) -> tuple[int, int, int]:
        try:
            return self._store.look(lambda transaction: _totals(transaction.get(b"T")))
        except StoreBroken:
            return 0, 0, 0

    def _warn(self, error: Exception) -> None:
        """Say once that the cache has no room."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("the prefix cache that workers share has no room", extra={"reason": str(error)})


class _ModelUse:
    """That this process uses the cache of a model: a lock, which ends with the process."""

    def __init__(self, folder: Path, own: bytes) -> None:
        name = hashlib.blake2b(own, digest_size=8).digest()
        self._path = folder / f"prefixes-{name.hex()}"
        self._first = (int.from_bytes(name[:5]) + 1) * _USERS
        self._locks = ProcessLocks(folder / "prefixes.locks")

    def opened(self, max_bytes: int) -> SharedStore:
        """The store of the model, while nobody removes it. Raises OSError."""
        if not self._locks.lock_within(taking(_OPENING_LOCK), _PATIENCE_S):
            raise TimeoutError("another process opens or removes a prefix cache, and does not go on")
        try:
            self._locks.lock_now(self._first + secrets.randbelow(_USERS))
            return SharedStore(self._path, max_bytes)
        finally:
            self._locks.unlock(_OPENING_LOCK)

    def end(self) -> None:
        """Use it no more, and remove it if nobody else does."""
        self._locks.unlock(self._first, _USERS)
        if self._locks.lock_within(taking(_OPENING_LOCK), _PATIENCE_S):
            if self._locks.is_free(self._first, _USERS):
                shutil.rmtree(self._path, ignore_errors=True)
            self._locks.unlock(_OPENING_LOCK)
        self._locks.close()


def _longest_tail(cursor: lmdb.Cursor[memoryview], start: bytes, at_most: int) -> int | None:
    """The largest cached number of tokens after blocks, up to a limit."""
    if at_most < 0:
        return None
    is_there = cursor.set_range(start + _TAIL.pack(at_most + 1))
    is_there = cursor.prev() if is_there else cursor.last()
    key = bytes(cursor.key()) if is_there else b""
    return _TAIL.unpack_from(key, len(start))[0] if key.startswith(start) else None


def _use_of(transaction: lmdb.Transaction[memoryview], key: bytes) -> bool | None:
    """Whether an entry has fallen behind in the order of use; None if there is no such entry."""
    use = transaction.get(b"U" + key)
    if use is None:
        return None
    next_place, num_entries, _ = _totals(transaction.get(b"T"))
    behind: int = next_place - 1 - _USE.unpack(use)[0]
    return behind > num_entries * _MOVED_AFTER


def _drop_oldest(transaction: lmdb.Transaction[bytes]) -> int:
    """Delete the entry used least recently; its bytes, 0 if there is none."""
    with transaction.cursor() as cursor:
        if not cursor.set_range(b"O") or not cursor.key().startswith(b"O"):
            return 0
        record, key = cursor.item()
    num_bytes: int = _USE.unpack(transaction.get(b"U" + key, bytes(_USE.size)))[1]
    for name in (record, b"U" + key, b"E" + key):
        transaction.delete(name)
    place, num_entries, total = _totals(transaction.get(b"T"))
    transaction.put(b"T", _TOTALS.pack(place, num_entries - 1, total - num_bytes))
    return num_bytes


def _totals(data: bytes | memoryview | None) -> tuple[int, int, int]:
    return (0, 0, 0) if data is None else _TOTALS.unpack(data)


def _value_of(key: bytes, arrays: Mapping[str, Array]) -> bytes:
    layout = json.dumps([[name, array.dtype.str, array.shape] for name, array in arrays.items()]).encode()
    content = b"".join([layout, *(np.ascontiguousarray(array).tobytes() for array in arrays.values())])
    rest = len(layout).to_bytes(4, "little") + content
    return zlib.crc32(rest, zlib.crc32(key)).to_bytes(4, "little") + rest


def _entry_of(key: bytes, value: bytes) -> PrefixEntry | None:
    """The entry in a value; None if it is not whole, or of another key."""
    if len(value) < _HEAD.size:
        return None
    checksum, length = _HEAD.unpack_from(value)
    if zlib.crc32(memoryview(value)[4:], zlib.crc32(key)) != checksum:
        return None
    arrays: dict[str, Array] = {}
    offset = _HEAD.size + length
    for name, dtype, shape in _layout(value[_HEAD.size : offset]):
        count = math.prod(shape)
        arrays[name] = np.frombuffer(value, dtype, count, offset).reshape(shape)
        offset += count * dtype.itemsize
    return PrefixEntry(MappingProxyType(arrays))


@lru_cache(maxsize=256)
def _layout(text: bytes) -> tuple[_Layout, ...]:
    return tuple(_Layout(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in json.loads(text))
