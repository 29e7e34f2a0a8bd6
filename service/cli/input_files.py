"""Input files of the command line: an argument that names a sound, an image or a series is read and sent as content.

`speech.wav` is a sound, `cat.png` an image. `window.csv` and `window.json` are frames: one line of numbers per frame
(after an optional header), or a JSON list of lists, alone or as `{"frames": [[...], ...]}`.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput


def input_of(argument: str) -> JsonInput:
    """The content of the file if the argument names one of a known type; otherwise the argument, as text.

    Raises:
        UnrollError: the file cannot be read as its suffix says.
    """
    path = Path(argument)
    read = _READERS.get(path.suffix.lower())
    if read is None or len(argument.splitlines()) != 1 or not path.is_file():
        return argument
    try:
        return read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UnrollError(f"{path} cannot be read: {error}") from error


def _read_wav(path: Path) -> dict[str, Any]:
    return {"wav": base64.b64encode(path.read_bytes()).decode("ascii")}


def _read_png(path: Path) -> dict[str, Any]:
    return {"png": base64.b64encode(path.read_bytes()).decode("ascii")}


def _read_csv(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if any(map(str.strip, row))]
    if rows and not all(map(_is_number, rows[0][1])):
        rows = rows[1:]
    for number, row in rows:
        if not all(map(_is_number, row)):
            raise UnrollError(f"{path}:{number}: not all of these are numbers: {', '.join(row)[:80]}")
    return {"frames": [list(map(float, row)) for _, row in rows]}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UnrollError(f"{path}: not JSON: {error}") from error
    rows = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(map(_is_list_of_numbers, rows)):
        raise UnrollError(f"{path}: frames are a JSON list of lists of numbers, such as [[0.1, 0.2], [0.3, 0.4]]")
    return {"frames": rows}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_list_of_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) in (int, float) for number in value)


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".wav": _read_wav,
    ".png": _read_png,
    ".csv": _read_csv,
    ".json": _read_json,
}
