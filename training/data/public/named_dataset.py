"""What is known of a public data set: its files with digests, how to read them, and what its licence asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.bundle.manifest import TaskName
from training.data.formats.options import ReadOptions


@dataclass(frozen=True)
class DataFile:
    """One file of a split.

    `path` is relative to the folder of the data set; `path + ".gz"` is as good. `sha256` is of the content before any
    compression. `url` gives exactly this content, or, with `byte_range`, these bytes (first, one past the last) of
    it; None when the public form of the data differs and has to be converted first.
    """

    path: str
    sha256: str
    url: str | None = None
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Split:
    """What to give to a reader, and the files it consists of.

    `path` is a file, a folder that holds the files, or what the names of files in several languages begin with.
    """

    path: str
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class NamedDataset:
    """A public data set. `may_ship` says whether models trained on it may be given away, as far as we can tell.

    Its files lie in a folder of its name, or in `folder`, which sets that come together share.
    """

    name: str
    tasks: tuple[TaskName, ...]
    language: str
    splits: Mapping[str, Split]
    licence: str
    attribution: str
    home: str
    may_ship: bool
    options: ReadOptions = field(default_factory=ReadOptions)
    note: str = ""
    folder: str = ""


def file_split(path: str, sha256: str, url: str | None = None, byte_range: tuple[int, int] | None = None) -> Split:
    """A split that is one file."""
    return Split(path, (DataFile(path, sha256, url, byte_range),))


def slot_folder(folder: str, label: str, words: str, tags: str) -> Split:
    """A split that is a folder of line-aligned files, with the digest of each."""
    digests = {"label": label, "seq.in": words, "seq.out": tags}
    return Split(folder, tuple(DataFile(f"{folder}/{name}", sha256) for name, sha256 in digests.items()))


def language_files(stem: str, **digests: str) -> Split:
    """A split that is a line-aligned file for each language, such as `train.en` and `train.de`."""
    return Split(stem, tuple(DataFile(f"{stem}.{language}", sha256) for language, sha256 in digests.items()))
