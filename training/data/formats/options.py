"""Options for reading a file, where its name and content are ambiguous."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from service.bundle.manifest import TaskName
from service.tasks.inputs.numbers import Decimal
from service.tasks.inputs.times import ORDERS
from training.data.records import Record

Format = Literal["conllu", "columns", "slots", "csv", "tsv", "jsonl", "parallel", "text", "wav", "frames", "npz"]
TagField = Literal["lemma", "upos", "xpos", "feats", "deprel"]

#: Formats that each task can be read from.
FORMATS_OF_TASK: dict[TaskName, tuple[Format, ...]] = {
    "tagging": ("conllu", "columns", "slots", "jsonl"),
    "classification": ("csv", "tsv", "jsonl", "slots", "wav", "frames", "npz"),
    "translation": ("tsv", "csv", "jsonl", "parallel"),
    "generation": ("text", "csv", "tsv", "jsonl"),
    "forecasting": ("csv", "tsv", "jsonl"),
    "captioning": ("csv", "tsv", "jsonl"),
}


def _split_names(names: object) -> object:
    return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names


#: Names as a list, or as text separated by commas.
ColumnNames = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


def _check_dates(form: str) -> str:
    if form and "%" not in form and form not in ORDERS:
        raise ValueError(f"dates are {', '.join(ORDERS)}, or a format such as %d/%m/%Y")
    return form


class ReadOptions(BaseModel):
    """Options for reading a file. Defaults are detected from the file's name and content.

    Columns of CSV, TSV and JSONL are given by name, columns of CoNLL files by number from 1, where -1 is the last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format | None = None
    text_column: str | None = None
    label_column: str | None = None
    source_column: str | None = None
    target_column: str | None = None
    time_column: str | None = Field(default=None, description="series: the column of times; date+time joins two")
    dates: Annotated[str, AfterValidator(_check_dates)] = Field(
        default="", description="form of the times: day-first, month-first, year-first, or one of strptime: %d/%m/%Y"
    )
    decimal: Decimal | None = Field(default=None, description="1,5 is written with a comma, 1.5 with a point")
    file_column: str | None = Field(default=None, description="index of WAV or PNG files: the column of file names")
    sequence_column: str | None = Field(default=None, description="frames: the sequence that a row belongs to")
    group_column: str | None = Field(default=None, description="source of a record, such as a speaker")
    channel_columns: ColumnNames | None = Field(
        default=None, description="series: columns of numbers, or one-hot `column=value`"
    )
    window_rows: int = Field(default=0, ge=0, description="frames: window size, to cut the table of a recording")
    stride_rows: int = Field(default=0, ge=0, description="frames: rows between windows; 0 is one window")
    tag_field: TagField = Field(default="upos", description="CoNLL-U: field of the tag")
    rejoin: bool = Field(default=False, description="text: rejoin words of WikiText, one sentence a line")
    word_column: int = Field(default=1, description="CoNLL columns: number of the word column")
    tag_column: int = Field(default=-1, description="CoNLL columns: number of the tag column")


class Located(NamedTuple):
    """Record with the line of the file on which it starts."""

    record: Record
    line: int
