"""How to read a file, where its name and content do not say it."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.bundle.manifest import TaskName
from training.data.records import Record

Format = Literal["conllu", "columns", "slots", "csv", "tsv", "jsonl", "parallel", "text", "wav", "frames", "npz"]
TagField = Literal["lemma", "upos", "xpos", "feats", "deprel"]

#: What each task can be read from.
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


#: Names in a list, or in one text with commas between them.
ColumnNames = Annotated[tuple[str, ...], BeforeValidator(_split_names)]


class ReadOptions(BaseModel):
    """Everything a user may say about a file. What is left out is found from the file's name and content.

    Columns of CSV, TSV and JSONL go by name. Columns of CoNLL files go by number from 1; -1 is the last one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format | None = None
    text_column: str | None = None
    label_column: str | None = None
    source_column: str | None = None
    target_column: str | None = None
    time_column: str | None = None
    file_column: str | None = Field(default=None, description="an index of wave or PNG files: where their names are")
    sequence_column: str | None = Field(default=None, description="frames: which sequence a row belongs to")
    group_column: str | None = Field(default=None, description="who or what a record comes from, such as a speaker")
    channel_columns: ColumnNames | None = Field(
        default=None, description="series: the columns of numbers, or `column=value`: 1 where the cell is that, else 0"
    )
    window_rows: int = Field(default=0, ge=0, description="frames: cut a table of one recording into so many rows each")
    stride_rows: int = Field(default=0, ge=0, description="rows from one window to the next; 0 is a whole window")
    tag_field: TagField = Field(default="upos", description="CoNLL-U: the field that holds the tag")
    rejoin: bool = Field(default=False, description="text: undo the joints of WikiText, and put a sentence on a line")
    word_column: int = Field(default=1, description="CoNLL columns: where the word is")
    tag_column: int = Field(default=-1, description="CoNLL columns: where the tag is")


class Located(NamedTuple):
    """A record and the line of the file on which it starts."""

    record: Record
    line: int
