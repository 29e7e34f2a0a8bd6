"""Choose the columns of a table by their names and contents, and doubt what is unlikely to be meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from service.tasks.inputs.times import is_a_date_column
from training.data.formats.faults import Report
from training.data.formats.header import is_address, is_file_name, is_number, shortened, words_of_name
from training.data.formats.raw_rows import counts_rows
from training.data.formats.tables import Table, shown_column

#: Words that tell that a column is about a text, not the text: `text_id`, `review_date`.
_ABOUT_WORDS = "id ids idx index length len count date time url link lang language type author"
_ABOUT = frozenset(_ABOUT_WORDS.split(" "))
_ID_NAMES = frozenset({"id", "ids", "idx", "index", "uid", "uuid", "key", "nr"})
_GAPS = frozenset({"nan", "null", "<na>", "n/a"})
_SHEET_ERROR = re.compile(r"#(NAME\?|REF!|VALUE!|DIV/0!|N/A|NUM!|NULL!|SPILL!)")
_MIN_ROWS = 10
_FEW_ROWS = 3
_NEARLY_ALL = 0.9
_MUCH_LONGER = 3
_MAX_LABELS_ALIKE = 5


def column_with_word(table: Table, words: Sequence[str], taken: Sequence[str | None] = ()) -> str | None:
    """The first column whose name has one of the words, such as `clean_text`, and does not say more about it."""
    for word in words:
        for column in table.columns:
            parts = words_of_name(column)
            if word in parts and not _ABOUT & set(parts) - {word} and column not in taken:
                return column
    return None


def is_aside(table: Table, column: str) -> bool:
    """Whether a column only numbers, dates, names or links the rows: ids, numbers, times, files; or is empty."""
    cells = cells_of(table, column)
    if not cells:
        return True
    if _ID_NAMES & set(words_of_name(column)) and not any(" " in cell for cell in cells):
        return True
    if is_a_date_column(cells):
        return True
    return any(all(map(test, cells)) for test in (is_number, is_address, is_file_name))


def is_about_rows(table: Table, column: str) -> bool:
    """Whether a column sorts the rows, such as by language, domain or part: few short values come again and again."""
    cells = cells_of(table, column)
    distinct = set(cells)
    return 2 * len(distinct) <= len(cells) and not any(" " in cell for cell in distinct)


def may_be_label(table: Table, column: str) -> bool:
    """Whether a column may hold labels: values that come again; no times, addresses, names of files or ids."""
    cells = cells_of(table, column)
    if len(cells) > _FEW_ROWS and len(set(cells)) == len(cells):
        return False
    return bool(cells) and (all(map(is_number, cells)) or not is_aside(table, column))


def names_rows(table: Table, column: str) -> bool:
    """Whether a column has another value for each row and counts them, or is called an id."""
    cells = cells_of(table, column)
    is_id = bool(_ID_NAMES & set(words_of_name(column))) and len(set(cells)) == len(cells)
    return is_id or counts_rows(cells)


def cells_of(table: Table, column: str) -> list[str]:
    """Cells of a column that are not blank."""
    cells = (row.cells.get(column, "").strip() for row in table.rows)
    return [cell for cell in cells if cell]


def state_ignored(table: Table, *taken: str | None) -> None:
    """State which columns are not read."""
    ignored = [shown_column(table, column) for column in table.columns if column not in taken]
    before = [table.facts["not read"]] if "not read" in table.facts else []
    if ignored or before:
        table.facts["not read"] = ", ".join([*ignored, *before])


def doubt_texts(table: Table, column: str, role: str, path: Path, report: Report) -> None:
    """Warn of texts that are all numbers, addresses or names of files."""
    cells = cells_of(table, column)
    for test, kind in ((is_number, "numbers"), (is_address, "addresses"), (is_file_name, "names of files")):
        if cells and all(map(test, cells)):
            report.warn(path, table.header, f"{role} column `{column}` holds only {kind}", _choose(role))


def doubt_shorter_texts(table: Table, column: str, label: str, path: Path, report: Report) -> None:
    """Warn of a text column where one that is not read holds much longer texts."""
    others = [name for name in table.columns if name not in (column, label) and not is_aside(table, name)]
    lengths = {name: _mean_length(cells_of(table, name)) for name in (column, *others)}
    longest = max(lengths, key=lambda name: lengths[name])
    if lengths[longest] > _MUCH_LONGER * lengths[column]:
        what = f"text column `{column}` holds much shorter texts than `{longest}`, which is not read"
        report.warn(path, table.header, what, f"pass --column text={longest}, or text={column} if that is right")


def _choose(role: str) -> str:
    return f"pass --column {role}=NAME for another one"


def _mean_length(cells: Sequence[str]) -> float:
    return sum(map(len, cells)) / max(1, len(cells))


def doubt_labels(table: Table, column: str, path: Path, report: Report) -> None:
    """Warn of labels that are nearly as many as the rows, of ids and measured numbers, and of two spellings of one."""
    cells = cells_of(table, column)
    distinct = dict.fromkeys(cells)
    if len(cells) >= _MIN_ROWS and len(distinct) >= _NEARLY_ALL * len(cells):
        kind = " that count the rows" if counts_rows(cells) else ""
        what = f"label column `{column}` has {len(distinct):,} different values{kind} in {len(cells):,} rows"
        report.warn(path, table.header, what, _choose("label"))
    elif len(distinct) > _MIN_ROWS and all(is_number(cell) and not cell.lstrip("+-").isdecimal() for cell in distinct):
        what = f"label column `{column}` holds measured numbers, which are read as {len(distinct):,} classes"
        report.warn(path, table.header, what, _choose("label"))
    warn_of_spellings(list(distinct), path, report)
    warn_of_gaps(table, column, path, report)


def warn_of_gaps(table: Table, column: str, path: Path, report: Report) -> None:
    """Warn of cells that stand for nothing, such as NaN, or are errors of a spreadsheet, such as #NAME?."""
    found = [(row.line, row.cells.get(column, "").strip()) for row in table.rows]
    gaps = [(line, cell) for line, cell in found if cell.casefold() in _GAPS or _SHEET_ERROR.fullmatch(cell)]
    if gaps:
        line, cell = gaps[0]
        more = f" (and in {len(gaps) - 1:,} more rows)" if len(gaps) > 1 else ""
        report.warn(path, line, f"column `{column}` holds {shortened(cell)}{more}, which is read as it stands")


def warn_of_spellings(labels: Sequence[str], path: Path, report: Report) -> None:
    """Warn of labels that differ in nothing but case or blanks."""
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    alike = [found for found in spellings.values() if len(found) > 1]
    for found in alike[:_MAX_LABELS_ALIKE]:
        named = " and ".join(map(shortened, found))
        report.warn(path, None, f"labels {named} differ only in case or blanks; they are {len(found)} classes")
