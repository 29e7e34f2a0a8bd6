"""Prefix cache: recurrent states by the tokens that were read, so that a prompt with a known prefix skips its prefill.

The state of a recurrent network after a prefix has the same few kilobytes however long the prefix is, so a cached
prefix costs one small copy. Prefixes are identified by a keyed 128-bit BLAKE2b hash of their ids. The key is random per
cache, so that nobody can construct two prefixes that collide.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from service.tasks.core.task import Array

BlockHasher = hashlib.blake2b

_DIGEST_BYTES = 16
ID_BYTES = 8
#: Overhead of one entry: digests, dicts, array objects.
_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, eq=False)
class PrefixEntry:
    """The state after a prefix. The arrays are read-only copies.

    Attributes:
        arrays: recurrent state of one row by name, in the shape in which it was put.
    """

    arrays: Mapping[str, Array]

    @property
    def num_bytes(self) -> int:
        """Memory used by the entry."""
        return sum(array.nbytes for array in self.arrays.values()) + _OVERHEAD_BYTES


@dataclass(frozen=True)
class PrefixKey:
    """Identity of a prefix: its digest, the digest of its whole blocks, and the number of tokens after those."""

    digest: bytes
    blocks_digest: bytes
    num_tail_tokens: int


class PrefixHashing:
    """How prefixes are identified: by a keyed hash of their ids, block by block."""

    def __init__(self, key: bytes, block_tokens: int) -> None:
        if block_tokens < 1:
            raise ValueError(f"a block has at least one token, not {block_tokens}")
        self._block_tokens = block_tokens
        self._first = hashlib.blake2b(digest_size=_DIGEST_BYTES, key=key)

    def blocks(self, data: bytes) -> list[BlockHasher]:
        """Hashers after 0, 1, 2, ... whole blocks of `data`."""
        step = self._block_tokens * ID_BYTES
        hashers = [self._first]
        for start in range(0, len(data) - step + 1, step):
            hasher = hashers[-1].copy()
            hasher.update(data[start : start + step])
            hashers.append(hasher)
        return hashers

    def key_of(self, data: bytes) -> PrefixKey:
        """The identity of a prefix."""
        num_tokens = len(data) // ID_BYTES
        blocks = self.blocks(data)[-1]
        num_tail_tokens = num_tokens % self._block_tokens
        digest = digest_after(blocks, data, num_tokens - num_tail_tokens, num_tokens)
        return PrefixKey(digest, blocks.digest(), num_tail_tokens)


class PrefixCache:
    """Recurrent states of one model by prefix, with LRU eviction. Thread-safe.

    A prefix may have any length. To find the longest one, a text is hashed once; digests are taken at multiples of
    `block_tokens`, and between two of them only at the lengths that are cached for a text with exactly these blocks.
    For a text of n tokens with no known prefix that is `n / block_tokens` digests, and n in the worst case.

    Attributes:
        num_hits, num_misses: lookups that found a prefix, and those that found none.
        num_hit_tokens: tokens that did not have to be read again.
        num_evictions: entries that were evicted to make room.
        num_bytes: memory used by the entries, at most `max_bytes`.
    """

    def __init__(self, max_bytes: int, block_tokens: int) -> None:
        self.max_bytes = max_bytes
        self.block_tokens = block_tokens
        self.num_hits = 0
        self.num_misses = 0
        self.num_hit_tokens = 0
        self.num_evictions = 0
        self.num_bytes = 0
        self._hashing = PrefixHashing(secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE), block_tokens)
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[PrefixKey, PrefixEntry]] = OrderedDict()
        #: Digest of whole blocks -> the number of entries by their count of tokens after those blocks.
        self._tails: dict[bytes, Counter[int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: Sequence[int] | Array) -> tuple[int, PrefixEntry] | None:
        """The longest cached prefix of `ids`, which may be all of them: its number of tokens, and its entry.

        A caller that must read at least one token passes `ids[:-1]`.
        """
        data = bytes_of(ids)
        hashers = self._hashing.blocks(data)
        with self._lock:
            found = self._find(data, hashers)
            if found is None:
                self.num_misses += 1
                return None
            self.num_hits += 1
            self.num_hit_tokens += found[0]
            return found

    def put(self, ids: Sequence[int] | Array, arrays: Mapping[str, Array]) -> None:
        """Cache the state after `ids`; the arrays are copied. An existing entry is kept."""
        data = bytes_of(ids)
        if not data:
            raise ValueError("an empty prefix is not cached: the state before the first token is constant")
        key = self._hashing.key_of(data)
        with self._lock:
            if key.digest in self._entries:
                self._entries.move_to_end(key.digest)
            else:
                self._insert(key, _frozen_entry(arrays))

    def close(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()
            self._tails.clear()
            self.num_bytes = 0

    def _find(self, data: bytes, hashers: Sequence[BlockHasher]) -> tuple[int, PrefixEntry] | None:
        for num_blocks in range(len(hashers) - 1, -1, -1):
            num_block_tokens = num_blocks * self.block_tokens
            max_tail_tokens = len(data) // ID_BYTES - num_block_tokens
            tails = self._tails.get(hashers[num_blocks].digest(), ())
            for tail in sorted((tail for tail in tails if tail <= max_tail_tokens), reverse=True):
                num_tokens = num_block_tokens + tail
                digest = digest_after(hashers[num_blocks], data, num_block_tokens, num_tokens)
                if digest in self._entries:
                    self._entries.move_to_end(digest)
                    return num_tokens, self._entries[digest][1]
        return None

    def _insert(self, key: PrefixKey, entry: PrefixEntry) -> None:
        if entry.num_bytes > self.max_bytes:
            return
        self._entries[key.digest] = (key, entry)
        self._tails.setdefault(key.blocks_digest, Counter())[key.num_tail_tokens] += 1
        self.num_bytes += entry.num_bytes
        while self.num_bytes > self.max_bytes:
            self._remove(next(iter(self._entries)))
            self.num_evictions += 1

    def _remove(self, digest: bytes) -> None:
        key, entry = self._entries.pop(digest)
        self.num_bytes -= entry.num_bytes
        tails = self._tails[key.blocks_digest]
        tails[key.num_tail_tokens] -= 1
        if not tails[key.num_tail_tokens]:
            del tails[key.num_tail_tokens]
        if not tails:
            del self._tails[key.blocks_digest]


def digest_after(hasher: BlockHasher, data: bytes, num_hashed_tokens: int, num_tokens: int) -> bytes:
    """The digest of the first `num_tokens` of `data`, of which `hasher` has seen some; `hasher` is not changed."""
    hasher = hasher.copy()
    hasher.update(data[num_hashed_tokens * ID_BYTES : num_tokens * ID_BYTES])
    return hasher.digest()


def bytes_of(ids: Sequence[int] | Array) -> bytes:
    """Ids as they are hashed."""
    return np.asarray(ids, dtype="<i8").tobytes()


def _frozen_entry(arrays: Mapping[str, Array]) -> PrefixEntry:
    return PrefixEntry(MappingProxyType({name: _frozen_copy(array) for name, array in arrays.items()}))


def _frozen_copy(array: Array) -> Array:
    copy = array.copy()
    copy.setflags(write=False)
    return copy
