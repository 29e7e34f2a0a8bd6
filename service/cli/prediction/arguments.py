"""Arguments of `unroll predict`: texts, and files and folders that hold one input or many."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from service.cli.prediction.array_files import ARRAY_SUFFIXES, input_of_text, read_arrays
from service.cli.prediction.content_files import content_of, has_names, read_frames_table
from service.distribution import install_hint
from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput
from service.tasks.inputs.sound_file import SOUND_SUFFIXES

#: The package of training reads data files: one reader for training, evaluation and prediction. It is found by this
#: entry point, for the service itself needs no training.
READERS = "unroll.readers"
_READERS_LOG = "training.data"
#: Suffixes of files that are read. An argument that ends with one, and is no file, is a mistyped path.
_SUFFIXES = frozenset(
    (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".txt", ".conllu", ".conll", ".iob", ".iob2", ".bio", ".npz",
     ".npy",
     ".png", ".gz", ".xlsx", ".xls", ".ods", ".parquet", ".m4a", ".jpg", ".jpeg", *SOUND_SUFFIXES)
)  # fmt: skip
_TABLES = frozenset((".csv", ".tsv", ".tab", ".txt"))


class InputRow(NamedTuple):
    """One input with its place, such as `mails.tsv:7`; no value where a line is blank."""

    place: str
    value: JsonInput | None


class ModelFacts(NamedTuple):
    """What reading a file needs to know of a model: its task, the options of its manifest, how its data was read."""

    task: str
    options: Mapping[str, Any]
    read: Mapping[str, Any]
    #: Of a model of named arrays: the name and the shape of each.
    inputs: Sequence[Mapping[str, Any]] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The channels of a series or the features of frames; empty for other models."""
        signal = self.options.get("signal") or {}
        return tuple(self.options.get("channels") or signal.get("features") or ())


def is_path(argument: str) -> bool:
    """Whether an argument names a file or folder that exists.

    Raises:
        UnrollError: it looks like the name of a file of a known kind, and there is none.
    """
    if not argument.strip() or len(argument.splitlines()) != 1:
        return False
    path = Path(argument)
    try:
        exists = path.is_file() or path.is_dir()
    except OSError:  # longer than a path may be
        return False
    if not exists and path.suffix.lower() in _SUFFIXES and not any(map(str.isspace, argument)):
        raise UnrollError(f"{argument}: there is no such file (a text of this form is read from standard input)")
    return exists


def rows_of(arguments: Sequence[str], facts: Callable[[], ModelFacts], columns: Sequence[str]) -> Iterator[InputRow]:
    """The inputs of all arguments, in order. `facts` is asked only where an argument is a file that needs them.

    Raises:
        UnrollError: a file cannot be read.
    """
    for argument in arguments:
        if not is_path(argument):
            is_object = argument.lstrip().startswith("{") and bool(facts().inputs)
            yield InputRow(argument[:40], input_of_text(argument, argument[:40]) if is_object else argument)
            continue
        path = Path(argument)
        if path.suffix.lower() in ARRAY_SUFFIXES and facts().inputs:
            yield from (_named(path, *part) for part in read_arrays(path, facts().inputs))
            continue
        content = content_of(path) if path.is_file() else None
        if content is not None:
            yield InputRow(argument, content)
        else:
            yield from _rows_of_file(path, facts(), columns)


def _rows_of_file(path: Path, facts: ModelFacts, columns: Sequence[str]) -> Iterator[InputRow]:
    if facts.inputs:
        raise UnrollError(f"{path}: named arrays are read from {', '.join(ARRAY_SUFFIXES)}")
    read = _reader()
    if facts.names and path.is_file() and path.suffix.lower() in _TABLES and (read is None or not has_names(path)):
        yield InputRow(str(path), read_frames_table(path, facts.names))
        return
    if read is None:
        raise UnrollError(f"{path}: reading such a file needs the package `training`: {install_hint('training')}")
    with _telling():
        found = read(path, facts.task, facts.options, facts.read, columns)
    for part, value in found:
        yield _named(path, part, value)


def _named(path: Path, part: int | str, value: JsonInput | None) -> InputRow:
    return InputRow(f"{path}:{part}" if isinstance(part, int) else str(path / part), value)


@contextmanager
def _telling() -> Iterator[None]:
    """Print to stderr what the reader understood of a file, and its warnings, which it logs."""
    log, handler = logging.getLogger(_READERS_LOG), logging.StreamHandler()
    level, propagates = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates


def _reader() -> Callable[..., list[tuple[int | str, JsonInput | None]]] | None:
    """The function `read_inputs` of training, None where it is not installed."""
    for entry_point in importlib.metadata.entry_points(group=READERS):
        try:
            reader: Callable[..., list[tuple[int | str, JsonInput | None]]] = entry_point.load()
        except ImportError:
            continue
        return reader
    return None
