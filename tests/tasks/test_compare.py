"""Comparison of answers: exact, except for a tolerance on numbers."""

from __future__ import annotations

from typing import Any

import pytest

from service.tasks.recorded import differences


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": [1, "x", None, True]}, {"a": [1, "x", None, True]}),
        (0.5, 0.5009),
        (1000.0, 1000.9),  # the tolerance is relative to the number
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1.0, 1),
    ],
)
def test_these_agree(expected: Any, actual: Any) -> None:
    assert differences(expected, actual, tolerance=1e-3) == []


@pytest.mark.parametrize(
    ("expected", "actual", "line"),
    [
        ({"a": {"b": [0.5]}}, {"a": {"b": [0.6]}}, "answer.a.b[0]: expected 0.5, found 0.6"),
        ("NOUN", "VERB", "answer: expected 'NOUN', found 'VERB'"),
        ([1, 2], [1], "answer: expected 2 items, found 1"),
        ({"a": 1}, {}, "answer.a: expected 1, found nothing"),
        ({}, {"a": 1}, "answer.a: expected nothing, found 1"),
        (1000, 1001, "answer: expected 1000, found 1001"),
        (True, 1, "answer: expected True, found 1"),
        (None, 0.0, "answer: expected None, found 0.0"),
        ([], {}, "answer: expected [], found {}"),
        (float("nan"), float("nan"), "answer: expected nan, found nan"),
    ],
)
def test_these_differ(expected: Any, actual: Any, line: str) -> None:
    assert differences(expected, actual, tolerance=1e-3) == [line]


def test_every_difference_is_listed() -> None:
    """Every difference is reported on a line of its own."""
    assert len(differences({"a": [1, 2], "b": "x"}, {"a": [3, 4], "b": "y"}, tolerance=0.0)) == 3
