"""Files of named arrays, for models whose inputs are named arrays.

`.npz` has an array for each input: with a first axis of rows, and `lengths` where they differ, it is many inputs;
without that axis it is one. `.npy` is the same for the only input of a model. `.json` has one object of nested lists by
name, or a list of such objects; `.jsonl` has one in each line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput

_LENGTHS = "lengths"
_LINES = (".jsonl", ".ndjson")
#: What can be read.
ARRAY_SUFFIXES = (".npz", ".npy", ".json", *_LINES)

#: A part of a file, such as the number of a row from 1, and the input in it; None for a blank line.
Part = tuple[int | str, JsonInput | None]


def read_arrays(path: Path, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    """The inputs in a file, in its order.

    Args:
        inputs: those of the model, with `name` and `shape`, as `GET /models/{name}` lists them.

    Raises:
        UnrollError: the file cannot be read, or holds other arrays.
    """
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        raise UnrollError(f"{path}: named arrays are read from {', '.join(ARRAY_SUFFIXES)}")
    try:
        if suffix in (".npz", ".npy"):
            return _rows_of_arrays(path, _load(path, inputs), inputs)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError, EOFError) as error:
        raise UnrollError(f"{path} cannot be read: {error}") from error
    if suffix in _LINES:
        return ((number, input_of_text(line, f"{path}:{number}")) for number, line in enumerate(text.splitlines(), 1))
    return _rows_of_json(path, text)


def input_of_text(text: str, place: str) -> JsonInput | None:
    """An input from an object in JSON, with `tensors` around the arrays or without; None for a blank text.

    Raises:
        UnrollError: it is no such object.
    """
    if not text.strip():
        return None
    try:
        return _input(json.loads(text), place)
    except (ValueError, RecursionError) as error:
        raise UnrollError(f"{place}: this is not JSON: {error}") from error


def _input(value: Any, place: str) -> JsonInput:
    if not isinstance(value, dict) or not value:
        raise UnrollError(f'{place}: an input is an object of arrays by name, such as {{"x": [[0.1, 0.2], ...]}}')
    return value if value.keys() == {"tensors"} else {"tensors": value}


def _rows_of_json(path: Path, text: str) -> Iterator[Part]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnrollError(f"{path}: this is not JSON: {error}") from error
    values = content if isinstance(content, list) else [content]
    return ((number, _input(value, f"{path}:{number}")) for number, value in enumerate(values, 1))


def _load(path: Path, inputs: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of the inputs, and lengths if there are any. Others, such as what is to be predicted, are left out."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        if len(inputs) != 1:
            several = ", ".join(str(tensor["name"]) for tensor in inputs)
            raise UnrollError(f"{path}: the model has several inputs, {several}: give them in one .npz file")
        return {str(inputs[0]["name"]): loaded}
    with loaded:
        names = [str(tensor["name"]) for tensor in inputs]
        missing = [name for name in names if name not in loaded.files]
        if missing:
            there = ", ".join(loaded.files) or "none"
            raise UnrollError(f"{path}: there is no array {missing[0]!r}; there are: {there}")
        return {name: loaded[name] for name in (*names, _LENGTHS) if name in loaded.files}


def _rows_of_arrays(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], inputs: Sequence[Mapping[str, Any]]
) -> Iterator[Part]:
    depths = {arrays[tensor["name"]].ndim - len(tensor["shape"]) for tensor in inputs}
    if depths == {0}:
        values = {tensor["name"]: arrays[tensor["name"]].tolist() for tensor in inputs}
        return iter([(str(path.name), {"tensors": values})])
    if depths != {1}:
        told = "; ".join(f"{t['name']} has {list(arrays[t['name']].shape)} for {list(t['shape'])}" for t in inputs)
        raise UnrollError(f"{path}: all arrays have a first axis of rows, or none has one: {told}")
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        told = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise UnrollError(f"{path}: the arrays have as many rows: {told}")
    lengths = arrays.get(_LENGTHS)
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.min(initial=1) < 1):
        raise UnrollError(f"{path}: lengths are a whole number for each row, at least 1")
    return (_row(arrays, inputs, row) for row in range(counts.pop()))


def _row(arrays: Mapping[str, np.ndarray[Any, Any]], inputs: Sequence[Mapping[str, Any]], row: int) -> Part:
    lengths: Any = arrays.get(_LENGTHS)
    values = {}
    for tensor in inputs:
        value = arrays[tensor["name"]][row]
        is_cut = lengths is not None and tensor["shape"][:1] == ["time"]
        values[tensor["name"]] = (value[: lengths[row]] if is_cut else value).tolist()
    return row + 1, {"tensors": values}
