"""Read labelled texts from CSV, TSV, JSONL and folders of `seq.in` and `label`."""

from __future__ import annotations

from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.slot_folder import read_aligned
from training.data.formats.tables import Table, cell_of, pick_column, read_table
from training.data.records import LabelledText

#: Usual column names, the most likely first.
TEXT_COLUMNS = (
    *("text", "sentence", "utterance", "query", "message", "question", "review", "comment", "content", "document"),
    *("tweet", "sms", "title", "body", "input", "name"),
)
LABEL_COLUMNS = (
    *("label", "intent", "category", "class", "sentiment", "target", "topic", "tag", "coarse", "language", "output"),
    *("rating", "type"),
)
#: Names of a column whose values are the sources of the texts: dev then holds other sources than train.
TEXT_GROUP_COLUMNS = ("group", "speaker", "author", "user", "person")
_PAIR = 2


def read_labelled_table(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read a text with its label from each row."""
    table = read_table(path, file_format, report)
    if not table.columns:
        return []
    text_column, label_column = _columns(table, path, options)
    group_column = pick_column(table, options.group_column, TEXT_GROUP_COLUMNS, "group", path)
    is_group = group_column is not None and group_column not in (text_column, label_column)
    records = []
    for row in table.rows:
        text, label = cell_of(row, text_column, path, report), cell_of(row, label_column, path, report)
        if text is not None and label is not None:
            group = row.cells.get(group_column or "", "") if is_group else ""
            records.append(Located(LabelledText(text, label, group), row.line))
    return records


def _columns(table: Table, path: Path, options: ReadOptions) -> tuple[str, str]:
    """Names of the text and the label column. In a table of two columns, one determines the other."""
    text = pick_column(table, options.text_column, TEXT_COLUMNS, "text", path)
    label = pick_column(table, options.label_column, LABEL_COLUMNS, "label", path)
    if len(table.columns) == _PAIR and (text is None) != (label is None):
        other = next(column for column in table.columns if column not in (text, label))
        text, label = text or other, label or other
    if text is None or label is None:
        missing = "text" if text is None else "label"
        named = ", ".join(table.columns)
        raise DataFault(path, 1, f"no {missing} column among: {named}", f"pass --column {missing}=... or add a header")
    return text, label


def read_slot_labels(path: Path, report: Report) -> list[Located]:
    """Read texts from `seq.in` and labels from `label`, line by line."""
    return [
        Located(LabelledText(text.strip(), label.strip()), number)
        for number, (text, label) in read_aligned(path, "seq.in", "label", report)
    ]
