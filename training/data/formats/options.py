"""Options for reading a file, where its name and content are ambiguous."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from service.bundle.task_options import TrainedTask
from service.tasks.inputs.numbers import Decimal
from service.tasks.inputs.times import ORDERS
from training.data.records import Record

Format = Literal[
    "conllu",
    "columns",
    "slots",
    "csv",
    "tsv",
    "jsonl",
    "parallel",
    "text",
    "wav",
    "frames",
    "npz",
    "transcripts",
    "kaldi",
]
TagField = Literal["lemma", "upos", "xpos", "feats", "deprel"]

#: Formats that each task can be read from.
FORMATS_OF_TASK: dict[TrainedTask, tuple[Format, ...]] = {
    "tagging": ("conllu", "columns", "slots", "jsonl"),
    "classification": ("csv", "tsv", "jsonl", "slots", "wav", "frames", "npz"),
    "translation": ("tsv", "csv", "jsonl", "parallel"),
    "generation": ("text", "csv", "tsv", "jsonl"),
    "forecasting": ("csv", "tsv", "jsonl"),
    "captioning": ("csv", "tsv", "jsonl"),
    "transcription": ("csv", "tsv", "jsonl", "npz", "wav", "transcripts", "kaldi"),
    "parsing": ("conllu",),
    "video": ("csv", "tsv", "jsonl"),
}


def _split_names(names: object) -> object:
    return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names


def _as_name(name: object) -> object:
    """A column may be named by a number: `0` is the name that pandas gives to the first of unnamed columns."""
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


def _as_separator(separator: object) -> object:
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "blank": " "}
    return named.get(separator, separator) if isinstance(separator, str) else separator


def _as_header(header: object) -> object:
    return {True: "yes", False: "no"}[header] if isinstance(header, bool) else header


ColumnName = Annotated[str | None, BeforeValidator(_as_name)]

#: Names as a list, or as text separated by commas.
ColumnNames = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


def _check_dates(form: str) -> str:
    if form and "%" not in form and form not in ORDERS:
        raise ValueError(f"dates are {', '.join(ORDERS)}, or a format such as %d/%m/%Y")
    return form


class ReadOptions(BaseModel):
    """Options for reading a file. Defaults are detected from the file's name and content.

    Columns of CSV, TSV and JSONL are given by name, or by number where no column has that name: from 1, or from 0 if 0
    is among the numbers. Columns of CoNLL files are given by number from 1, where -1 is the last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format | None = None
    encoding: str | None = Field(default=None, description="of text files, if not UTF-8, such as cp1252 or utf-16")
    separator: Annotated[str | None, BeforeValidator(_as_separator)] = Field(
        default=None, min_length=1, max_length=1, description="CSV, TSV: the character between columns, or its name"
    )
    header: Annotated[Literal["yes", "no"] | int | None, BeforeValidator(_as_header)] = Field(
        default=None, description="CSV, TSV: whether the first row names the columns, or the line that does"
    )
    text_column: ColumnName = None
    label_column: ColumnName = None
    source_column: ColumnName = None
    target_column: ColumnName = None
    next_column: ColumnName = Field(default=None, description="clips: the column of the next action")
    time_column: ColumnName = Field(default=None, description="series: the column of times; date+time joins two")
    dates: Annotated[str, AfterValidator(_check_dates)] = Field(
        default="", description="form of the times: day-first, month-first, year-first, or one of strptime: %d/%m/%Y"
    )
    decimal: Decimal | None = Field(default=None, description="1,5 is written with a comma, 1.5 with a point")
    missing: Annotated[tuple[float, ...], BeforeValidator(_split_names)] = Field(
        default=(), description="numbers that stand for a missing value, such as -9999"
    )
    file_column: ColumnName = Field(
        default=None, description="index of WAV, PNG or GIF files: the column of file names"
    )
    sequence_column: ColumnName = Field(default=None, description="frames: the sequence that a row belongs to")
    group_column: ColumnName = Field(default=None, description="source of a record, such as a speaker")
    channel_columns: ColumnNames | None = Field(
        default=None, description="series: columns of numbers, or one-hot `column=value`"
    )
    window_rows: int = Field(default=0, ge=0, description="frames: window size, to cut the table of a recording")
    stride_rows: int = Field(default=0, ge=0, description="frames: rows between windows; 0 is one window")
    tag_field: TagField = Field(default="upos", description="CoNLL-U: field of the tag")
    rejoin: bool = Field(default=False, description="text: rejoin words of WikiText, one sentence a line")
    spoken: bool = Field(
        default=False,
        description="text: distinct lines as transcripts of speech write them, in lower-case letters and apostrophes",
    )
    keep_silent: bool = Field(
        default=False, description="speech: keep sounds without a text, from which to learn to write nothing"
    )
    word_column: int | None = Field(default=None, description="CoNLL columns: number of the word column, usually 1")
    tag_column: int | None = Field(default=None, description="CoNLL columns: number of the tag column, usually -1")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        try:
            return name and codecs.lookup(name).name
        except LookupError as error:
            raise ValueError(f"unknown encoding {name!r}; such as utf-8, cp1252, latin-1, utf-16 or gb18030") from error

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns that are given by name."""
        single = (self.text_column, self.label_column, self.source_column, self.target_column, self.time_column)
        others = (self.file_column, self.sequence_column, self.group_column, self.next_column)
        return tuple(name for name in (*single, *others, *(self.channel_columns or ())) if name is not None)


class Located(NamedTuple):
    """Record with the line of the file on which it starts."""

    record: Record
    line: int
