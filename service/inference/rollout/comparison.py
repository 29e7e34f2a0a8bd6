"""Comparison of the answers of two versions to one input: agreement, score distance, labels that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

#: Forecasts and arrays of two trainings are never equal; nearer than this share of their size they agree.
_FORECAST_TOLERANCE = 0.01
_LEAST_SIZE = 1e-6


class Comparison(NamedTuple):
    """Two answers to one input.

    Attributes:
        agrees: whether they have the same label, tags, tree or text, or numbers nearer than 1 %.
        score_distance: of the two scores; of forecasts relative to their size; None where there are no scores.
        differences: label of the version that answered, and of the candidate, wherever they are not the same.
    """

    agrees: bool
    score_distance: float | None = None
    differences: tuple[tuple[str, str], ...] = ()


def compare(answer: Mapping[str, Any], candidate: Mapping[str, Any]) -> Comparison:
    """Compare two answers of `POST /predict` to one input, or two texts of a language model.

    They are told apart by their fields, which are those of the tasks' answers.
    """
    if "tokens" in answer:
        return _tagging(answer, candidate)
    if "forecast" in answer:
        return _forecast(answer["forecast"], candidate.get("forecast", ()))
    if "outputs" in answer:
        return _outputs(answer["outputs"], candidate.get("outputs", {}))
    if "text" in answer:
        return Comparison(answer["text"] == candidate.get("text"), _distance(answer, candidate, "score"))
    if "generated_text" in answer:
        return Comparison(answer["generated_text"] == candidate.get("generated_text"))
    return _labels(answer, candidate, "label", "score")


def _labels(answer: Mapping[str, Any], candidate: Mapping[str, Any], label: str, score: str) -> Comparison:
    """One label each. The distance is that of the probabilities of the answer's label where both are known."""
    ours, theirs = str(answer.get(label)), str(candidate.get(label))
    if ours == theirs:
        return Comparison(True, _distance(answer, candidate, score))
    return Comparison(False, _distance(answer, candidate, score), ((ours, theirs),))


def _tagging(answer: Mapping[str, Any], candidate: Mapping[str, Any]) -> Comparison:
    """Tag by tag, head and relation by relation, and the label of the whole text, where there are any.

    The distance is the mean over the tokens.
    """
    tokens, others = answer["tokens"], candidate.get("tokens", ())
    differences = [
        (str(one["tag"]), str(other["tag"]))
        for one, other in zip(tokens, others, strict=False)
        if one["tag"] != other["tag"]
    ]
    if answer.get("label") != candidate.get("label"):
        differences.append((str(answer.get("label")), str(candidate.get("label"))))
    agrees = len(tokens) == len(others) and not differences and _arcs(tokens) == _arcs(others)
    distances = [
        distance
        for one, other in zip(tokens, others, strict=False)
        if (distance := _distance(one, other, "score")) is not None
    ]
    return Comparison(agrees, sum(distances) / len(distances) if distances else None, tuple(differences))


def _arcs(tokens: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    """Head and relation of each word, where the answer is a tree."""
    return [(token.get("head"), token.get("relation")) for token in tokens]


def _forecast(answer: Sequence[Any], candidate: Sequence[Any]) -> Comparison:
    ours, theirs = list(_numbers(answer)), list(_numbers(candidate))
    if len(ours) != len(theirs) or not ours:
        return Comparison(False)
    size = max(_LEAST_SIZE, sum(map(abs, ours)) / len(ours))
    distance = sum(abs(one - other) for one, other in zip(ours, theirs, strict=True)) / len(ours) / size
    return Comparison(distance <= _FORECAST_TOLERANCE, distance)


def _outputs(answer: Mapping[str, Any], candidate: Mapping[str, Any]) -> Comparison:
    """Named arrays: all of them agree, and the distance is the largest of any."""
    if answer.keys() != candidate.keys():
        return Comparison(False)
    found = [_forecast([answer[name]], [candidate[name]]) for name in answer]
    distances = [one.score_distance for one in found if one.score_distance is not None]
    return Comparison(all(one.agrees for one in found), max(distances, default=None))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def _distance(answer: Mapping[str, Any], candidate: Mapping[str, Any], score: str) -> float | None:
    one, other = answer.get(score), candidate.get(score)
    return abs(float(one) - float(other)) if isinstance(one, int | float) and isinstance(other, int | float) else None
