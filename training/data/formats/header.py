"""Tell a row of column names from a row of data."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Words that names of columns are made of.
_WORDS_OF_NAMES = """
text texts sentence sentences utterance query question review comment content tweet sms title output name label labels
intent category sentiment target topic tag tags coarse lang language rating type id ids idx index uid uuid date
datetime timestamp source src tgt translation filename image png wav caption description sequence recording speaker
subject token tokens ner pos url email length locale feature message answer class channel score
"""
#: Languages, as tables of translations name their columns.
_LANGUAGES = """
af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk ko la lt lv
mk mr ms nb ne nl nn no pa pl pt ro ru sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh eng deu ger fra fre spa ita por
nld dut rus jpn zho chi kor pol ces cze swe dan nor fin tur ara hin english german deutsch french français francais
spanish español italian italiano portuguese português dutch nederlands russian japanese chinese korean polish polski
czech swedish svenska danish dansk norwegian norsk finnish suomi turkish arabic hindi greek hungarian romanian
ukrainian vietnamese
"""
_KNOWN_WORDS = frozenset(_WORDS_OF_NAMES.split())
_KNOWN_LANGUAGES = frozenset(_LANGUAGES.split())
_MAX_NAME_CHARACTERS = 60
_MAX_NAME_WORDS = 6
_MAX_LISTED = 20
_SENTENCE_END = re.compile(r"[.!?…。！？]['\"”’»)]*$")
_ADDRESS = re.compile(r"(https?://|www\.)\S+|\S+@\S+\.\w+", re.IGNORECASE)
_FILE_NAME = re.compile(
    r"\S.*\.(wave?|mp3|flac|ogg|m4a|png|jpe?g|gif|bmp|webp|tiff?|txt|eml|html?|pdf|docx?|csv|json)", re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d+)*|[.,]\d+)([eE][-+]?\d+)?%?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")


def words_of_name(name: str) -> list[str]:
    """`Customer_messageText` -> `["customer", "message", "text"]`."""
    apart = re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", apart.casefold()) if word]


def is_known_header(cells: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> bool:
    """Whether words that usually name columns are among the cells, or several languages.

    A cell that stands in its column of the `rows` below too is no name.
    """
    own = [cell for index, cell in enumerate(cells) if cell.strip() not in _column(rows, index)]
    if sum(cell.strip().casefold() in _KNOWN_LANGUAGES for cell in own) > 1:
        return True
    short = [cell for cell in own if len(words_of_name(cell)) <= 4 and not _SENTENCE_END.search(cell.strip())]
    return any(word in _KNOWN_WORDS for cell in short for word in words_of_name(cell))


def is_usual_header(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a cell is a usual name as a whole; or has a word of one, and no other cell is like those below it.

    `spam, free message` above rows that start with `spam` is a row, though `message` may name a column.
    """
    if not is_known_header(cells, rows):
        return False
    names = [cell.strip().casefold() for index, cell in enumerate(cells) if cell.strip() not in _column(rows, index)]
    is_whole = any(name in _KNOWN_WORDS for name in names) or sum(name in _KNOWN_LANGUAGES for name in names) > 1
    if is_whole:
        return True
    kinds = (_DATE.fullmatch,) if _count_on(_numbers(cells)) else (_NUMBER.fullmatch, _DATE.fullmatch)
    columns = ((cell.strip(), _column(rows, index)) for index, cell in enumerate(cells))
    return not any(
        name in below or any(kind(name) and all(map(kind, below)) for kind in kinds) for name, below in columns if below
    )


def _column(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    return [row[index].strip() for row in rows if index < len(row) and row[index].strip()]


def data_in_header(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Why a first row looks like data; empty if it may name the columns of the rows below."""
    if is_usual_header(names, rows) or _are_consecutive(names):
        return ""
    for index, name in enumerate(names):
        why = _why_data(name.strip(), _column(rows, index))
        if why:
            return f"{shortened(name)} {why}"
    return ""


def _why_data(name: str, below: Sequence[str]) -> str:
    if not name or not below:
        return ""
    if _ADDRESS.fullmatch(name):
        return "is an address"
    if is_number(name) and all(map(is_number, below)):
        return "is a number, as those below"
    if _DATE.fullmatch(name) and all(map(_DATE.fullmatch, below)):
        return "is a date, as those below"
    if name in below:
        return "stands in the rows below too"
    mean = sum(map(len, below)) / len(below)
    if (len(name) > _MAX_NAME_CHARACTERS or len(name.split()) > _MAX_NAME_WORDS) and mean > len(name) / 3:
        return "is too long for a name"
    num_sentences = sum(_SENTENCE_END.search(cell) is not None for cell in below)
    return "is a sentence" if _SENTENCE_END.search(name) and 2 * num_sentences >= len(below) else ""


def _are_consecutive(names: Sequence[str]) -> bool:
    """Whether names count on, as those that pandas gives to columns without names, or years."""
    numbers = _numbers(names)
    return _count_on(numbers) and len(numbers) >= len([name for name in names if name.strip()]) - 1


def _numbers(names: Sequence[str]) -> list[int]:
    return [int(name) for name in names if name.strip().isdecimal()]


def _count_on(numbers: Sequence[int]) -> bool:
    return len(numbers) > 1 and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def is_number(cell: str) -> bool:
    """Whether a cell is a plain number, in any usual spelling."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def is_address(cell: str) -> bool:
    """Whether a cell is an address of the web or of mail."""
    return _ADDRESS.fullmatch(cell.strip()) is not None


def is_file_name(cell: str) -> bool:
    """Whether a cell is the name of a file, such as a sound or a picture."""
    return _FILE_NAME.fullmatch(cell.strip()) is not None


def listed(names: Sequence[str]) -> str:
    """Names of columns as messages list them: the first ones, and the number of the rest."""
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return (", ".join(names[:_MAX_LISTED]) + more) or "none"


def shortened(cell: str) -> str:
    """A cell as messages show it."""
    flat = " ".join(cell.split())
    return f"`{flat[:39]}…`" if len(flat) > 40 else f"`{flat}`"
