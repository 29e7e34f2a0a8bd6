"""Find sound files by the names that tables of speech give them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from service.tasks.inputs.sound_file import SOUND_SUFFIXES
from training.data.formats.faults import DataFault, Report
from training.data.readers.listed_files import ListedFiles, files_in

#: Folders that corpora keep their sounds in, below that of the table.
_USUAL_FOLDERS = ("", "clips", "wavs", "wav", "audio", "audios", "sounds", "recordings")


class SpeechFiles:
    """Reads sounds by name: as `ListedFiles` does; else in a usual folder, with a suffix added, or by its last part.

    The last helps where a table has the whole paths of another machine; it is reported once.
    """

    def __init__(self, index: Path, report: Report, above: int = 0) -> None:
        """`above` is how many folders above that of the index relative names may start from."""
        self._index, self._report = index, report
        try:
            self._listed = ListedFiles(index)
        except zipfile.BadZipFile as error:
            what = f"the archive of the sounds is damaged: {error}"
            raise DataFault(index.with_suffix(".zip"), None, what) from error
        self._folders = [index.parent, *index.absolute().parents[1 : 1 + above]]
        self._is_told = False

    def read(self, name: str) -> bytes:
        """Content of a file. Raises OSError, KeyError or BadZipFile."""
        try:
            return self._listed.read(name)
        except (OSError, KeyError):
            path = self._path_of(name)
            if path is None:
                raise
            return path.read_bytes()

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        try:
            return bool(self.read(name))
        except (OSError, KeyError, ValueError):
            return False

    def _path_of(self, name: str) -> Path | None:
        plain = name.replace("\\", "/").removeprefix("./")
        for candidate in self._candidates(plain):
            if candidate.is_file():
                return candidate
        found = self._by_last_part.get(PurePosixPath(plain).name.casefold())
        if found is not None and len(PurePosixPath(plain).parts) > 1 and not self._is_told:
            self._is_told = True
            what = f"{name} is not there; sounds are found by the last part of their names, such as {found}"
            self._report.warn(self._index, None, what)
        return found

    def _candidates(self, name: str) -> Iterator[Path]:
        suffixes = ("",) if PurePosixPath(name).suffix.casefold() in SOUND_SUFFIXES else ("", *SOUND_SUFFIXES)
        for folder in self._folders:
            for part in _USUAL_FOLDERS:
                yield from (folder / part / f"{name}{suffix}" for suffix in suffixes)

    @cached_property
    def _by_last_part(self) -> dict[str, Path]:
        """Sounds below the folder by name, and by name without suffix, where only one has it."""
        found: dict[str, Path | None] = {}
        for path in files_in(self._index.parent):
            if path.suffix.casefold() in SOUND_SUFFIXES:
                for key in {path.name.casefold(), path.stem.casefold()}:
                    found[key] = None if key in found else path
        return {key: path for key, path in found.items() if path is not None}
