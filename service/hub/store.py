"""What every place where bundles are kept can do: read one file of a bundle, and write all files of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: What is read from a store at a time.
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Transport:
    """How long the other side may be silent, and how often something is tried before it is given up."""

    timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    num_tries: int = 3
    pause_s: float = 1.0


@dataclass(frozen=True)
class RemoteFile:
    """An opened file of a bundle.

    Attributes:
        size_bytes: what the store says; None if it says nothing. It is checked.
        pieces: its content. Raises Unreachable, HubError.
    """

    size_bytes: int | None
    pieces: Iterator[bytes]


class Store(Protocol):
    """The folder of one bundle at an address."""

    def read(self, name: str) -> AbstractContextManager[RemoteFile]:
        """Open a file of the bundle.

        Raises:
            NotThere: there is no such file.
            Unreachable: it may succeed later.
            HubError: it cannot be read.
        """
        ...

    def write(self, files: Mapping[str, Path]) -> None:
        """Write the files of a bundle; their last is `manifest.json`, so that nobody reads half a bundle as a whole.

        Raises Unreachable, HubError.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...
