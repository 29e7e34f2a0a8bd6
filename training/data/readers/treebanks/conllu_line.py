"""One line of CoNLL-U: the ten columns of a word."""

from __future__ import annotations

import re
from typing import Final

from training.data.readers.column_layout import BadLine

NUM_COLUMNS: Final = 10
FORM, LEMMA, UPOS, FEATS, HEAD, DEPREL, MISC = 1, 2, 3, 5, 6, 7, 9
#: What a column holds that says nothing.
NOTHING: Final = "_"
#: Longer numbers are none of a sentence.
_MAX_DIGITS: Final = 9
#: Of a word, of a multiword token (from its first to its last word), or of an empty node.
_ID: Final = re.compile(rf"\d{{1,{_MAX_DIGITS}}}([-.]\d{{1,{_MAX_DIGITS}}})?", re.ASCII)
#: Characters of a cell that a message shows.
_SHOWN: Final = 20


def conllu_cells(line: str) -> list[str] | None:
    """The columns of a word, the first of which is its number; None for comments, multiword ranges and empty nodes.

    Raises:
        BadLine: the number of columns, the id or the word cannot be.
    """
    if line.startswith("#"):
        return None
    cells = line.split("\t")
    if len(cells) != NUM_COLUMNS:
        raise BadLine(f"{len(cells)} columns", f"CoNLL-U has {NUM_COLUMNS}, separated by tabs")
    if _ID.fullmatch(cells[0]) is None:
        raise BadLine(f"the id is {shown(cells[0])}", "it must be a number such as 3, 3-4 or 3.1")
    if not cells[0].isdecimal():
        return None
    if not cells[FORM].strip():
        raise BadLine("the word is empty", "write _ for a word that is not known")
    return cells


def is_empty(cell: str) -> bool:
    """Whether a column says nothing."""
    return cell.strip() in (NOTHING, "")


def number_of(cell: str) -> int | None:
    """The number in a column; None for what is none, or one that no sentence has words for."""
    return int(cell) if cell.isdecimal() and len(cell) <= _MAX_DIGITS else None


def shown(cell: str) -> str:
    """The beginning of a column, for a message."""
    return repr(cell[:_SHOWN])
