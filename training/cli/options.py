"""Options, error handling and output shared by the training commands."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from service.errors import UnrollError
from training.config.faults import in_words
from training.data.formats.column_roles import fields_of
from training.data.formats.options import Format, ReadOptions
from training.fit.places import refusal

console = Console(stderr=True, highlight=False)

FormatOption = Annotated[Format | None, typer.Option("--format", help="Format of the files, if detection fails.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="Role of a column: text=message, label=kind, source=en, target=de. CoNLL, by number: word=1, tag=-1. "
        "CoNLL-U: tag=xpos. Table of one recording: window=128, stride=64 cut it into windows of 128 rows. "
        "Series: time=ds, dates=day-first or dates=%d.%m.%Y, decimal=comma, missing=-9999. "
        "How the file is written: encoding=cp1252, separator=tab, header=no (or its line). Repeatable.",
    ),
]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Folder for bundles.")]
RunFolderArgument = Annotated[Path, typer.Argument(help="Run, by name or by path: pos-en or runs/pos-en.")]
BundleArgument = Annotated[
    Path, typer.Argument(help="Bundle, by name or by path: pos-en (its highest version), pos-en/1 or models/pos-en/1.")
]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Jobs = Annotated[
    int, typer.Option("--jobs", min=1, max=256, help="Number of processes of this machine that share the work.")
]
ExportAfter = Annotated[bool, typer.Option("--export/--no-export", help="Publish a bundle at the end.")]


def read_options(file_format: Format | None, columns: Sequence[str] | None) -> ReadOptions:
    """Options given on the command line; all others keep the defaults of the readers or of the data set."""
    given = fields_of(columns or [])
    if file_format is not None:
        given["format"] = file_format
    try:
        return ReadOptions(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise UnrollError(f"--column: {in_words(fault, ReadOptions)}") from error


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parse `key=value` pairs. A value is TOML (a number, true, quoted text) if it can be, else text.

    Raises:
        UnrollError: a setting is of another form.
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UnrollError(f"{setting!r} is not of the form key=value, such as training.epochs=5")
        try:
            parsed[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key] = value
    return parsed


def say(sentence: str) -> None:
    """Print one line to stderr, without wrapping or markup."""
    console.print(sentence, soft_wrap=True, markup=False)


class _Sayer(logging.Handler):
    """Prints what was understood of data files, and warnings about them."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        say(mark + record.getMessage())


@contextmanager
def _telling_about_data() -> Iterator[None]:
    """Print what the readers of data log; of several workers, the first alone prints."""
    log = logging.getLogger("training.data")
    sayer = _Sayer() if os.environ.get("RANK", "0") == "0" else logging.NullHandler()
    level, propagates = log.level, log.propagate
    log.addHandler(sayer)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(sayer)
        log.setLevel(level)
        log.propagate = propagates


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn an UnrollError, and what the machine refuses, into one line and an exit code.

    Any other exception is a bug and keeps its traceback. What was understood of data files is printed to stderr.
    """
    try:
        with _telling_about_data():
            yield
    except UnrollError as error:
        stopped_by = getattr(error, "signal_number", None)
        if not getattr(error, "told", True):  # another process of torchrun tells it
            sys.exit(2)
        if stopped_by is not None:  # an interrupted run is no error; shells expect 128 + the number of the signal
            if os.environ.get("RANK", "0") == "0":
                say(str(error))
            sys.exit(128 + int(signal.Signals(stopped_by)))
        fail(str(error))
    except BrokenPipeError:
        raise  # the reader of a pipe has left, which typer ends quietly
    except OSError as error:
        fail(refusal(error))
    except MemoryError:
        fail("out of memory: try a smaller training.batch_size or a smaller network")


def fail(sentence: str) -> NoReturn:
    """End the command with an error, in the form of all commands of `unroll`."""
    console.print(f"[bold red]unroll:[/] {escape(sentence)}", soft_wrap=True)
    sys.exit(2)


RunsFolder = Annotated[Path, typer.Option(help="Folder for run folders.")]
