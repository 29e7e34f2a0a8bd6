"""Files that an index names: in its folder, or in an archive beside it; and the files of a folder that count."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

#: What archivers and desktops leave behind, beside hidden files.
_STRAY_FOLDERS = frozenset({"__macosx", "$recycle.bin", "system volume information"})


class ListedFiles:
    """Reads files by the names in an index: `NAME.zip` or `NAME_*.zip` next to `NAME.csv`, else its folder.

    Names may have the slashes of Windows, and other upper and lower case than the files.
    """

    def __init__(self, index: Path) -> None:
        self._folder = index.parent
        archives = [index.with_suffix(".zip"), *sorted(index.parent.glob(f"{index.stem}_*.zip"))]
        opened = [zipfile.ZipFile(archive) for archive in archives if archive.is_file()]
        self._members = {name: archive for archive in opened for name in archive.namelist()}

    def read(self, name: str) -> bytes:
        """Content of a file. Raises OSError, KeyError or BadZipFile."""
        name = name.replace("\\", "/").removeprefix("./")
        if self._members:
            found = name if name in self._members else self._member_names.get(name.casefold(), name)
            if found in self._members:
                return self._members[found].read(found)
        path = self._folder / name
        return (path if path.is_file() else self._like(name, path)).read_bytes()

    def _like(self, name: str, path: Path) -> Path:
        return self._file_names.get(os.path.normcase(name).casefold(), path)

    @cached_property
    def _member_names(self) -> dict[str, str]:
        return {name.casefold(): name for name in self._members}

    @cached_property
    def _file_names(self) -> dict[str, Path]:
        return {str(path.relative_to(self._folder)).casefold(): path for path in files_in(self._folder)}


def files_in(folder: Path) -> Iterator[Path]:
    """All files at any depth, sorted, without hidden ones and what archivers leave behind. Links are followed once."""
    yield from _files_in(folder, frozenset())


def _files_in(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above:
        return
    for path in sorted(folder.iterdir()):
        if is_stray(path.name):
            continue
        if path.is_dir():
            yield from _files_in(path, above | {here})
        elif path.is_file():
            yield path


def is_stray(name: str) -> bool:
    """Whether a file or folder is hidden, such as `._x.wav`, or left behind by an archiver or a desktop."""
    return name.startswith(".") or name.casefold() in _STRAY_FOLDERS
