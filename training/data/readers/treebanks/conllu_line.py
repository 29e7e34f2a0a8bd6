"""One line of CoNLL-U: the ten columns of a word."""

from __future__ import annotations

from typing import Final

from training.data.readers.column_layout import BadLine

NUM_COLUMNS: Final = 10
FORM, LEMMA, UPOS, FEATS, HEAD, DEPREL, MISC = 1, 2, 3, 5, 6, 7, 9
#: What a column holds that says nothing.
NOTHING: Final = "_"


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
    if "-" in cells[0] or "." in cells[0]:
        return None
    if not cells[0].isdecimal():
        raise BadLine(f"the id is {cells[0]!r}", "it must be a number such as 3, 3-4 or 3.1")
    if not cells[FORM].strip():
        raise BadLine("the word is empty", "write _ for a word that is not known")
    return cells


def is_empty(cell: str) -> bool:
    """Whether a column says nothing."""
    return cell.strip() in (NOTHING, "")
