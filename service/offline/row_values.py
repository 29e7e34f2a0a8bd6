"""Cells of a table as inputs of a model: text, words, frames of numbers, sounds, pictures, clips and named arrays."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from service.bundle.manifest import Manifest
from service.errors import InvalidInput, UnrollError
from service.tasks.core.task import Clip, Picture, PredictInput, Tensors
from service.tasks.inputs.json_input import plain_value
from service.tasks.inputs.sound_file import read_sound

#: What a model takes.
InputKind = Literal["text", "frames", "wav", "png", "clip", "tensors"]

#: Usual names of the column of inputs, the most likely first.
_USUAL: Mapping[InputKind, tuple[str, ...]] = {
    "text": (
        *("text", "sentence", "utterance", "query", "message", "question", "review", "comment", "content", "document"),
        *("tweet", "sms", "prompt", "source", "words", "tokens", "title", "body", "input", "inputs"),
    ),
    "frames": ("frames", "values", "inputs"),
    "wav": ("wav", "audio", "bytes", "sound"),
    "png": ("png", "image", "bytes", "picture"),
    "clip": ("clip", "gif", "video", "bytes"),
    "tensors": ("tensors", "arrays", "inputs", "input"),
}


_ROWS = "[[0.1, 0.2], [0.3, 0.4]]"


class RowFault(NamedTuple):
    """In place of a cell: the row could not be read from its file, and why."""

    message: str


class MissingColumn(UnrollError):
    """The table has no column of inputs, or several that may be it."""


def input_kind(manifest: Manifest) -> InputKind:
    """What the model of a manifest takes."""
    if manifest.task == "captioning":
        return "png"
    if manifest.task == "video":
        return "clip"
    if manifest.task == "tensors":
        return "tensors"
    signal = getattr(manifest.options, "signal", None)
    if manifest.task == "forecasting" or (signal is not None and signal.kind == "frames"):
        return "frames"
    return "text" if signal is None else "wav"


def input_column(columns: Sequence[str], kind: InputKind, named: str | None = None, is_file: bool = False) -> str:
    """The column of inputs: the one that is named, else the first with a usual name, else the only one.

    The only column of a file needs a usual name too: what looks like its header may be the first row.

    Raises:
        MissingColumn: with the nearest name and all names.
    """
    if named is not None:
        require_columns(columns, [named])
        return named
    by_name = {column.strip().casefold(): column for column in reversed(columns)}
    found = next((by_name[usual] for usual in _USUAL[kind] if usual in by_name), None)
    if found is None and len(columns) == 1 and not is_file:
        return columns[0]
    if found is None:
        option = "--text-column" if is_file else "text_column"
        raise MissingColumn(
            f"which column has the {_CALLED[kind]}? Name it by {option}: none has a usual name; "
            f"the columns are: {listed(columns)}"
        )
    return found


def require_columns(columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises MissingColumn for a name that is none of `columns`, with the nearest name and all names."""
    for name in wanted:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            meant = f"; did you mean {near[0]!r}? The" if near else "; the"
            raise MissingColumn(f"there is no column {name!r}{meant} columns are: {listed(columns)}")


def listed(columns: Sequence[str]) -> str:
    """Names of columns for a message."""
    return ", ".join(map(repr, columns)) or "none"


_CALLED: Mapping[InputKind, str] = {
    "text": "texts",
    "frames": "frames",
    "wav": "sounds",
    "png": "pictures",
    "clip": "clips",
    "tensors": "named arrays",
}


def row_values(cells: Sequence[Any], kind: InputKind) -> list[PredictInput | UnrollError]:
    """One input for each cell, or the reason why the cell is none."""
    read = _READERS[kind]
    found: list[PredictInput | UnrollError] = []
    for cell in cells:
        try:
            found.append(cell if kind == "text" and type(cell) is str else _read(cell, read, kind))
        except InvalidInput as error:
            found.append(error)
    return found


def _read(cell: Any, read: Callable[[Any], PredictInput], kind: InputKind) -> PredictInput:
    if isinstance(cell, RowFault):
        raise InvalidInput(cell.message)
    if is_missing(cell):
        raise InvalidInput(f"there is no {_ONE[kind]}: the cell is null")
    return read(cell)


def is_missing(cell: Any) -> bool:
    """Whether a cell is null: None, NaN, or the null of pandas."""
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType")
    )


