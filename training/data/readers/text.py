"""Running text for language models: from tables, from tagged sentences, and from detokenized WikiText."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import cell_of, pick_column, read_table
from training.data.formats.transcript_form import transcript_lines
from training.data.readers.classification import pick_text_column
from training.data.readers.columns import state_ignored
from training.data.records import Passage, TaggedSentence


def read_table_text(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read one passage of lines `text` or `label: text`, shuffled, since a model would learn the order of the table.

    The order depends only on the lines, so that it is the same on every machine.
    """
    table = read_table(path, file_format, report, options)
    if not table.columns:
        return []
    text_column = pick_text_column(table, options, path)
    if text_column is None:
        raise DataFault(path, 1, f"no text column among: {', '.join(table.columns)}", "pass --column text=...")
    label_column = options.label_column and pick_column(table, options.label_column, (), "label", path)
    state_ignored(table, text_column, label_column or None)
    lines = []
    for row in table.rows:
        text = cell_of(row, text_column, path, report)
        label = cell_of(row, label_column, path, report) if label_column else ""
        if text is not None and label is not None:
            lines.append(f"{label}: {text}\n" if label_column else f"{text}\n")
    lines = transcript_lines(lines) if options.spoken else lines
    mixed = sorted(lines, key=lambda line: hashlib.sha256(line.encode()).digest())
    return [Located(Passage("".join(mixed)), 1)] if mixed else []


#: Replaces a word that the publishers of a text removed.
MISSING_WORD = "\N{REPLACEMENT CHARACTER}"


#: WikiText's mark where a number or a word with a hyphen was split.
_JOINT = re.compile(r" @([-.,])@ ")


_SENTENCE_END = re.compile(r" ([.!?]) (?=[A-Z\"(])")


def rejoined(text: str) -> str:
    """Detokenize WikiText: whole words, one sentence per line, no headings or empty lines, as in treebanks."""
    lines = [line.strip() for line in text.split("\n")]
    kept = "\n".join(line for line in lines if line and not line.startswith("= "))
    whole = _JOINT.sub(r"\1", kept.replace("<unk>", MISSING_WORD))
    return _SENTENCE_END.sub(r" \1\n", whole) + "\n"


def spelt_out(sentences: Iterable[TaggedSentence]) -> Passage:
    """Passage with one sentence per line and blanks between words."""
    return Passage("".join(" ".join(sentence.words) + "\n" for sentence in sentences))


def turned_round(passages: Sequence[Passage]) -> list[Passage]:
    """Reverse all text, to train a backward language model with a forward network."""
    return [Passage(passage.text[::-1]) for passage in reversed(passages)]
