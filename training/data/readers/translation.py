"""Read sentence pairs from a table with two columns, or from two line-aligned files."""

from __future__ import annotations

from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.slot_folder import aligned_lines
from training.data.formats.tables import Table, cell_of, pick_column, read_table, take_column
from training.data.readers.columns import (
    cells_of,
    column_with_word,
    doubt_texts,
    is_about_rows,
    is_aside,
    state_ignored,
)
from training.data.records import SentencePair

SOURCE_COLUMNS = ("source", "src", "source_text", "source_sentence", "input", "question", "sentence1")
_SOURCE_WORDS = ("source", "src")
_TARGET_WORDS = ("target", "tgt", "trg")
#: Mean number of words from which cells are sentences.
_SENTENCE_WORDS = 2
TARGET_COLUMNS = ("target", "tgt", "trg", "target_text", "target_sentence", "output", "answer", "sentence2")


def read_pair_table(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read a sentence and its translation from each row.

    By default from the columns called `source` and `target` or alike, else from the first two that hold texts.

    Raises:
        DataFault: the table has no such columns.
    """
    table = read_table(path, file_format, report, options)
    if not table.columns:
        return []
    if len(table.columns) < 2:
        raise DataFault(path, 1, "only one column", "pairs need two, named in the first line")
    source_column, target_column = _columns(table, options, path, report)
    state_ignored(table, source_column, target_column)
    doubt_texts(table, source_column, "source", path, report)
    doubt_texts(table, target_column, "target", path, report)
    records = []
    for row in table.rows:
        source, target = cell_of(row, source_column, path, report), cell_of(row, target_column, path, report)
        if source is not None and target is not None:
            records.append(Located(SentencePair(source, target), row.line))
    return records


def _columns(table: Table, options: ReadOptions, path: Path, report: Report) -> tuple[str, str]:
    source = pick_column(table, options.source_column, (), "source", path)
    target = pick_column(table, options.target_column, (), "target", path)
    if source is None and target is None:
        source, target = _named_pair(table, path) or (None, None)
    if source is None or target is None:
        texts = _candidates(table)
        candidates = texts if len(texts) > 1 else list(table.columns)
        source = source or next(column for column in candidates if column != target)
        target = target or next(column for column in candidates if column != source)
        _doubt_choice(table, options, path, report)
    take_column(table, "source", source)
    take_column(table, "target", target)
    return source, target


def _named_pair(table: Table, path: Path) -> tuple[str, str] | None:
    """The source and the target, where names or words of them tell both."""
    source = pick_column(table, None, SOURCE_COLUMNS, "source", path)
    target = pick_column(table, None, TARGET_COLUMNS, "target", path)
    if source is None or target is None:
        source = column_with_word(table, _SOURCE_WORDS)
        target = column_with_word(table, _TARGET_WORDS, (source,))
    return (source, target) if source is not None and target is not None else None


def pick_source_column(table: Table, _options: ReadOptions, path: Path) -> str | None:
    """The column of sources in a table with or without targets: the one that training takes, or a text."""
    if not table.columns:
        return None
    named = _named_pair(table, path)
    if named is not None:
        return named[0]
    source = pick_column(table, None, ("source", "src"), "source", path)
    texts = [column for column in table.columns if column.casefold() in ("text", "sentence")]
    return source or (texts[0] if len(texts) == 1 else (_candidates(table) or table.columns)[0])


def _candidates(table: Table) -> list[str]:
    """Columns that may be a side of the pairs: no ids, numbers or dates, nor what sorts the rows, if two are left."""
    texts = [column for column in table.columns if not is_aside(table, column)]
    of_pairs = [column for column in texts if not is_about_rows(table, column)]
    return of_pairs if len(of_pairs) > 1 else texts


def _doubt_choice(table: Table, options: ReadOptions, path: Path, report: Report) -> None:
    """Warn where columns were taken by their order, and no name says that the first row names them."""
    if options.header is None and not table.has_usual_names and table.header is not None and _may_be_a_pair(table):
        named = ", ".join(f"`{name}`" for name in table.columns)
        what = f"the first row is taken as the names of the columns: {named}"
        report.warn(path, table.header, what, "pass --column header=no if it is a pair, else --column header=yes")


def _may_be_a_pair(table: Table) -> bool:
    """Whether the names of the columns look like the cells below: not single words above sentences."""
    words = [cell.count(" ") + 1 for column in table.columns for cell in cells_of(table, column)]
    return any(" " in name for name in table.columns) or sum(words) < _SENTENCE_WORDS * len(words)


def read_parallel(source: Path, target: Path, report: Report, encoding: str | None = None) -> list[Located]:
    """Read pairs of lines: line n of one file is the translation of line n of the other."""
    return [
        Located(SentencePair(first.strip(), second.strip()), number)
        for number, (first, second) in aligned_lines(source, target, report, encoding)
    ]
