"""Graphs as onnxruntime prepared them, in files in memory that all workers map instead of keeping copies of their own.

A file holds a graph's weights in the precision they are computed in, and packed for the kernels. The first worker that
needs it makes it of what it read from the bundle, in a folder that nobody else can enter: what happens to the bundle
afterwards cannot reach a session. The last worker that uses it removes it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":  # which has no workers
    import fcntl

GRAPH_FILE, DATA_FILE = "graph.onnx", "graph.bin"
_LOCK_FILE = "making.lock"
_MAKING, _LEAVING = ".making-", ".leaving-"
#: Size of the files over that of the graph in the bundle: twice the precision, and all of it once more, packed.
_GROWTH = 4
#: Smaller graphs take less memory in each worker than pages in a file.
_MIN_BYTES = 256 * 1024
#: Memory that is left to others in the folder's file system.
_SPARE_BYTES = 64 * 1024 * 1024

#: Writes GRAPH_FILE and DATA_FILE into a folder.
MakeFiles = Callable[[Path], None]


@dataclass(frozen=True)
class MappedGraph:
    """Files of one graph, held by this process until `release`."""

    folder: Path
    descriptor: int

    @property
    def file(self) -> Path:
        return self.folder / GRAPH_FILE

    def release(self) -> None:
        """Use the files no more; remove them if nobody does. Sessions that have mapped them keep the memory."""
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leaving = Path(tempfile.mkdtemp(prefix=_LEAVING, dir=self.folder.parent))
            self.folder.rename(leaving)  # at once, so that nobody finds half of it
            shutil.rmtree(leaving)
        with suppress(OSError):
            os.close(self.descriptor)


class MappedGraphs:
    """The files of all graphs that the workers of one group have open, in the folder of the group."""

    def __init__(self, folder: Path, min_bytes: int = _MIN_BYTES) -> None:
        """`folder` is made when it is needed, in one that is private to the user of this process."""
        self._folder = folder
        self._min_bytes = min_bytes

    def hold(self, content: bytes, weights: bytes, version: str, make: MakeFiles) -> MappedGraph | None:
        """The files for a graph with these bytes, made by `make` if nobody has yet.

        Args:
            weights: those that the graph shares with others, stored outside it.
            version: of the runtime, whose files others may not understand.

        Returns:
            None if the graph is too small to gain by it, or there is no room for the files.

        Raises:
            OSError: they cannot be written or read.
        """
        num_bytes = len(content) + len(weights)
        if num_bytes < self._min_bytes:
            return None
        digest = hashlib.sha256(b"%d %d %b" % (len(content), len(weights), version.encode()))
        digest.update(content)
        digest.update(weights)
        folder = self._folder / digest.hexdigest()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            held = _held(folder)
            if held is not None:
                return held
            with self._making():
                if not folder.exists() and not self._make(folder, _GROWTH * num_bytes, make):
                    return None

    @contextmanager
    def _making(self) -> Iterator[None]:
        """One worker makes files at a time, so that others find them instead of making them as well."""
        descriptor = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make(self, folder: Path, estimated_bytes: int, make: MakeFiles) -> bool:
        if shutil.disk_usage(self._folder).free < estimated_bytes + _SPARE_BYTES:
            return False
        staged = Path(tempfile.mkdtemp(prefix=_MAKING, dir=self._folder))
        try:
            make(staged)
            for file in list(staged.iterdir()):
                _complete(file)
            staged.rename(folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return True


def _complete(file: Path) -> None:
    """Make a file read-only, and sure to have memory for each of its bytes. Raises OSError if it has not.

    A page of a mapped file for which there is no memory ends the process that reads it.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, max(1, os.fstat(descriptor).st_size))
        os.fchmod(descriptor, 0o400)
    finally:
        os.close(descriptor)


def _held(folder: Path) -> MappedGraph | None:
    """The files in `folder`, locked against removal; None if there are none, or if they are being removed."""
    try:
        descriptor = os.open(folder / GRAPH_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if (folder / GRAPH_FILE).stat().st_ino == os.fstat(descriptor).st_ino:
            return MappedGraph(folder, descriptor)
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
