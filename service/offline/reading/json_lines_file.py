"""Files of JSON lines as windows: an object a line, or a text or a list of words a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.offline.reading.options import ReadOptions
from service.offline.reading.source import WINDOW_ROWS, KeptType, Row, Window, windows_of
from service.offline.reading.text_lines import Line, TextLines, UnreadableInput
from service.offline.row_values import RowFault

#: The column of lines that are no objects.
_TEXT = "text"
_INTEGERS = range(-(2**63), 2**63)


class JsonLinesFile:
    """A file of JSON lines. Its lines are read once before, to know all columns and their types. See `Source`.

    A column whose values are all texts, all numbers, or all true or false has that type. All others are kept as JSON.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        """Raises UnreadableInput, MissingColumn."""
        self._path, self._options = path, options
        self.files = [path]
        self.size = path.stat().st_size
        types = _Types()
        for line in TextLines(path, options.encoding):
            types.add(_object(line))
        self.columns = list(types.found)
        if not self.columns:
            raise UnreadableInput(f'{path}: there is no line with a JSON object, such as {{"text": "..."}}')
        self._input = options.input_column(self.columns)
        self.kept: dict[str, KeptType] = {name: types.of(name) for name in options.kept_columns(self.columns)}

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        lines = TextLines(self._path, self._options.encoding)
        return windows_of(self._rows(lines), list(self.kept), lambda: lines.position, max_rows)

    def _rows(self, lines: TextLines) -> Iterator[Row]:
        for line in lines:
            found = _object(line)
            if found is None:
                continue
            if isinstance(found, RowFault):
                yield Row(found, [None] * len(self.kept))
            else:
                yield Row(self._value(found), [_kept(found.get(name), kind) for name, kind in self.kept.items()])

    def _value(self, found: Mapping[str, Any]) -> Any:
        if self._input not in found:
            return RowFault(f"the line has no {self._input!r}")
        if self._options.kind == "frames" and self._input == "frames" and "times" in found:
            return {"frames": found["frames"], "times": found["times"]}
        return found[self._input]


def _object(line: Line) -> Mapping[str, Any] | RowFault | None:
    """The object of a line; None for a blank line."""
    if line.fault:
        return RowFault(line.fault)
    if not line.text.strip():
        return None
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return RowFault(f"the line is not JSON: {error}")
    if isinstance(found, str | list):
        return {_TEXT: found}
    return found if isinstance(found, dict) else RowFault("the line is neither an object, a text nor a list of words")


def _kept(value: Any, kind: KeptType) -> Any:
    if value is None or kind != "json":
        return float(value) if kind == "number" and value is not None else value
    return json.dumps(value, ensure_ascii=False)


class _Types:
    """Which types the values of each key have, over all lines."""

    def __init__(self) -> None:
        self.found: dict[str, set[KeptType]] = {}

    def add(self, line: Mapping[str, Any] | RowFault | None) -> None:
        if not isinstance(line, Mapping):
            return
        for name, value in line.items():
            kinds = self.found.setdefault(name, set())
            if value is not None:
                kinds.add(_type_of(value))

    def of(self, name: str) -> KeptType:
        kinds = self.found[name]
        if kinds == {"integer", "number"}:
            return "number"
        return next(iter(kinds)) if len(kinds) == 1 else "json" if kinds else "text"


def _type_of(value: Any) -> KeptType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if value in _INTEGERS else "json"
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "texts"
    return "number" if isinstance(value, float) else "text" if isinstance(value, str) else "json"
