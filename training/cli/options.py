"""Options and manners that the training commands share."""

from __future__ import annotations

import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from service.errors import UnrollError
from training.data.formats.options import Format, ReadOptions

console = Console(stderr=True, highlight=False)

FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Say the format of the files instead of having it found.")
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="Which column is what: text=message, label=kind, source=en, target=de; CoNLL: word=1, tag=-1 (by number); "
        "CoNLL-U: tag=xpos. A table of one recording: window=128, stride=64 cut it into records of so many rows.",
    ),
]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Where bundles are published.")]
RunFolderArgument = Annotated[Path, typer.Argument(help="The run folder, such as runs/pos-en.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ExportAfter = Annotated[bool, typer.Option("--export/--no-export", help="Publish the bundle at the end.")]

#: `--column ROLE=...` to the field of ReadOptions. A CoNLL-U tag is a field's name, elsewhere a column's number.
_COLUMN_FIELDS = {
    "text": "text_column",
    "label": "label_column",
    "source": "source_column",
    "target": "target_column",
    "word": "word_column",
    "tag": "tag_column",
    "time": "time_column",
    "file": "file_column",
    "sequence": "sequence_column",
    "group": "group_column",
    "channels": "channel_columns",
    "window": "window_rows",
    "stride": "stride_rows",
}


def read_options(file_format: Format | None, columns: Sequence[str] | None) -> ReadOptions:
    """Only what the user said; the rest is left to the readers, or to the data set's own options."""
    given: dict[str, Any] = {} if file_format is None else {"format": file_format}
    for role, value in parse_settings(columns or []).items():
        if role not in _COLUMN_FIELDS:
            raise typer.BadParameter(f"there is no column role {role!r}; there are {', '.join(_COLUMN_FIELDS)}")
        by_name = role == "tag" and isinstance(value, str)
        given["tag_field" if by_name else _COLUMN_FIELDS[role]] = value
    try:
        return ReadOptions(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise typer.BadParameter(f"--column: {fault['input']!r}: {fault['msg']}") from error


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs; a value is read as TOML (numbers, true, quoted text), else taken as text."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{setting!r} is not of the form key=value")
        try:
            parsed[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key] = value
    return parsed


def say(sentence: str) -> None:
    """Tell the user something on stderr, on one line however long; brackets are brackets, not colours."""
    console.print(sentence, soft_wrap=True, markup=False)


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Deliberate errors become one line and an exit code; everything else stays a traceback, for it is a bug."""
    try:
        yield
    except UnrollError as error:
        stopped_by = getattr(error, "signal_number", None)
        # Stopping a run is no error; a shell expects 128 + signal of a command that a signal ended.
        mark = "[bold red]error:[/] " if stopped_by is None else ""
        console.print(f"{mark}{escape(str(error))}", soft_wrap=True)
        sys.exit(2 if stopped_by is None else 128 + int(signal.Signals(stopped_by)))
