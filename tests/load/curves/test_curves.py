"""The cost curves of sessions and of vocabularies are measured, tabled and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.curves.kept import sessions
from tests.load.curves.point import Point
from tests.load.curves.report import draw, tables
from tests.load.curves.served import vocabularies


def test_the_sessions_of_both_stores_are_used_and_listed_at_each_size() -> None:
    """Two sizes, two stores, and two questions of each, in order, with the memory where it is asked."""
    points = list(sessions((10, 20)))
    assert [point.size for point in points] == [10, 10, 20, 20] * 2
    assert {point.what.split(",")[0] for point in points} == {"use a session", "list an owner's"}
    assert all(point.memory_mb > 0 for point in points if point.what.startswith("use"))


@pytest.mark.slow
def test_a_model_of_each_vocabulary_is_served_and_asked() -> None:
    """A start and a request of both models: CPU time of the server's process, and its memory after the start."""
    points = list(vocabularies((50,)))
    assert [point.what for point in points] == [
        "start, tag 20 words", "tag 20 words", "start, write 20 words", "write 20 words",
    ]  # fmt: skip
    assert all(point.seconds > 0 for point in points)
    assert all(point.memory_mb > 10 for point in points if point.what.startswith("start"))


def test_a_report_has_a_table_for_each_group_and_a_picture(tmp_path: Path) -> None:
    groups = {"length": [Point("tag", 10, 0.002, 120.0), Point("tag", 1_000, 0.03)]}
    draw(groups, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    text = tables(groups, {"cores": "2"}, "python -m tests.load.curves")
    assert "| tag | 10 | 2 ms | 200 µs | 120 MB |" in text
    assert "| tag | 1,000 | 30 ms | 30 µs |  |" in text
