"""Answers to any number of inputs: in chunks that a server takes, in order, with a refused input at its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from service.cli.prediction.arguments import InputRow
from service.errors import UnrollError
from service.tasks.inputs.json_input import JsonInput, effort_of

#: Inputs, and characters of them, in one request; a server that takes less is asked for halves.
CHUNK_INPUTS, CHUNK_CHARACTERS = 64, 1 << 20

#: Of nested lists of numbers, about.
_CHARACTERS_PER_EFFORT = 48

#: Inputs to the response of `POST /predict`.
Predict = Callable[[Sequence[JsonInput]], dict[str, Any]]


class RefusedInput(UnrollError):
    """The model or the server refuses these inputs, or so many at once; others may pass."""


class Answered(NamedTuple):
    """A row with its prediction, or the reason why there is none; both are None for a blank row."""

    row: InputRow
    prediction: dict[str, Any] | None
    error: str | None = None


def answers(rows: Sequence[InputRow], predict: Predict, refused: Callable[[InputRow, str], None]) -> Iterator[Answered]:
    """One for each row, in order. `refused` is told of each input that is refused, and may raise."""
    for chunk in _chunks(rows):
        found = dict(_predicted([row for row in chunk if row.value is not None], predict, refused))
        for row in chunk:
            yield found.get(id(row), Answered(row, None))


def _chunks(rows: Sequence[InputRow]) -> Iterator[Sequence[InputRow]]:
    start, size = 0, 0
    for number, row in enumerate(rows):
        length = _length(row.value)
        if number - start >= CHUNK_INPUTS or (number > start and size + length > CHUNK_CHARACTERS):
            yield rows[start:number]
            start, size = number, 0
        size += length
    if start < len(rows):
        yield rows[start:]


def _length(value: JsonInput | None) -> int:
    """Characters in a request, about."""
    if isinstance(value, dict):
        if "tensors" in value:
            return _CHARACTERS_PER_EFFORT * effort_of(value)
        if "frames" in value:
            return sum(12 * len(frame) for frame in value["frames"])
        return sum(len(text) for text in value.values())
    return len(value or "") if isinstance(value, str) or value is None else sum(len(word) + 3 for word in value)


def _predicted(
    rows: Sequence[InputRow], predict: Predict, refused: Callable[[InputRow, str], None]
) -> Iterator[tuple[int, Answered]]:
    """Each row by its identity. A refused request is repeated in halves, down to the input that is refused."""
    if not rows:
        return
    try:
        predictions = predict([row.value for row in rows if row.value is not None])["predictions"]
    except RefusedInput as error:
        if len(rows) > 1:
            middle = len(rows) // 2
            yield from _predicted(rows[:middle], predict, refused)
            yield from _predicted(rows[middle:], predict, refused)
            return
        refused(rows[0], str(error))
        yield id(rows[0]), Answered(rows[0], None, str(error))
        return
    for row, prediction in zip(rows, predictions, strict=True):
        yield id(row), Answered(row, prediction)
