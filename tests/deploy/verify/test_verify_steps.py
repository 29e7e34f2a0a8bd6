"""`make verify-deploy` reports which steps passed and failed, and respects its timeouts."""

from __future__ import annotations

from typing import cast

import pytest

from deploy.verify.stack import Stack
from deploy.verify.steps import CheckFailed, Step, run_steps, wait_for

NO_STACK = cast(Stack, None)


def holds(stack: Stack) -> str:
    return "as it should be"


def fails(stack: Stack) -> str:
    raise CheckFailed("found 1, wanted 2")


def breaks(stack: Stack) -> str:
    raise ConnectionRefusedError("no one there")


def test_all_steps_that_hold_make_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_steps([Step("one", holds), Step("two", holds)], NO_STACK)
    assert "all 2 steps ok" in capsys.readouterr().out


@pytest.mark.parametrize("run", [fails, breaks])
def test_after_a_fault_the_other_steps_still_run(capsys: pytest.CaptureFixture[str], run: object) -> None:
    steps = [Step("one", run), Step("two", holds)]  # type: ignore[arg-type]
    assert not run_steps(steps, NO_STACK)
    written = capsys.readouterr().out
    assert "as it should be" in written
    assert "FAILED" in written.splitlines()[0]
    assert written.strip().endswith("s: one")


def test_after_the_fault_of_a_vital_step_no_other_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert not run_steps([Step("one", fails, is_vital=True), Step("two", holds)], NO_STACK)
    written = capsys.readouterr().out
    assert "found 1, wanted 2" in written
    assert "as it should be" not in written


def test_waiting_ends_with_the_first_answer() -> None:
    answers = iter([None, None, 7])
    assert wait_for(lambda: next(answers), 10, "nothing came", pause_s=0) == 7


def test_waiting_ends_when_time_is_up() -> None:
    with pytest.raises(CheckFailed, match="nothing came within 0 s"):
        wait_for(lambda: None, 0, "nothing came", pause_s=0)
