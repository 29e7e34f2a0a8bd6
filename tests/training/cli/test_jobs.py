"""Processes that share the work of a command: their lines are told apart, and their failures end it."""

from __future__ import annotations

import pytest

from training.cli.jobs import JobsFailed, run_jobs


def test_lines_are_numbered_and_failures_counted() -> None:
    """What each process says comes with its number, and the error names those that failed."""
    said: list[str] = []
    with pytest.raises(JobsFailed, match=r"of 2 processes, 1, 2 failed"):
        run_jobs(2, ["verify", "no-such-bundle"], said.append)
    assert {line[:4] for line in said if "no model 'no-such-bundle'" in line} == {"[1] ", "[2] "}
