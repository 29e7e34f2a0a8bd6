"""Numbers as people write them in tables: decimal point or comma, thousands separators, currency and percent signs.

`1,234` is 1234 or 1.234: which of them, the other numbers of the column or of the file decide, or the user. A number
that stays ambiguous is refused, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

Decimal = Literal["point", "comma"]

#: Spellings of a missing value, in lower case.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "n.a.", "<na>", "nan", "nat", "null", "none", "nil", "missing", "?", "-", "--", "—", ".",
     "..", "\\n"}
)  # fmt: skip

#: Sign, currency and sign around a number, and percent or a sign behind it.
_PARTS = re.compile(r"([+-]? ?[$€£¥₹₩₽]? ?[+-]?)([0-9.,].*?)(-?) ?[%$€£¥₹₩₽]?")
_SPACES = re.compile("(?<=[0-9])[ \u00a0\u202f\u2009'’](?=[0-9]{3}(?![0-9]))")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: Whole thousands, also in the Indian way (12,34,567), before what may be a fraction.
_GROUPED = {
    "point": re.compile(r"([+-]?[1-9][0-9]{0,2}(?:,[0-9]{2,3})*,[0-9]{3})(\.[0-9]*)?"),
    "comma": re.compile(r"([+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+)(,[0-9]*)?"),
}
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
#: `1,234` and `12,345`: thousands or thousandths. `0,123` and `1234,567` are no thousands.
_EITHER = {
    "comma": re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}"),
    "point": re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}"),
}


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value."""
    return cell.strip().casefold() in MISSING


def parse_number(cell: str, decimal: Decimal = "point") -> float | None:
    """The number in a cell, NaN for a missing value, None if it is no finite number.

    `$1,234.50` is 1234.5, `12 %` is 12, `(3)` is -3. Underscores and words, `inf` too, are no numbers.
    """
    if decimal == "point" and _PLAIN.fullmatch(cell):
        return _finite(cell)
    if is_missing(cell):
        return math.nan
    text = _bare(cell)
    plain = _PLAIN.fullmatch(text)
    if plain and decimal == "point":
        return _finite(text)
    grouped = _GROUPED[decimal].fullmatch(text)
    if grouped:
        separator = "," if decimal == "point" else "."
        return _finite(grouped[1].replace(separator, "") + (grouped[2] or "").replace(",", "."))
    if decimal == "comma" and (_COMMA.fullmatch(text) or (plain and "." not in text)):
        return _finite(text.replace(",", "."))
    return None


def decimal_of(cells: Iterable[str]) -> Decimal | None:
    """The decimal sign that the cells prove, by numbers that can be read in one way only.

    None if there is no such number, or if they contradict each other.
    """
    found: set[Decimal] = set()
    for cell in cells:
        if "point" in found and "," not in cell and cell.count(".") < 2:
            continue  # it proves no more
        proof = _proof(_bare(cell))
        if proof is not None:
            found.add(proof)
    return found.pop() if len(found) == 1 else None


def is_ambiguous(cell: str) -> bool:
    """Whether a cell is a number of thousands with one reading and of thousandths with the other: `1,234`."""
    return _EITHER["comma"].fullmatch(_bare(cell)) is not None


def _proof(text: str) -> Decimal | None:
    if "," not in text:
        # Two points are thousands; one point with other than three digits behind it is a decimal point.
        if text.count(".") > 1:
            return "comma" if _GROUPED["comma"].fullmatch(text) else None
        return "point" if "." in text and _PLAIN.fullmatch(text) and not _EITHER["point"].fullmatch(text) else None
    if is_ambiguous(text):
        return None
    if _GROUPED["point"].fullmatch(text):
        return "point"
    return "comma" if _GROUPED["comma"].fullmatch(text) or _COMMA.fullmatch(text) else None


def _bare(cell: str) -> str:
    """Without signs of currency and percent, without spaces between thousands; a minus is `-` and comes first."""
    text = cell.strip().replace("−", "-")
    is_owed = len(text) > 2 and text.startswith("(") and text.endswith(")")
    parts = _PARTS.fullmatch(text[1:-1] if is_owed else text)
    if parts is None:
        return text
    signs = "".join(sign for sign in parts[1] + parts[3] if sign in "+-")
    if len(signs) + is_owed > 1:
        return text
    return ("-" if is_owed else signs.replace("+", "")) + _SPACES.sub("", parts[2])


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
