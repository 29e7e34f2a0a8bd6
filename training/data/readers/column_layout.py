"""Layout of CoNLL columns, found by the content: the separator, the columns of words and tags, comments, a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from training.data.formats.faults import DataFault, Report
from training.data.formats.header import is_number
from training.data.formats.options import ReadOptions
from training.data.readers.schemes import OUTSIDE

_DOCUMENT_START = "-DOCSTART-"
_DOCUMENT_MARKS = ("#begin ", "#end ")
_HEADING_WORDS = (
    "token tokens word words form text id sentence tag tags label labels ner ner_tag ner_tags pos pos_tag upos xpos "
    "lemma chunk entity iob bio slot"
)
_HEADINGS = frozenset({*_HEADING_WORDS.split(" "), "sentence #"})
_PLACEHOLDERS = frozenset({"-", "_", "--", "*"})
_FIRST = ("0", "1")
_ALMOST_ALL = 0.8
_MANY_TAGS, _MANY_SHARE = 50, 0.3
_ID_ROWS = 3
_SAMPLE_LINES = 50_000


_BLANKS = re.compile("[ \t]+")
_SIGNS_OF_CSV = {",": "commas", ";": "semicolons", "|": "vertical bars"}
_QUOTED = re.compile(r'"[^"]+"')
_SLASHED = re.compile(r"\S+/[A-Z][A-Z$-]*|(\W)/\W{1,2}")


class BadLine(Exception):
    """Fault in a line and what is allowed instead; the reader adds file and line number."""

    def __init__(self, what: str, allowed: str) -> None:
        self.what = what
        self.allowed = allowed


class ColumnLayout(NamedTuple):
    """`separator` None stands for blanks. Columns count from 1, or from the end if negative.

    `numbers` is whether the first column counts the words of a sentence; `header` is a line that names the columns;
    `tags` are those of lines that are surely no comments.
    """

    separator: str | None
    num_columns: int
    word: int
    tag: int
    numbers: bool
    header: int | None
    tags: frozenset[str]

    def word_of(self, cells: Sequence[str]) -> str:
        return _cell(cells, self.word)

    def tag_of(self, cells: Sequence[str]) -> str:
        return _cell(cells, self.tag)

    def number_of(self, cells: Sequence[str]) -> int | None:
        """Number of the word in its sentence, if the file has one."""
        return int(cells[0]) if self.numbers and cells[0].isdecimal() else None


def cells_of_line(line: str, separator: str | None) -> list[str]:
    """Split only at tabs and blanks: words may contain any other white space, such as U+00A0."""
    if separator is None:
        return _BLANKS.split(line.rstrip(" \t").lstrip(" "))
    return [cell.strip(" ") for cell in line.split(separator)]


def _cell(cells: Sequence[str], column: int) -> str:
    """Cell of a column, counted from 1, or from the end if negative."""
    index = column - 1 if column > 0 else len(cells) + column
    if column == 0 or not 0 <= index < len(cells):
        raise BadLine(f"no column {column}", f"there are {len(cells)}, counted from 1; -1 is the last")
    return cells[index]


def is_comment(line: str, layout: ColumnLayout) -> bool:
    """Whether a line holds no word: `-DOCSTART-`, or `#` where no word with a tag of the file follows."""
    if line.startswith((_DOCUMENT_START, *_DOCUMENT_MARKS)):
        return True
    if not line.startswith("#"):
        return False
    if layout.numbers:
        return True
    cells = cells_of_line(line, layout.separator)
    if len(cells) == layout.num_columns and layout.tag_of(cells) in layout.tags:
        return False
    return line.startswith("# ") or line.strip() == "#" or (layout.separator is not None and len(cells) == 1)


def find_layout(path: Path, lines: Sequence[str], options: ReadOptions, report: Report) -> ColumnLayout:
    """Find the layout that most lines have. Comments decide nothing.

    Raises:
        DataFault: the columns are separated by commas, or the file is of another kind.
    """
    numbered = [(number, line) for number, line in enumerate(lines[:_SAMPLE_LINES], start=1) if line.strip()]
    sure = [(number, line) for number, line in numbered if not line.startswith(("#", _DOCUMENT_START))] or numbered
    separator = "\t" if 2 * sum("\t" in line for _, line in sure) > len(sure) else None
    rows = [cells_of_line(line, separator) for _, line in sure]
    _refuse_cells(path, sure[0][0] if sure else 1, [line for _, line in sure], rows)
    num_columns = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    rows = [row for row in rows if len(row) == num_columns]
    header = sure[0][0] if rows and _is_header(rows, options) else None
    rows = rows[1:] if header else rows
    word, tag, numbers = _columns(path, rows, options, report)
    layout = ColumnLayout(separator, num_columns, word, tag, numbers, header, frozenset({OUTSIDE}))
    if rows:
        _state(path, layout, report)
        layout = layout._replace(tags=_tags_of(layout, rows))
        _doubt(path, layout, rows, options, report)
    return layout


def _tags_of(layout: ColumnLayout, rows: Sequence[Sequence[str]]) -> frozenset[str]:
    try:
        return frozenset({OUTSIDE, *(layout.tag_of(row) for row in rows)})
    except BadLine:  # told for each line
        return frozenset({OUTSIDE})


def _state(path: Path, layout: ColumnLayout, report: Report) -> None:
    facts = report.facts(path)
    facts["separator"] = "tabs" if layout.separator else "blanks"
    facts["columns"] = str(layout.num_columns)
    facts["words"] = f"column {layout.word}"
    last = layout.num_columns + layout.tag + 1 if layout.tag < 0 else layout.tag
    facts["tags in"] = f"column {last}"
    if layout.header is not None:
        facts["header"] = f"line {layout.header}, which names the columns"


def _is_header(rows: Sequence[Sequence[str]], options: ReadOptions) -> bool:
    """Whether the first row names columns, and its last cell is the tag of no other word."""
    if options.header is not None:
        return options.header != "no"
    names = [cell.casefold() for cell in rows[0]]
    return len(rows) > 1 and set(names) <= _HEADINGS and rows[0][-1] not in {row[-1] for row in rows[1:]}


def _columns(path: Path, rows: Sequence[Sequence[str]], options: ReadOptions, report: Report) -> tuple[int, int, bool]:
    """The columns of words and tags, and whether the first column counts the words."""
    numbers = len(rows) > 0 and len(rows[0]) >= _ID_ROWS and _counts_words([row[0] for row in rows])
    word = options.word_column if options.word_column is not None else 2 if numbers else 1
    tag = options.tag_column if options.tag_column is not None else _last_full_column(rows)
    if options.word_column is None and word != 1:
        _warn_of_choice("column 1 counts the words", word, tag, rows, path, report)
    elif options.tag_column is None and tag != -1:
        _warn_of_choice("the last columns are empty", word, tag, rows, path, report)
    return word, tag, numbers


def _warn_of_choice(why: str, word: int, tag: int, rows: Sequence[Sequence[str]], path: Path, report: Report) -> None:
    chosen = tag if tag > 0 else len(rows[0])
    what = f"{why}: words are read from column {word} and tags from column {chosen}"
    report.warn(path, None, what, f"pass --column word={word} --column tag={chosen} if that is right")


def _counts_words(column: Sequence[str]) -> bool:
    """Whether a column counts 1, 2, 3 and begins again with each sentence."""
    if column[0] not in _FIRST or not all(cell.isdecimal() for cell in column):
        return False
    pairs = pairwise(column)
    follow = sum(int(after) == int(before) + 1 or after in _FIRST for before, after in pairs)
    return follow >= _ALMOST_ALL * (len(column) - 1)


def _last_full_column(rows: Sequence[Sequence[str]]) -> int:
    """Number of the last column that holds more than marks of absence; -1 if that is the last one."""
    width = len(rows[0]) if rows else 0
    full = (number for number in range(width, 1, -1) if not {row[number - 1] for row in rows} <= _PLACEHOLDERS)
    last = next(full, width)
    return -1 if last == width else last


def _refuse_cells(path: Path, first: int, lines: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Refuse what CSV has: separators that are words too, and quotes around each cell; and words with slashes."""
    allowed = "write a word and its tag on each line, separated by a tab, and a blank line between sentences"
    is_csv = path.name.lower().removesuffix(".gz").endswith(".csv")
    for sign, name in _SIGNS_OF_CSV.items():
        counts = Counter(line.count(sign) for line in lines)
        usual, share = counts.most_common(1)[0] if counts else (0, 0)
        is_usual = usual > 0 and share >= _ALMOST_ALL * len(lines)
        if is_usual and ((is_csv and sign == ",") or all(len(row) == 1 for row in rows)):
            raise DataFault(path, first, f"the columns are separated by {name}", allowed)
    cells = [cell for row in rows for cell in row]
    if len(rows) > 1 and all(_QUOTED.fullmatch(cell) for cell in cells):
        raise DataFault(path, first, "the cells are quoted as in CSV, and quotes are words too", allowed)
    if len(rows) > 1 and cells and all(map(_SLASHED.fullmatch, cells)):
        raise DataFault(path, first, f"a line holds words with their tags, such as {cells[0]}", allowed)


def _doubt(
    path: Path, layout: ColumnLayout, rows: Sequence[Sequence[str]], options: ReadOptions, report: Report
) -> None:
    """Warn of words that are all numbers or nothing, and of nearly as many tags as words."""
    try:
        words = {layout.word_of(row) for row in rows}
    except BadLine:
        return
    if len(rows) > 1 and (all(map(is_number, words)) or words <= _PLACEHOLDERS):
        kind = "only numbers" if all(map(is_number, words)) else "nothing but marks of absence"
        report.warn(path, None, f"column {layout.word}, read as words, holds {kind}", "pass --column word=NUMBER")
    if len(layout.tags) > max(_MANY_TAGS, _MANY_SHARE * len(rows)) and options.tag_column is None:
        what = f"the tag column holds {len(layout.tags):,} different tags for {len(rows):,} words"
        report.warn(path, None, what, "pass --column tag=NUMBER for another column")
