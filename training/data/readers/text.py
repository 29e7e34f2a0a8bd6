"""Running text for language models: from tables, from tagged sentences, and with a tokeniser's joints undone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import cell_of, pick_column, read_table
from training.data.readers.classification import TEXT_COLUMNS
from training.data.records import Passage, TaggedSentence


def read_table_text(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """One passage of lines `text`, or `label: text`, mixed: tables are often sorted, and a model would learn that.

    The order depends on the lines alone, so that it is the same wherever the file is read.
    """
    table = read_table(path, file_format, report)
    if not table.columns:
        return []
    text_column = pick_column(table, options.text_column, TEXT_COLUMNS, "text", path)
    if text_column is None:
        raise DataFault(path, 1, f"no text column found among: {', '.join(table.columns)}", "name it")
    label_column = options.label_column and pick_column(table, options.label_column, (), "label", path)
    lines = []
    for row in table.rows:
        text = cell_of(row, text_column, path, report)
        label = cell_of(row, label_column, path, report) if label_column else ""
        if text is not None and label is not None:
            lines.append(f"{label}: {text}\n" if label_column else f"{text}\n")
    mixed = sorted(lines, key=lambda line: hashlib.sha256(line.encode()).digest())
    return [Located(Passage("".join(mixed)), 1)] if mixed else []


#: Stands for a word that the makers of a text took out.
MISSING_WORD = "\N{REPLACEMENT CHARACTER}"


#: What WikiText puts where a word with a hyphen or a number was cut.
_JOINT = re.compile(r" @([-.,])@ ")


_SENTENCE_END = re.compile(r" ([.!?]) (?=[A-Z\"(])")


def rejoined(text: str) -> str:
    """WikiText as a treebank spells its sentences: words whole, a sentence a line; without headings and empty lines."""
    lines = [line.strip() for line in text.split("\n")]
    kept = "\n".join(line for line in lines if line and not line.startswith("= "))
    whole = _JOINT.sub(r"\1", kept.replace("<unk>", MISSING_WORD))
    return _SENTENCE_END.sub(r" \1\n", whole) + "\n"


def spelt_out(sentences: Iterable[TaggedSentence]) -> Passage:
    """A sentence a line, blanks between its words."""
    return Passage("".join(" ".join(sentence.words) + "\n" for sentence in sentences))


def turned_round(passages: Sequence[Passage]) -> list[Passage]:
    """All of it from its end to its beginning: what a model that reads forward learns from it, it says of backwards."""
    return [Passage(passage.text[::-1]) for passage in reversed(passages)]
