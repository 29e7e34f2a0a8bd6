"""Find the files of a public data set: in the user's data folder, in the cache, or by download."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from training.data.formats.faults import DatasetUnavailable
from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.named_dataset import DataFile, JoinedWords, MovingPictures, NamedDataset, Split

DATA_DIR_VARIABLE = "UNROLL_DATA_DIR"
CACHE_DIR_VARIABLE = "UNROLL_CACHE_DIR"
_LOG = logging.getLogger("training.data")
_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


def locate(dataset: str, split: str) -> Path:
    """The file or folder of one split, verified by sha256; downloaded into the cache if necessary.

    Raises:
        DatasetUnavailable: unknown name or split, wrong content, no network, or data that must be converted by hand.
    """
    entry = find_dataset(dataset)
    if split not in entry.splits:
        raise DatasetUnavailable(f"{dataset} has no split {split!r}; it has {', '.join(entry.splits)}")
    wanted = entry.splits[split]
    if wanted.made is not None:
        return _made(entry, wanted, wanted.made)
    for folder in dataset_folders(dataset):
        if all(_present(folder, file) for file in wanted.files):
            return _verified(folder, wanted)
    return _downloaded(entry, wanted)


def find_dataset(name: str) -> NamedDataset:
    """The catalogue entry of a name. Raises DatasetUnavailable, which lists the names."""
    if name not in NAMED_DATASETS:
        raise DatasetUnavailable(f"unknown data set {name!r}; known are {', '.join(sorted(NAMED_DATASETS))}")
    return NAMED_DATASETS[name]


def cache_dir() -> Path:
    """`UNROLL_CACHE_DIR`, else `~/.cache/unroll`. Raises DatasetUnavailable for a user without a home."""
    given = os.environ.get(CACHE_DIR_VARIABLE)
    if given:
        return Path(given)
    try:
        return Path.home() / ".cache" / "unroll"
    except RuntimeError as error:  # HOME is not set, and the user is not known to the system, as in containers
        raise DatasetUnavailable(
            f"there is no home folder to keep data sets in: set {CACHE_DIR_VARIABLE} to a folder for downloads, or "
            f"{DATA_DIR_VARIABLE} to the folder that holds one folder per data set"
        ) from error


def dataset_folders(dataset: str) -> Iterator[Path]:
    """Folders that may hold the files of a data set: in the user's data folder, then in the cache."""
    data_dir = os.environ.get(DATA_DIR_VARIABLE)
    folder = folder_name(dataset)
    if data_dir:
        yield Path(data_dir) / folder
    yield cache_dir() / folder


def folder_name(dataset: str) -> str:
    """Folder of a data set. Related sets may share one; a name that is not in the catalogue is its own folder."""
    entry = NAMED_DATASETS.get(dataset)
    return entry.folder if entry is not None and entry.folder else dataset


def content_digest(path: Path) -> str:
    """sha256 of the content before compression, hexadecimal. Raises DatasetUnavailable if it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetUnavailable(f"{path} cannot be read: {error}") from error


def _present(folder: Path, file: DataFile) -> Path | None:
    """The file in the folder, plain or compressed."""
    candidates = (folder / file.path, folder / f"{file.path}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _verified(folder: Path, split: Split) -> Path:
    """The path to read, once the digest of every file is verified."""
    found = folder / split.path
    for file in split.files:
        path = _present(folder, file)
        if path is None:
            raise DatasetUnavailable(f"{folder / file.path} was removed while the data set was being read")
        digest = content_digest(path)
        if digest != file.sha256:
            raise DatasetUnavailable(
                f"{path}: sha256 of the content is {digest}, expected {file.sha256}: the file is damaged or another "
                "version; replace or delete it, or pass its path to train on it as your own data"
            )
        found = path if file.path == split.path else found
    return found


def _made(dataset: NamedDataset, split: Split, made: JoinedWords | MovingPictures) -> Path:
    """The split in the cache, made from another data set at the first time; its name says which settings made it."""
    name = f"{Path(split.path).stem}-{_settings_key(made)}{Path(split.path).suffix}"
    target = cache_dir() / folder_name(dataset.name) / name
    if not target.is_file():
        source = locate(made.dataset, made.split)
        what = "utterances" if isinstance(made, JoinedWords) else "clips"
        _LOG.info("making %d %s of %s from %s, once: %s", made.count, what, dataset.name, made.dataset, target)
        _make(dataset, made, source, target)
    return target


def _make(dataset: NamedDataset, made: JoinedWords | MovingPictures, source: Path, target: Path) -> None:
    """Make a split from `source`, the table of the recordings or pictures."""
    if isinstance(made, JoinedWords):
        from training.data.public import joined_words

        joined_words.make_split(source, made, target)
    else:
        from training.data.public import moving_pictures

        names = (locate(dataset.name, "dev").parent / made.names).read_text(encoding="utf-8").split("\n")
        moving_pictures.make_split(source, made, [name for name in names if name], target)


def _settings_key(made: JoinedWords | MovingPictures) -> str:
    """Short digest of settings."""
    return hashlib.sha256(made.model_dump_json().encode()).hexdigest()[:12]


def _downloaded(dataset: NamedDataset, split: Split) -> Path:
    folder = cache_dir() / folder_name(dataset.name)
    for file in split.files:
        url = dataset.url_of(file)
        if url is None:
            raise DatasetUnavailable(_instructions(dataset, split, "the published files have to be converted first"))
        if not _present(folder, file):
            try:
                _download(url, file, folder)
            except (ValueError, OSError) as error:  # wrong digest; no network, HTTP status, full disk
                reason = f"{url} could not be downloaded ({error})"
                raise DatasetUnavailable(_instructions(dataset, split, reason)) from error
    return _verified(folder, split)


def _download(url: str, file: DataFile, folder: Path) -> None:
    """Download to a temporary file, verify its digest, and move it into place."""
    import pooch

    whole = pooch.HTTPDownloader(progressbar=True, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S)

    def download(url: str, output: str, _: pooch.Pooch | None) -> None:
        whole(url, output, None)
        if file.byte_range is not None:
            kept = Path(output).read_bytes()[slice(*file.byte_range)]
            Path(output).write_bytes(kept)

    pooch.retrieve(url, f"sha256:{file.sha256}", fname=file.path, path=folder, downloader=download)


def _instructions(dataset: NamedDataset, split: Split, reason: str) -> str:
    """Error message: what is wrong, and which files to put where."""
    folder = Path(os.environ.get(DATA_DIR_VARIABLE) or cache_dir()) / folder_name(dataset.name)
    files = "; ".join(f"{file.path} (sha256 {file.sha256})" for file in split.files)
    form = f" Form: {dataset.note}." if dataset.note else ""
    return (
        f"{dataset.name} is not in {folder}: {reason}. Get it from {dataset.home} and put there: {files}.{form} "
        f"{DATA_DIR_VARIABLE} is the folder that holds one folder per data set."
    )
