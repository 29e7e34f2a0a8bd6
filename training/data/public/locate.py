"""Where the files of a named data set are: in the user's data folder, in the cache, or still on the network."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.error import URLError

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from training.data.formats.faults import DatasetUnavailable
from training.data.public.catalogue import NAMED_DATASETS, DataFile, NamedDataset, Split

DATA_DIR_VARIABLE = "UNROLL_DATA_DIR"
CACHE_DIR_VARIABLE = "UNROLL_CACHE_DIR"
_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


def locate(dataset: str, split: str) -> Path:
    """The file or folder of one split, its content checked by sha256; downloaded into the cache if need be.

    Raises:
        DatasetUnavailable: unknown name or split, wrong content, no network, or data that must be converted by hand.
    """
    entry = find_dataset(dataset)
    if split not in entry.splits:
        raise DatasetUnavailable(f"{dataset} has no split {split!r}; it has {', '.join(entry.splits)}")
    wanted = entry.splits[split]
    for folder in dataset_folders(dataset):
        if all(_present(folder, file) for file in wanted.files):
            return _checked(folder, wanted)
    return _download_split(entry, wanted)


def find_dataset(name: str) -> NamedDataset:
    """The catalogue entry of a name. Raises DatasetUnavailable with the names there are."""
    if name not in NAMED_DATASETS:
        raise DatasetUnavailable(f"there is no data set {name!r}; there are {', '.join(sorted(NAMED_DATASETS))}")
    return NAMED_DATASETS[name]


def cache_dir() -> Path:
    """`UNROLL_CACHE_DIR`, else `~/.cache/unroll`."""
    return Path(os.environ.get(CACHE_DIR_VARIABLE) or Path.home() / ".cache" / "unroll")


def dataset_folders(dataset: str) -> Iterator[Path]:
    """Where the files of a named data set may lie: the user's data folder, then the cache."""
    data_dir = os.environ.get(DATA_DIR_VARIABLE)
    folder = folder_name(dataset)
    if data_dir:
        yield Path(data_dir) / folder
    yield cache_dir() / folder


def folder_name(dataset: str) -> str:
    """The folder of a data set; sets that come together share one. What is not in the catalogue has its own."""
    entry = NAMED_DATASETS.get(dataset)
    return entry.folder if entry is not None and entry.folder else dataset


def _present(folder: Path, file: DataFile) -> Path | None:
    """The file as it stands in the folder, compressed or not."""
    candidates = (folder / file.path, folder / f"{file.path}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _checked(folder: Path, split: Split) -> Path:
    """The path to read, after the content of every file was found right."""
    found = folder / split.path
    for file in split.files:
        path = _present(folder, file)
        if path is None:
            raise DatasetUnavailable(f"{folder / file.path} has gone away")
        digest = content_digest(path)
        if digest != file.sha256:
            raise DatasetUnavailable(
                f"{path}: the content has the sha256 {digest}, expected is {file.sha256}: damaged, or another version; "
                "delete it or put the right one there, or give the file by its path to train on it as your own"
            )
        found = path if file.path == split.path else found
    return found


def content_digest(path: Path) -> str:
    """sha256 of the content before compression, hexadecimal. Raises DatasetUnavailable if it cannot be read."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as unpacked:
                return _stream_digest(unpacked)
        with path.open("rb") as stream:
            return _stream_digest(stream)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetUnavailable(f"{path} cannot be read: {error}") from error


def _stream_digest(stream: IO[bytes] | gzip.GzipFile) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _download_split(dataset: NamedDataset, split: Split) -> Path:
    folder = cache_dir() / folder_name(dataset.name)
    for file in split.files:
        if file.url is None:
            raise DatasetUnavailable(_by_hand(dataset, split, "its public form differs and has to be converted first"))
    for file in split.files:
        if not _present(folder, file):
            _download(dataset, split, file, folder / file.path)
    return _checked(folder, split)


def _download(dataset: NamedDataset, split: Split, file: DataFile, target: Path) -> None:
    """Fetch into a temporary file beside the target, check, and only then give it its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            _fetch(file, out)
        digest = content_digest(partial)
        if digest != file.sha256:
            reason = f"{file.url} gave content with the sha256 {digest}, expected is {file.sha256}"
            raise DatasetUnavailable(_by_hand(dataset, split, reason))
        partial.replace(target)
    except (URLError, TimeoutError, OSError) as error:
        reason = f"{file.url} could not be downloaded ({error})"
        raise DatasetUnavailable(_by_hand(dataset, split, reason)) from error
    finally:
        partial.unlink(missing_ok=True)


def _fetch(file: DataFile, out: IO[bytes]) -> None:
    """Write the content of the address, or the wanted bytes of it, with a progress bar on standard error."""
    assert file.url is not None
    request = urllib.request.Request(file.url)
    if file.byte_range:
        request.add_header("Range", f"bytes={file.byte_range[0]}-{file.byte_range[1] - 1}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response, _progress_bar() as progress:
        total = response.headers.get("Content-Length")
        bar = progress.add_task(file.path, total=float(total) if total else None)
        # A server may ignore the Range header and send everything, with status 200.
        first, end = file.byte_range if file.byte_range and response.status == HTTPStatus.OK else (0, None)
        position = 0
        while chunk := response.read(_CHUNK_BYTES):
            stop = None if end is None else max(0, end - position)
            out.write(chunk[max(0, first - position) : stop])
            position += len(chunk)
            progress.advance(bar, len(chunk))


def _progress_bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=Console(stderr=True))


def _by_hand(dataset: NamedDataset, split: Split, reason: str) -> str:
    """What is wrong and what the user can do about it."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or cache_dir()) / folder_name(dataset.name)
    files = "; ".join(f"{file.path} (sha256 {file.sha256})" for file in split.files)
    form = f" Form: {dataset.note}." if dataset.note else ""
    return (
        f"{dataset.name} is not in {folder}: {reason}. Get it from {dataset.home} and put there: {files}.{form} "
        f"{DATA_DIR_VARIABLE} names the folder that holds one folder per data set."
    )
