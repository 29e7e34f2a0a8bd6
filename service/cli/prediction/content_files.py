"""Files whose content is one input: a sound, an image, a clip, or the frames of one sequence.

`speech.wav` is a sound, `cat.png` an image, `cat.gif` or `cat.apng` a clip. `window.csv` and `window.json` are frames:
one line of numbers per frame after a line of their names, which may be left out, or a JSON list of lists, alone or as
`{"frames": [[...], ...]}`.
"""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput
from service.tasks.inputs.numbers import decimal_of, parse_number
from service.tasks.inputs.sound_file import SOUND_SUFFIXES

_KINDS = {**dict.fromkeys(SOUND_SUFFIXES, "wav"), ".png": "png", ".gif": "clip", ".apng": "clip"}
_DELIMITERS = ("\t", ";", ",")
_Row = tuple[int, list[str]]


def content_of(path: Path) -> JsonInput | None:
    """The content of a sound, an image, a clip or frames in JSON; None for a file of another suffix.

    Raises:
        UnrollError: the file cannot be read as its suffix says.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in _KINDS:
            return {_KINDS[suffix]: base64.b64encode(path.read_bytes()).decode("ascii")}
        return _read_json(path) if suffix == ".json" else None
    except (OSError, UnicodeDecodeError) as error:
        raise UnrollError(f"{path} cannot be read: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UnrollError(f"{path}: not JSON: {error}") from error
    rows = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(map(_is_list_of_numbers, rows)):
        raise UnrollError(f"{path}: frames are a JSON list of lists of numbers, such as [[0.1, 0.2], [0.3, 0.4]]")
    times = content.get("times") if isinstance(content, dict) else None
    return {"frames": rows, **({"times": times} if times else {})}


def _is_list_of_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) in (int, float) and math.isfinite(number) for number in value)


def has_names(path: Path) -> bool:
    """Whether the first line of a table of frames holds names. A line of numbers and other cells is refused.

    Raises:
        UnrollError: the file cannot be read, or its first line is neither names nor numbers.
    """
    rows = _rows(path)
    if not rows:
        raise UnrollError(f"{path}: the file is empty")
    cells = rows[0][1]
    numbers = [cell for cell in cells if _is_number(cell)]
    if numbers and len(numbers) < len(cells):
        raise UnrollError(f"{path}:{rows[0][0]}: not all of these are numbers: {', '.join(cells)[:80]}")
    return not numbers


def read_frames_table(path: Path, names: Sequence[str]) -> JsonInput:
    """The frames in a table, by the names in its first line, or in the order of `names` where it has no such line.

    Raises:
        UnrollError: a column is missing, or a cell is no number.
    """
    rows = _rows(path)
    columns: Sequence[str] = names
    if has_names(path):
        columns, rows = [cell.strip() for cell in rows[0][1]], rows[1:]
        if _are_numbered(names) and len(columns) == len(names):
            columns = names
        missing = next((name for name in names if name not in columns), None)
        if missing is not None:
            raise UnrollError(f"{path}:1: no column {missing!r}; the columns are: {', '.join(columns)}")
    places = [columns.index(name) for name in names]
    decimal = decimal_of(cell for _, row in rows for cell in row) or "point"
    frames = []
    for line, row in rows:
        cells = [row[place] if place < len(row) else "" for place in places]
        numbers = [parse_number(cell, decimal) for cell in cells]
        if len(row) != len(columns) or not all(number is not None and math.isfinite(number) for number in numbers):
            raise UnrollError(f"{path}:{line}: not all of these are numbers: {', '.join(row)[:80]}")
        frames.append(numbers)
    return {"frames": frames}


def _are_numbered(names: Sequence[str]) -> bool:
    """Whether a model's data had no names, so that training numbered its features."""
    return list(names) == [f"feature {number}" for number in range(1, len(names) + 1)]


def _rows(path: Path) -> list[_Row]:
    """Rows that are not blank, with their lines."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnrollError(f"{path} cannot be read: {error}") from error
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((sign for sign in _DELIMITERS if sign in first), ",")
    found = enumerate(csv.reader(lines, delimiter=delimiter), start=1)
    return [(number, [cell.strip() for cell in row]) for number, row in found if any(map(str.strip, row))]


def _is_number(cell: str) -> bool:
    number = parse_number(cell)
    return number is not None and math.isfinite(number)
