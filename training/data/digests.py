"""Digests of the content of everything that is read for a training: files, folders, and files that an index names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format
from training.data.formats.tables import read_table
from training.data.records import Record

_TABLES: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


#: How the names of digests end that earlier versions did not record: of many files, and of the dev rows of train.
_OF_MANY = (" files)", " files named in it")
_DEV_ROWS = "dev/rows chosen from train"


def changed_names(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names whose digests differ, in order. What an earlier version did not record is taken to be the same."""

    def is_new(name: str) -> bool:
        same_split = (known for known in before if known.split("/", 1)[0] == name.split("/", 1)[0])
        return name not in before and (
            name == _DEV_ROWS or (name.endswith(_OF_MANY) and not any(known.endswith(_OF_MANY) for known in same_split))
        )

    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name) and not is_new(name))


def dev_rows_digest(records: Sequence[Record], dev: Sequence[Record]) -> dict[str, str]:
    """Digest of which of `records` are dev, so that a run goes on with the same ones, also under another version."""
    chosen = {id(record) for record in dev}
    rows = [row for row, record in enumerate(records) if id(record) in chosen]
    return {_DEV_ROWS: hashlib.sha256(repr(rows).encode()).hexdigest()} if rows else {}


def file_digests(split: str, path: Path, names_files: bool) -> dict[str, str]:
    """`split/name` and sha256 of a file, of each file of a small folder, or of a whole tree of files as one.

    `names_files` is whether the file is an index of sounds or pictures: what it names, beside it or in an archive, has
    a digest too.
    """
    if path.is_dir():
        files = _files_under(path)
        if any(len(file.relative_to(path).parts) > 1 for file in files):
            return {f"{split}/{path.name}/ ({len(files):,} files)": _tree_digest(path, files)}
        return {f"{split}/{file.name}": _digest(file) for file in files}
    beside = path.with_name(path.name.replace("_sequences", "_targets"))
    files = [path, *([beside] if beside != path and beside.is_file() else [])]
    found = {f"{split}/{file.name}": _digest(file) for file in files if file.is_file()}
    if names_files:
        archives = [path.with_suffix(".npz"), path.with_suffix(".zip"), *sorted(path.parent.glob(f"{path.stem}_*.zip"))]
        found |= {f"{split}/{archive.name}": _digest(archive) for archive in archives if archive.is_file()}
        named = sorted(set(_named_in(path)))
        if named:
            found[f"{split}/{path.name}: {len(named):,} files named in it"] = _tree_digest(path.parent, named)
    return found


def _files_under(folder: Path) -> list[Path]:
    """All files of a tree but hidden ones, in the order of their names."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _tree_digest(folder: Path, files: Iterable[Path]) -> str:
    """One sha256 over the names and the digests of files."""
    found = hashlib.sha256()
    for file in files:
        found.update(f"{_digest(file)}  {file.relative_to(folder).as_posix()}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _named_in(index: Path) -> Iterator[Path]:
    """Files that any cell of a table names, relative to its folder."""
    file_format = _TABLES.get(Path(index.name.lower().removesuffix(".gz")).suffix)
    if file_format is None:
        return
    try:
        rows = read_table(index, file_format, Report(strict=False)).rows
    except DataFault:
        return
    for row in rows:
        yield from _existing(index.parent, list(row.cells.values()))


def _existing(folder: Path, cells: Sequence[str]) -> Iterator[Path]:
    for cell in cells:
        if 0 < len(cell) <= 255 and "\n" not in cell and "\0" not in cell:
            file = folder / cell
            if file.is_file() and file.is_relative_to(folder):
                yield file


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
