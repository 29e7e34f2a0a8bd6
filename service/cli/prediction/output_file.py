"""Answers as a CSV or JSONL file, row by row beside the input: a blank or refused input keeps its place.

As CoNLL-U too, where the answers have words: `sent_id` is the number of the row.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from service.cli.prediction.answers import Answered
from service.errors import UnrollError
from service.tasks.parsing.conllu import answer_conllu

#: Columns of a CSV file by task. A forecast has one row for each of its steps.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "classification": ("label", "score"),
    "tagging": ("words", "tags"),
    "parsing": ("words", "tags", "heads", "relations"),
    "translation": ("text",),
    "captioning": ("text",),
    "video": ("text", "action", "next_action"),
    "transcription": ("text", "confidence"),
}
_CONLLU = ".conllu"
_SUFFIXES = (".csv", ".tsv", ".jsonl", _CONLLU)
#: Tasks whose answers can be written as CoNLL-U.
_OF_WORDS = ("tagging", "parsing")


def check_out(path: Path, arguments: Sequence[str]) -> None:
    """Raises UnrollError where the file cannot be written: before the work, not after it."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UnrollError(f"--out {path}: the suffix says the form: {', '.join(_SUFFIXES)}")
    if any(Path(argument).exists() and path.exists() and path.samefile(argument) for argument in arguments):
        raise UnrollError(f"--out {path}: this is the file that is read")
    was_there = path.exists()
    try:
        with path.open("a", encoding="utf-8"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise UnrollError(f"--out {path} cannot be written: {error.strerror}") from error


def check_form(path: Path, task: str) -> None:
    """Raises UnrollError where the answers of a task cannot be written in the form that the suffix says."""
    if path.suffix.lower() == _CONLLU and task not in _OF_WORDS:
        other = ", ".join(suffix for suffix in _SUFFIXES if suffix != _CONLLU)
        raise UnrollError(f"--out {path}: CoNLL-U is for {' and '.join(_OF_WORDS)}, not for {task}: write {other}")


def write_answers(
    path: Path, task: str, channels: Sequence[str], found: Iterable[Answered], *, with_input: bool = False
) -> int:
    """Write all answers and return the number of refused inputs. `with_input` adds a column of the files' names."""
    num_refused = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            write = _writer(file, path, task, channels, with_input)
            for answered in found:
                num_refused += answered.error is not None
                write(file, answered)
    except OSError as error:
        raise UnrollError(f"--out {path} cannot be written: {error.strerror}") from error
    return num_refused


def _writer(
    file: TextIO, path: Path, task: str, channels: Sequence[str], with_input: bool
) -> Callable[[TextIO, Answered], None]:
    suffix = path.suffix.lower()
    if suffix == _CONLLU:
        return _sentences()
    return _jsonl if suffix == ".jsonl" else _csv(file, path, task, channels, with_input)


def _sentences() -> Callable[[TextIO, Answered], None]:
    """Writes sentences. A row without an answer has none, and the numbers of those after it tell so."""
    numbers = itertools.count(1)

    def write(file: TextIO, answered: Answered) -> None:
        number = next(numbers)
        if answered.prediction is not None:
            file.write(answer_conllu(answered.prediction, str(number)))

    return write


def _jsonl(file: TextIO, answered: Answered) -> None:
    """The prediction, `{"error": ...}`, or null for a blank row."""
    value = answered.prediction if answered.error is None else {"error": answered.error}
    file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _csv(
    file: TextIO, path: Path, task: str, channels: Sequence[str], with_input: bool
) -> Callable[[TextIO, Answered], None]:
    writer = csv.writer(file, delimiter="," if path.suffix.lower() == ".csv" else "\t", lineterminator="\n")
    columns = ("input", "time", *channels) if task == "forecasting" else _COLUMNS.get(task, ("prediction",))
    writer.writerow((*columns, "error", *(["input"] if with_input else [])))

    def write(_: TextIO, answered: Answered) -> None:
        for cells in _cells(task, len(columns), answered):
            writer.writerow((*cells, answered.error or "", *([answered.row.place] if with_input else [])))

    return write


def _cells(task: str, width: int, answered: Answered) -> list[tuple[Any, ...]]:
    found = answered.prediction
    if found is None:
        return [("",) * width]
    if task == "classification":
        return [(found["label"], found["score"])]
    if task == "video":
        return [(found["text"], found["action"]["label"], found["next_action"]["label"])]
    if task == "transcription":
        return [(found["text"], "" if found["confidence"] is None else found["confidence"])]
    if task in _OF_WORDS:
        return [tuple(map(" ".join, zip(*map(_word_cells, found["tokens"]), strict=True)))]
    if task == "forecasting":
        times = found.get("times") or range(1, len(found["forecast"]) + 1)
        return [(answered.row.place, time, *step) for time, step in zip(times, found["forecast"], strict=True)]
    return [(found.get("text", json.dumps(found, ensure_ascii=False)),)]


def _word_cells(token: Mapping[str, Any]) -> tuple[str, ...]:
    """A word and its tag; with the number of its head, 0 for the root, and relation where there are any."""
    if "relation" not in token:
        return token["text"], token["tag"]
    head = 0 if token["head"] is None else token["head"] + 1
    return token["text"], token["tag"], str(head), token["relation"]
