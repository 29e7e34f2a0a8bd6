"""Receive files from a store within bounds: of bytes, of time, of tries."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.errors import HubError, Unreachable
from service.hub.address import Address
from service.hub.store import RemoteFile, Store, Transport

#: A file may take so long, and the time for its bytes at this rate: a server that drips is given up.
_GRACE_S: Final = 60.0
_MIN_BYTES_PER_S: Final = 4096

#: Told of each piece: the name of the file, its bytes so far, and its size if it is known.
Progress = Callable[[str, int, int | None], None]


def no_progress(_name: str, _received: int, _size: int | None) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Received:
    """A file that came: its sha256, hexadecimal, and its size."""

    digest: str
    size_bytes: int


class Receiver:
    """Receives the files of one bundle; together they may not have more than so many bytes."""

    def __init__(
        self,
        store: Store,
        address: Address,
        transport: Transport,
        most_bytes: int,
        progress: Progress = no_progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._address = address
        self._transport = transport
        self._most_bytes = most_bytes
        self._left_bytes = most_bytes
        self._progress = progress
        self._clock = clock

    def receive(self, name: str, target: Path, most_bytes: int | None = None) -> Received:
        """Write a file of the bundle to `target`. What breaks off is begun again.

        Raises:
            NotThere: there is no such file.
            Unreachable: no try succeeded.
            HubError: it is larger than allowed, or has another size than the store says; or there is no room for it.
        """
        allowed = self._left_bytes if most_bytes is None else min(most_bytes, self._left_bytes)
        for tries_left in reversed(range(self._transport.num_tries)):
            try:
                received = self._receive_once(name, target, allowed)
            except Unreachable:
                if not tries_left:
                    raise
                time.sleep(self._transport.pause_s)
            else:
                self._left_bytes -= received.size_bytes
                return received
        raise AssertionError("the last try returns or raises")

    def _receive_once(self, name: str, target: Path, allowed: int) -> Received:
        digest, size = hashlib.sha256(), 0
        with self._store.read(name) as remote, _created(target) as file:
            if remote.size_bytes is not None and remote.size_bytes > allowed:
                raise self._too_large(name, allowed)
            for piece in self._paced(remote, name):
                size += len(piece)
                if size > allowed:
                    raise self._too_large(name, allowed)
                if remote.size_bytes is not None and size > remote.size_bytes:
                    raise HubError(f"{self._what(name)}: more came than the {remote.size_bytes:,} bytes announced")
                digest.update(piece)
                file.write(piece)
                self._progress(name, size, remote.size_bytes)
            if remote.size_bytes not in (None, size):
                raise Unreachable(f"{self._what(name)}: broke off after {size:,} of {remote.size_bytes:,} bytes")
        return Received(digest.hexdigest(), size)

    def _paced(self, remote: RemoteFile, name: str) -> Iterator[bytes]:
        """The pieces of a file, as long as they come fast enough."""
        began_s, received = self._clock(), 0
        for piece in remote.pieces:
            received += len(piece)
            if self._clock() - began_s > _GRACE_S + received / _MIN_BYTES_PER_S:
                raise Unreachable(f"{self._what(name)}: comes slower than {_MIN_BYTES_PER_S:,} bytes a second")
            yield piece

    def _too_large(self, name: str, allowed: int) -> HubError:
        limit = f"a bundle may have {self._most_bytes:,} bytes: see --max-bytes and UNROLL_PULL_MAX_BYTES"
        if allowed < self._left_bytes:
            limit = "no such file is as large"
        return HubError(f"{self._what(name)}: more than {allowed:,} bytes; {limit}")

    def _what(self, name: str) -> str:
        return f"{self._address}: {name}"


class _created:  # noqa: N801 - reads as a statement
    """A new file to write, whose errors say that the trouble is on this side."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> _created:
        try:
            self._file = self._target.open("wb")
        except OSError as error:
            raise self._failure(error) from error
        return self

    def write(self, piece: bytes) -> None:
        """Add to the file. Raises HubError."""
        try:
            self._file.write(piece)
        except OSError as error:
            raise self._failure(error) from error

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._file.close()
        except OSError as error_of_close:
            if error is None:
                raise self._failure(error_of_close) from error_of_close

    def _failure(self, error: OSError) -> HubError:
        return HubError(f"{self._target.parent}: cannot be written: {error.strerror}")
