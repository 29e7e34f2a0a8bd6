"""The command `predict`: from arguments to answers on the terminal or in a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from service.cli.backends import open_source, readable
from service.cli.prediction.answers import Answered, RefusedInput, answers
from service.cli.prediction.arguments import InputRow, ModelFacts, is_path, rows_of
from service.cli.prediction.array_files import input_of_text
from service.cli.prediction.output_file import check_form, check_out, write_answers
from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput

_PROGRESS_EVERY_S = 1.0


class Prediction:
    """A model that answers the inputs of a command."""

    def __init__(
        self,
        model: str | None,
        version: str | None,
        parameters: Mapping[str, Any],
        columns: Sequence[str],
        url: str | None,
        models: Path,
    ) -> None:
        """`columns` says how data files are read, as `role=value`: the reader of training knows the roles."""
        self._columns = columns
        self._asked = model, version
        self._parameters = parameters
        self._source = open_source(url, models)
        self._response: dict[str, Any] = {}

    @cached_property
    def _facts(self) -> ModelFacts:
        return self._source.describe(*self._asked)

    def show(self, arguments: Sequence[str], lines: Sequence[str] | None, as_json: bool) -> int:
        """Print the answers; the first refused input ends the command. A blank line of text is answered by one."""
        rows = self._rows(arguments, lines)
        found = answers(rows, self._predict, _stop)
        if as_json:
            predictions = [answered.prediction for answered in found if answered.prediction is not None]
            print(json.dumps({**self._response, "predictions": predictions}, ensure_ascii=False))
            return 0
        are_files = _are_files_of_folder(rows, arguments)
        for answered in found:
            before = f"{answered.row.place}\t" if are_files else ""
            print("" if answered.prediction is None else before + readable(answered.prediction))
        return 0

    def write(self, arguments: Sequence[str], lines: Sequence[str] | None, out: Path) -> int:
        """Write the answers to a file, and return the number of refused inputs, which have their reason there."""
        check_out(out, arguments)
        rows = self._rows(arguments, lines)
        facts, are_files = self._facts, _are_files_of_folder(rows, arguments)
        check_form(out, facts.task)
        found = _with_progress(answers(rows, self._predict, _tell), len(rows))
        num_refused = write_answers(out, facts.task, facts.options.get("targets") or (), found, with_input=are_files)
        print(f"{len(rows):,} rows -> {out}", file=sys.stderr)
        return num_refused

    def _rows(self, arguments: Sequence[str], lines: Sequence[str] | None) -> list[InputRow]:
        if lines is not None:
            return [InputRow(f"line {number}", self._of_line(line, number)) for number, line in enumerate(lines, 1)]
        if self._columns and not any(map(is_path, arguments)):
            raise UnrollError("--column says how a data file is read, and no argument is a file")
        rows = list(rows_of(arguments, lambda: self._facts, self._columns))
        if not any(row.value is not None for row in rows):
            raise UnrollError(f"there is no input in {', '.join(arguments)}")
        return rows

    def _of_line(self, line: str, number: int) -> JsonInput | None:
        """A text; for a model of named arrays an object in JSON. None for a blank line."""
        if line.lstrip().startswith("{") and self._facts.inputs:
            return input_of_text(line, f"line {number}")
        return line if line.strip() else None

    def _predict(self, inputs: Sequence[JsonInput]) -> dict[str, Any]:
        response = self._source.predict(*self._asked, inputs, self._parameters)
        self._response = self._response or response
        return response


def _are_files_of_folder(rows: Sequence[InputRow], arguments: Sequence[str]) -> bool:
    """Whether the inputs are files, such as sounds, whose order only their folder knows."""
    return any(Path(name).is_dir() for name in arguments) and all(Path(row.place).is_file() for row in rows)


def _stop(row: InputRow, message: str) -> NoReturn:
    raise RefusedInput(f"{row.place}: {message}")


def _tell(row: InputRow, message: str) -> None:
    print(f"unroll: {row.place}: {message}", file=sys.stderr)


def _with_progress(found: Iterable[Answered], num_rows: int) -> Iterator[Answered]:
    """The same, with a line about every second on a terminal."""
    told = time.monotonic()
    for number, answered in enumerate(found, start=1):
        if sys.stderr.isatty() and time.monotonic() - told > _PROGRESS_EVERY_S:
            told = time.monotonic()
            print(f"\r{number:,} of {num_rows:,} rows", end="\n" if number == num_rows else "", file=sys.stderr)
        yield answered
