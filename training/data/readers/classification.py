"""Read labelled texts from CSV, TSV, JSONL and folders of `seq.in` and `label`."""

from __future__ import annotations

from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.header import is_number, listed
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.slot_folder import read_aligned
from training.data.formats.tables import Table, cell_of, pick_column, read_table, take_column
from training.data.readers.columns import (
    cells_of,
    column_with_word,
    doubt_labels,
    doubt_shorter_texts,
    doubt_texts,
    is_aside,
    may_be_label,
    names_rows,
    state_ignored,
    warn_of_gaps,
)
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
#: Names that texts have only where no other column is named after a text.
_WEAK_NAMES = ("title", "body", "input", "name")
_SURE_TEXT_COLUMNS = tuple(name for name in TEXT_COLUMNS if name not in _WEAK_NAMES)
#: Names of a column whose values are the sources of the texts: dev then holds other sources than train.
TEXT_GROUP_COLUMNS = ("group", "speaker", "author", "user", "person")


def read_labelled_table(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read a text with its label from each row."""
    table = read_table(path, file_format, report, options)
    if not table.columns:
        if table.lists:
            raise DataFault(path, 1, *_missing(table, "text"))
        return []
    text_column, label_column = _columns(table, path, options)
    group_column = pick_column(table, options.group_column, TEXT_GROUP_COLUMNS, "group", path)
    is_group = group_column is not None and group_column not in (text_column, label_column)
    state_ignored(table, text_column, label_column)
    if options.text_column is None:
        doubt_texts(table, text_column, "text", path, report)
        doubt_shorter_texts(table, text_column, label_column, path, report)
    warn_of_gaps(table, text_column, path, report)
    doubt_labels(table, label_column, path, report)
    records = []
    for row in table.rows:
        text = cell_of(row, text_column, path, report)
        label = cell_of(row, label_column, path, report, table.lists)
        if text is not None and label is not None:
            group = row.cells.get(group_column or "", "") if is_group else ""
            records.append(Located(LabelledText(text, label, group), row.line))
    return records


def _columns(table: Table, path: Path, options: ReadOptions) -> tuple[str, str]:
    """Names of the text and the label column. Where only one other column is left, it is what is missing."""
    text = pick_text_column(table, options, path)
    label = pick_column(table, options.label_column, LABEL_COLUMNS, "label", path)
    label = label or column_with_word(table, LABEL_COLUMNS, (text,))
    if (text is None) != (label is None):
        found = text or label
        others = [column for column in table.columns if column != found and not names_rows(table, column)]
        if len(others) > 1:
            is_likely = may_be_label if label is None else _may_be_text
            others = [column for column in others if is_likely(table, column)]
        if len(others) == 1 and not set(table.lists) & {*TEXT_COLUMNS, *LABEL_COLUMNS}:
            text, label = text or others[0], label or others[0]
    if text is None or label is None:
        missing = "text" if text is None else "label"
        raise DataFault(path, table.header or 1, *_missing(table, missing))
    take_column(table, "text", text)
    take_column(table, "label", label)
    return text, label


def _may_be_text(table: Table, column: str) -> bool:
    return not is_aside(table, column)


def pick_text_column(table: Table, options: ReadOptions, path: Path) -> str | None:
    """The column of texts: by the user's or a usual name, or by a word of it, such as `clean_text`."""
    if options.text_column is not None:
        return pick_column(table, options.text_column, (), "text", path)
    label = options.label_column
    found = pick_column(table, None, _SURE_TEXT_COLUMNS, "text", path)
    found = found or column_with_word(table, _SURE_TEXT_COLUMNS, (label,))
    return found or pick_column(table, None, _WEAK_NAMES, "text", path)


def likely_text_column(table: Table, options: ReadOptions, path: Path) -> str | None:
    """The column of texts of a table with or without labels: the one that training takes, or the only one."""
    try:
        return _columns(table, path, options)[0]
    except DataFault:
        texts = [column for column in table.columns if _may_be_text(table, column)]
        only = texts[0] if len(texts) == 1 else table.columns[0] if len(table.columns) == 1 else None
        return pick_text_column(table, options, path) or only


def _missing(table: Table, missing: str) -> tuple[str, str]:
    """What is missing, and what to pass instead."""
    named = listed(table.columns)
    lists = f" (not read: {table.facts['not read']})" if "not read" in table.facts else ""
    if table.header is None:
        what = f"no {missing} column: the first row is data, and the columns are known by number, {named}"
        return what, "pass --column text=1 --column label=2 with the numbers that are right"
    usual = TEXT_COLUMNS if missing == "text" else LABEL_COLUMNS
    if set(table.lists) & set(usual):
        return f"no {missing} column: a list is no {missing}{lists}", f"every text needs one {missing}"
    is_of_frames = missing == "text" and _is_of_numbers(table)
    hint = "; for rows that are frames of sequences, pass --column sequence=..." if is_of_frames else ""
    return f"no {missing} column among: {named}{lists}", f"pass --column {missing}=... or add a header{hint}"


def _is_of_numbers(table: Table) -> bool:
    """Whether most columns hold numbers."""
    num_numbers = sum(all(map(is_number, cells_of(table, column))) for column in table.columns)
    return 2 * num_numbers > len(table.columns) > 2


def read_slot_labels(path: Path, report: Report) -> list[Located]:
    """Read texts from `seq.in` and labels from `label`, line by line."""
    return [
        Located(LabelledText(text.strip(), label.strip()), number)
        for number, (text, label) in read_aligned(path, "seq.in", "label", report)
    ]