_ONE: Mapping[InputKind, str] = {
    "text": "text",
    "frames": "sequence",
    "wav": "sound",
    "png": "picture",
    "clip": "clip",
    "tensors": "input",
}


def _text(cell: Any) -> PredictInput:
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        try:
            return bytes(cell).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"byte {error.start + 1} of the text is not UTF-8") from error
    words = cell.tolist() if isinstance(cell, np.ndarray) else cell
    if not isinstance(words, list | tuple):
        raise InvalidInput(f"a text or a list of words is expected, not {_kind(cell)}")
    wrong = next((index for index, word in enumerate(words) if not isinstance(word, str)), None)
    if wrong is not None:
        raise InvalidInput(f"a word is a text, not {_kind(words[wrong])}", (wrong,))
    return [str(word) for word in words]


def _frames(cell: Any) -> PredictInput:
    """A list of frames, an array `[time, features]`, their JSON, or an object with `frames` and `times`."""
    given = _from_json(cell, "frames in a text are JSON, such as " + _ROWS) if isinstance(cell, str) else cell
    given = given if isinstance(given, Mapping) else {"frames": given}
    rows, times = _plain_rows(given.get("frames")), given.get("times")
    try:
        return plain_value({"frames": rows} if times is None else {"frames": rows, "times": list(times)})
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"frames are a list of lists of numbers, such as {_ROWS}") from error


def _plain_rows(rows: Any) -> list[Any]:
    if isinstance(rows, np.ndarray):
        rows = rows.tolist()
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        raise InvalidInput(f"frames are a list of lists of numbers, such as {_ROWS}")
    plain = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in rows]
    numbers = (int, float, np.integer, np.floating)
    for index, row in enumerate(plain):
        if not all(isinstance(value, numbers) and not isinstance(value, bool) for value in row):
            raise InvalidInput("not all of this frame are numbers", ("frames", index))
    return plain


def _from_json(text: str, message: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(message) from error


def _sound(cell: Any) -> PredictInput:
    """The bytes of a sound file, or its base64."""
    content = _content(cell, "wav")
    return plain_value({"wav": content}) if isinstance(content, str) else read_sound(content)


def _picture(cell: Any) -> PredictInput:
    """The bytes of a PNG file, or its base64."""
    content = _content(cell, "png")
    return plain_value({"png": content}) if isinstance(content, str) else Picture(content)


def _clip(cell: Any) -> PredictInput:
    """The bytes of a GIF or animated PNG file, or its base64; or frames uint8 `[time, rows, columns, 3]`."""
    if isinstance(cell, np.ndarray) and cell.dtype == np.uint8 and cell.ndim == 4:
        if cell.shape[3] != 3 or 0 in cell.shape:
            raise InvalidInput(f"the frames of a clip are [time, rows, columns, 3], not {list(cell.shape)}")
        return Clip(frames=cell)
    content = _content(cell, "clip")
    return plain_value({"clip": content}) if isinstance(content, str) else Clip((content,))


def _tensors(cell: Any) -> PredictInput:
    """An object of arrays, or nested lists, by name; or its JSON. `tensors` may be around them."""
    given = (
        _from_json(cell, 'named arrays in a text are JSON, such as {"x": [[0.1], [0.2]]}')
        if isinstance(cell, str)
        else cell
    )
    if isinstance(given, Mapping) and given.keys() == {"tensors"}:
        given = given["tensors"]
    if not isinstance(given, Mapping):
        raise InvalidInput(f"an object of arrays by name is expected, not {_kind(cell)}")
    return Tensors(given)


def _content(cell: Any, name: str) -> str | bytes:
    if isinstance(cell, Mapping):  # as in a request, or as Hugging Face data sets store files
        cell = cell.get(name, cell.get("bytes"))
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    raise InvalidInput(f"the bytes of a {name} file are expected, or their base64, not {_kind(cell)}")


def _kind(cell: Any) -> str:
    return {"NoneType": "null", "dict": "an object", "list": "a list"}.get(type(cell).__name__, type(cell).__name__)


_READERS: Mapping[InputKind, Callable[[Any], PredictInput]] = {
    "text": _text,
    "frames": _frames,
    "wav": _sound,
    "png": _picture,
    "clip": _clip,
    "tensors": _tensors,
}
