"""The arguments of `unroll score`: a model and two paths, or, as before, texts for `unroll perplexity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from service.errors import UnrollError

#: Suffixes by which an argument that is no file is told from a text.
_SUFFIXES = frozenset(
    (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq", ".conllu", ".conll", ".iob", ".bio", ".txt", ".gz")
)

_STREAMS = ("-", "/dev/stdin")


class FileArguments(NamedTuple):
    """A file to score: `model` as it was given, with its version after `@`."""

    model: str
    source: Path
    out: Path


def file_arguments(given: Sequence[str], model: str | None, version: str | None) -> FileArguments | None:
    """The arguments as MODEL IN OUT, or IN OUT where the model is an option; None where they are texts.

    Raises:
        UnrollError: they are neither: a file is not there, or one of the three is missing.
    """
    paths = list(given) if model is not None else list(given[1:])
    if not paths or not (is_input(paths[0]) or (len(paths) == 2 and is_input(paths[1]))):
        return None
    named = model if model is not None else given[0]
    if paths[0] in _STREAMS:
        raise UnrollError("a stream cannot be read twice, as a run that is stopped needs: save it in a file first")
    if not Path(paths[0]).exists():
        raise UnrollError(f"{paths[0]}: there is no such file or folder to score")
    if len(paths) != 2:
        problem = "where to? The last argument is missing" if len(paths) == 1 else "there are too many arguments"
        raise UnrollError(f"{problem}: unroll score {named} {paths[0]} answers.parquet")
    if version is not None:
        named = f"{named.partition('@')[0]}@{version}"
    return FileArguments(named, Path(paths[0]), Path(paths[1]))


def is_input(argument: str) -> bool:
    """Whether an argument is a file or folder, or looks like the name of one."""
    if not argument.strip() or len(argument.splitlines()) != 1:
        return False
    try:
        if Path(argument).exists():
            return True
    except OSError:  # longer than a path may be
        return False
    return Path(argument.lower()).suffix in _SUFFIXES and not any(map(str.isspace, argument))
