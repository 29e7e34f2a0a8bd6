"""JSON objects from a file with one on each line, from a list, or from objects that span lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.data.formats.faults import DataFault, Report

_ALLOWED = "each line holds one object"
_BLANKS = " \t\n\r,"
_MAX_DEPTH = 4


def json_objects(
    path: Path, lines: Sequence[str], report: Report, *, of_cells: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object with the line that it starts on. Anything else is a fault of its line.

    `of_cells` is whether each object is a row of a table, whose values are no lists.

    Raises:
        DataFault: a table is one object that holds the columns, or the rows under a name.
    """
    is_lined = _is_lined(lines)
    report.facts(path)["layout"] = "one object a line" if is_lined else "a JSON document"
    full = [line for line in lines if line.strip()]
    is_single = len(full) == 1 if is_lined else bool(full) and full[0].lstrip().startswith("{")
    found = _of_lines(path, lines, report) if is_lined else _of_document(path, "\n".join(lines), report)
    for count, (number, value) in enumerate(found):
        if not isinstance(value, dict):
            report.fault(path, number, f"a JSON {type(value).__name__}, not an object", _ALLOWED)
            continue
        if of_cells and count == 0 and is_single:
            _refuse_whole(path, value)
        yield number, value


def _is_lined(lines: Sequence[str]) -> bool:
    """Whether each line is a value of its own. A list on the only line, or an open bracket on the first, is not."""
    full = (line for line in lines if line.strip())
    first, second = next(full, ""), next(full, None)
    if not first.lstrip().startswith("["):
        return first.strip() != "{" and not first.rstrip().endswith((",", "[", ": {", ":{"))
    return second is not None and first.rstrip().endswith("]") and len(first.strip()) > 2


def _of_lines(path: Path, lines: Sequence[str], report: Report) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            report.fault(path, number, f"invalid JSON: {error}", _ALLOWED)
            continue
        yield number, value


def _of_document(path: Path, text: str, report: Report) -> Iterator[tuple[int, Any]]:
    """The items of a list, or objects that follow each other."""
    decoder = json.JSONDecoder()
    position, line, counted = 0, 1, 0
    in_list = False
    while True:
        position = _skip(text, position)
        if position < len(text) and text[position] == "[" and not in_list:
            in_list, position = True, position + 1
            continue
        if position >= len(text) or (in_list and text[position] == "]"):
            return
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            at = getattr(error, "lineno", line)
            report.fault(path, at, f"invalid JSON: {error}", "write a list of objects, or one object a line")
            return
        yield line, value


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _refuse_whole(path: Path, value: dict[str, Any]) -> None:
    """Refuse a file whose first or only object is around the data."""
    inner = {name: item for name, item in value.items() if isinstance(item, list | dict)}
    rows = next((name for name, item in inner.items() if isinstance(item, list) and item and _all_objects(item)), None)
    how = "write one object a line, or a list of objects"
    if rows is not None and len(value) <= _MAX_DEPTH:
        raise DataFault(path, 1, f"one JSON object that holds a list of objects as {rows!r}", how)
    sizes = {len(item) for item in value.values() if isinstance(item, list | dict)}
    if len(inner) == len(value) > 1 and len(sizes) == 1 and sizes != {0}:
        named = ", ".join(value)
        pandas = "with pandas: to_json(path, orient='records', lines=True)"
        raise DataFault(path, 1, f"one JSON object that holds whole columns: {named}", f"{how}; {pandas}")


def _all_objects(items: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def flat_cells(value: dict[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, str | None]]:
    """Cells of an object as text: `{"translation": {"en": "Go."}}` has the cell `translation.en`.

    A list with one text is that text, as doccano writes the label of a text; other lists are None, for they are no
    cells.
    """
    for key, item in value.items():
        match item:
            case str():
                yield prefix + key, item
            case dict() if depth < _MAX_DEPTH:
                yield from flat_cells(item, f"{prefix}{key}.", depth + 1)
            case [str() as only]:
                yield prefix + key, only
            case bool() | int() | float():
                yield prefix + key, json.dumps(item)
            case list() | dict():
                yield prefix + key, None
