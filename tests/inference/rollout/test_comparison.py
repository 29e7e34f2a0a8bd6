"""Two answers to one input are compared by what the task answers."""

from __future__ import annotations

from typing import Any

import pytest

from service.inference.rollout.comparison import Comparison, compare
from service.inference.rollout.shadow_report import ShadowTally


def tokens(*tags: str) -> dict[str, Any]:
    return {"tokens": [{"text": "x", "tag": tag, "score": 0.5} for tag in tags]}


def tree(*arcs: tuple[int | None, str]) -> dict[str, Any]:
    return {"tokens": [{"text": "x", "tag": "X", "score": 0.5, "head": head, "relation": name} for head, name in arcs]}


@pytest.mark.parametrize(
    ("answer", "candidate", "agrees", "differences"),
    [
        ({"label": "a", "score": 0.9}, {"label": "a", "score": 0.4}, True, ()),
        ({"label": "a", "score": 0.9}, {"label": "b", "score": 0.4}, False, (("a", "b"),)),
        (tokens("O", "B-PER"), tokens("O", "B-PER"), True, ()),
        (tokens("O", "B-PER"), tokens("O", "O"), False, (("B-PER", "O"),)),
        (tokens("O", "O"), tokens("O"), False, ()),
        (tokens("O") | {"label": "a"}, tokens("O") | {"label": "b"}, False, (("a", "b"),)),
        ({"text": "eins", "score": -0.1}, {"text": "eins", "score": -0.3}, True, ()),
        ({"text": "eins"}, {"text": "zwei"}, False, ()),
        ({"forecast": [[100.0], [200.0]]}, {"forecast": [[100.1], [200.1]]}, True, ()),
        ({"forecast": [[100.0], [200.0]]}, {"forecast": [[150.0], [200.0]]}, False, ()),
        ({"forecast": [[1.0]]}, {"forecast": []}, False, ()),
        ({"forecast": [[0.0]]}, {"forecast": [[0.0]]}, True, ()),
        ({"outputs": {"y": [[1.0]], "z": 2}}, {"outputs": {"y": [[1.001]], "z": 2}}, True, ()),
        ({"outputs": {"y": [[1.0]], "z": 2}}, {"outputs": {"y": [[1.0]], "z": 3}}, False, ()),
        ({"outputs": {"y": [[1.0]]}}, {"outputs": {"z": [[1.0]]}}, False, ()),
        ({"generated_text": "a"}, {"generated_text": "a"}, True, ()),
        ({"generated_text": "a"}, {"generated_text": "b"}, False, ()),
        ({"label": "a", "score": 0.9}, tokens("O"), False, (("a", "None"),)),
        (tree((1, "det"), (None, "root")), tree((1, "det"), (None, "root")), True, ()),
        (tree((1, "det"), (None, "root")), tree((1, "obj"), (None, "root")), False, ()),
        (tree((1, "det"), (None, "root")), tree((None, "root"), (0, "det")), False, ()),
        (tokens("O"), {"label": "a", "score": 0.9}, False, (("None", "a"),)),
    ],
)
def test_answers_are_compared(
    answer: dict[str, Any], candidate: dict[str, Any], agrees: bool, differences: tuple[tuple[str, str], ...]
) -> None:
    found = compare(answer, candidate)
    assert (found.agrees, found.differences) == (agrees, differences)


def test_the_distance_is_that_of_the_scores() -> None:
    found = compare({"label": "a", "score": 0.9}, {"label": "b", "score": 0.4})
    assert found.score_distance == pytest.approx(0.5)
    assert compare({"text": "x"}, {"text": "x"}).score_distance is None


def test_pairs_of_labels_beyond_a_thousand_are_counted_together() -> None:
    tally = ShadowTally("1", "2")
    for number in range(1500):
        tally.add(Comparison(False, None, ((f"label {number}", "other"),)))
    assert len(tally.differences) <= 1001
    assert sum(tally.differences.values()) == 1500
    assert len(tally.report().differences) == 50
