"""The answers of two models to the same inputs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from service.cli.backends import open_source, readable
from service.cli.prediction.answers import answers
from service.cli.prediction.arguments import InputRow, rows_of
from service.errors import UnrollError

#: Functions that score a bundle on a labelled file; training has one.
SCORERS: Final = "unroll.scorers"


class Answer(NamedTuple):
    """What a model says to one input, as text without its probabilities; or why it refuses it."""

    text: str
    refused: bool = False


class Differing(NamedTuple):
    """An input to which two models say different things."""

    place: str
    first: str
    second: str


class AnswerComparison(NamedTuple):
    """How many inputs there were, and those that are answered differently."""

    num_inputs: int
    differing: list[Differing]


def compared_answers(first: Path, second: Path, file: str) -> AnswerComparison:
    """Ask both bundles for every input of a file, read as `unroll predict` reads it.

    Raises:
        UnrollError: the file cannot be read, or holds no input.
    """
    source = open_source(None, first.parent.parent)
    facts = source.describe(first.parent.name, first.name)
    rows = [row for row in rows_of([file], lambda: facts, ()) if row.value is not None]
    if not rows:
        raise UnrollError(f"there is no input in {file}")
    found = [_answers(path, rows) for path in (first, second)]
    places = zip(rows, *found, strict=True)
    return AnswerComparison(len(rows), [Differing(row.place, a.text, b.text) for row, a, b in places if a != b])


def scores_on(path: Path, file: str) -> Mapping[str, Any] | None:
    """Scores of a bundle on a labelled file, by measure; None where training, which can score, is not installed.

    Raises UnrollError where the file has no labels.
    """
    for entry_point in importlib.metadata.entry_points(group=SCORERS):
        try:
            scorer: Callable[..., Mapping[str, Any]] = entry_point.load()
        except ImportError:
            continue
        found = scorer(path, file)
        return {name: value for name, value in found.items() if isinstance(value, int | float)}
    return None


def _answers(path: Path, rows: Sequence[InputRow]) -> list[Answer]:
    source, refusals = open_source(None, path.parent.parent), dict[int, str]()

    def predict(inputs: Sequence[Any]) -> dict[str, Any]:
        return source.predict(path.parent.name, path.name, inputs, {})

    def note(row: InputRow, reason: str) -> None:
        refusals[id(row)] = reason

    return [
        Answer(refusals[id(one.row)], True) if one.prediction is None else Answer(_said(one.prediction))
        for one in answers(rows, predict, note)
    ]


def _said(prediction: Mapping[str, Any]) -> str:
    """The answer in one line without numbers that differ between any two networks."""
    if "conllu" not in prediction and "tokens" not in prediction and "label" in prediction:
        return str(prediction["label"])
    if "tokens" in prediction and "relation" not in prediction["tokens"][0]:
        of_text = f" -> {prediction['label']}" if "label" in prediction else ""
        return " ".join(f"{token['text']}/{token['tag']}" for token in prediction["tokens"]) + of_text
    return " ".join(readable(prediction).split())
