"""A folder of this machine, or one that is mounted. Links in it are not followed: they could lead anywhere."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from service.errors import HubError, NotThere
from service.hub.address import Address
from service.hub.store import RemoteFile
from service.hub.stores.web_folder import pieces_of

#: A link is not followed, nor a pipe waited for, where the system can do so.
_READING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class LocalFolder:
    """The folder of a `file://` address."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._folder = Path("/", unquote(address.path))

    @contextmanager
    def read(self, name: str) -> Iterator[RemoteFile]:
        what = f"{self._address}: {name}"
        try:
            descriptor = os.open(self._folder / name, _READING)
        except FileNotFoundError as error:
            raise NotThere(f"{what}: there is no such file") from error
        except OSError as error:
            reason = "is a link" if (self._folder / name).is_symlink() else error.strerror
            raise HubError(f"{what}: cannot be read: {reason}") from error
        with os.fdopen(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise HubError(f"{what}: is no file")
            yield RemoteFile(state.st_size, pieces_of(file))

    def write(self, files: Mapping[str, Path]) -> None:
        """Write all files at once, by a rename; a bundle that is there is replaced."""
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=f".{self._folder.name}-", dir=self._folder.parent))
        except OSError as error:
            raise HubError(f"{self._address}: cannot be written: {error.strerror}") from error
        try:
            new = staged / "new"
            new.mkdir()
            for name, path in files.items():
                shutil.copyfile(path, new / name)
                (new / name).chmod(0o644)
            if os.path.lexists(self._folder):
                self._folder.rename(staged / "old")
            new.rename(self._folder)
        except OSError as error:
            raise HubError(f"{self._address}: cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def close(self) -> None:
        """Nothing is open."""
