"""Recurrent state by what was read: the `PrefixCheckpoints` of a model. A text starts where an earlier one was noted.

The state of a recurrent network after a prefix has the same few kilobytes however long the prefix is, so a known prefix
costs one small copy. Prefixes are told apart by a keyed 128-bit BLAKE2b of their ids. The key is drawn per cache, so
nobody can prepare two prefixes that are taken for one another.
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

_DIGEST_BYTES = 16
_ID_BYTES = 8
#: What Python keeps for one entry besides the numbers: digests, dicts, array objects.
_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, eq=False)
class PrefixEntry:
    """What is known after a prefix. The arrays are copies of their own and cannot be written to.

    Attributes:
        arrays: recurrent state of one row by name, in the shape in which it was put.
    """

    arrays: Mapping[str, Array]

    @property
    def num_bytes(self) -> int:
        """Memory that the entry keeps busy."""
        return sum(array.nbytes for array in self.arrays.values()) + _OVERHEAD_BYTES


@dataclass(frozen=True)
class _Place:
    """Where a prefix is kept: its own digest, that of its whole blocks, and how many tokens come after those."""

    digest: bytes
    blocks_digest: bytes
    num_tail_tokens: int


class PrefixCache:
    """Checkpoints of one model, the least recently used leave first. Any thread may call it.

    A prefix may have any length. To find the longest one, a text is hashed once; digests are taken at multiples of
    `block_tokens`, and after such a block only at the lengths that are kept for a text with exactly these blocks. That
    is `n / block_tokens` digests for a text of n tokens that is new from its start, and n at the very most.

    Attributes:
        num_hits, num_misses: lookups that found a prefix, and those that found none.
        num_hit_tokens: tokens that did not have to be read again.
        num_evictions: entries that left to make room.
        num_bytes: memory that the entries keep busy, at most `max_bytes`.
    """

    def __init__(self, max_bytes: int, block_tokens: int) -> None:
        if block_tokens < 1:
            raise ValueError(f"a block has at least one token, not {block_tokens}")
        self.max_bytes = max_bytes
        self.block_tokens = block_tokens
        self.num_hits = 0
        self.num_misses = 0
        self.num_hit_tokens = 0
        self.num_evictions = 0
        self.num_bytes = 0
        self._key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[_Place, PrefixEntry]] = OrderedDict()
        #: Digest of whole blocks -> how many entries have so and so many tokens after them.
        self._tails: dict[bytes, Counter[int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: Sequence[int] | Array) -> tuple[int, PrefixEntry] | None:
        """The longest known prefix of `ids`, which may be all of them: how many tokens it has, and what is known then.

        Who needs to read at least one token asks for `ids[:-1]`.
        """
        data = _bytes_of(ids)
        hashers = self._hash_blocks(data)
        with self._lock:
            found = self._find(data, hashers)
            if found is None:
                self.num_misses += 1
                return None
            self.num_hits += 1
            self.num_hit_tokens += found[0]
            return found

    def put(self, ids: Sequence[int] | Array, arrays: Mapping[str, Array]) -> None:
        """Note the state after `ids`; the arrays are copied. What is noted already stays."""
        data = _bytes_of(ids)
        if not data:
            raise ValueError("nothing was read yet: the state before the first token is known anyway")
        place = self._place(data)
        with self._lock:
            if place.digest in self._entries:
                self._entries.move_to_end(place.digest)
            else:
                self._insert(place, _frozen_entry(arrays))

    def _find(self, data: bytes, hashers: Sequence[hashlib.blake2b]) -> tuple[int, PrefixEntry] | None:
        for num_blocks in range(len(hashers) - 1, -1, -1):
            num_block_tokens = num_blocks * self.block_tokens
            max_tail_tokens = len(data) // _ID_BYTES - num_block_tokens
            tails = self._tails.get(hashers[num_blocks].digest(), ())
            for tail in sorted((tail for tail in tails if tail <= max_tail_tokens), reverse=True):
                num_tokens = num_block_tokens + tail
                digest = _digest_after(hashers[num_blocks], data, num_block_tokens, num_tokens)
                if digest in self._entries:
                    self._entries.move_to_end(digest)
                    return num_tokens, self._entries[digest][1]
        return None

    def _insert(self, place: _Place, entry: PrefixEntry) -> None:
        if entry.num_bytes > self.max_bytes:
            return
        self._entries[place.digest] = (place, entry)
        self._tails.setdefault(place.blocks_digest, Counter())[place.num_tail_tokens] += 1
        self.num_bytes += entry.num_bytes
        while self.num_bytes > self.max_bytes:
            self._remove(next(iter(self._entries)))
            self.num_evictions += 1

    def _remove(self, digest: bytes) -> None:
        place, entry = self._entries.pop(digest)
        self.num_bytes -= entry.num_bytes
        tails = self._tails[place.blocks_digest]
        tails[place.num_tail_tokens] -= 1
        if not tails[place.num_tail_tokens]:
            del tails[place.num_tail_tokens]
        if not tails:
            del self._tails[place.blocks_digest]

    def _place(self, data: bytes) -> _Place:
        num_tokens = len(data) // _ID_BYTES
        blocks = self._hash_blocks(data)[-1]
        num_tail_tokens = num_tokens % self.block_tokens
        digest = _digest_after(blocks, data, num_tokens - num_tail_tokens, num_tokens)
        return _Place(digest, blocks.digest(), num_tail_tokens)

    def _hash_blocks(self, data: bytes) -> list[hashlib.blake2b]:
        """Hashers after 0, 1, 2, ... whole blocks of `data`."""
        step = self.block_tokens * _ID_BYTES
        hashers = [hashlib.blake2b(digest_size=_DIGEST_BYTES, key=self._key)]
        for start in range(0, len(data) - step + 1, step):
            hasher = hashers[-1].copy()
            hasher.update(data[start : start + step])
            hashers.append(hasher)
        return hashers


def _digest_after(hasher: hashlib.blake2b, data: bytes, num_hashed_tokens: int, num_tokens: int) -> bytes:
    """The digest of the first `num_tokens` of `data`. `hasher` has seen some of them, and stays as it is."""
    hasher = hasher.copy()
    hasher.update(data[num_hashed_tokens * _ID_BYTES : num_tokens * _ID_BYTES])
    return hasher.digest()


def _bytes_of(ids: Sequence[int] | Array) -> bytes:
    return np.asarray(ids, dtype="<i8").tobytes()


def _frozen_entry(arrays: Mapping[str, Array]) -> PrefixEntry:
    return PrefixEntry(MappingProxyType({name: _frozen_copy(array) for name, array in arrays.items()}))


def _frozen_copy(array: Array) -> Array:
    copy = array.copy()
    copy.setflags(write=False)
    return copy
