"""Steps of the verification, and the loop that runs and reports them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deploy.verify.stack import Stack

_TITLE_WIDTH = 62

Found = TypeVar("Found")


class CheckFailed(Exception):
    """A check failed. The message has the found and the expected state."""


@dataclass(frozen=True)
class Step:
    """A check. `run` returns a remark for the output. The rest is skipped if a vital one fails."""

    title: str
    run: Callable[[Stack], str]
    is_vital: bool = False


def run_steps(steps: Sequence[Step], stack: Stack) -> bool:
    """Run the steps in order and print a line for each. Returns whether all passed."""
    began_s = time.monotonic()
    failed: list[str] = []
    for number, step in enumerate(steps, start=1):
        if _run_one(step, stack):
            continue
        failed.append(step.title)
        if step.is_vital:
            print(f"the other {len(steps) - number} steps need this one, so they are left out")
            break
    print(_summary(len(steps), failed, time.monotonic() - began_s), flush=True)
    return not failed


def _run_one(step: Step, stack: Stack) -> bool:
    print(f"{step.title:.<{_TITLE_WIDTH}} ", end="", flush=True)
    began_s = time.monotonic()
    try:
        remark, is_ok = step.run(stack), True
    except (CheckFailed, OSError) as error:
        remark, is_ok = str(error), False
    print(f"{time.monotonic() - began_s:6.1f} s  {'ok    ' if is_ok else 'FAILED'}  {remark}", flush=True)
    return is_ok


def _summary(num_steps: int, failed: list[str], seconds: float) -> str:
    if not failed:
        return f"\nall {num_steps} steps ok in {seconds:.0f} s"
    return f"\nFAILED after {seconds:.0f} s: {'; '.join(failed)}"


def wait_for(find: Callable[[], Found | None], limit_s: float, otherwise: str, pause_s: float = 0.25) -> Found:
    """Poll until there is a result. Raises CheckFailed with `otherwise` at the deadline."""
    give_up_s = time.monotonic() + limit_s
    while (found := find()) is None:
        if time.monotonic() > give_up_s:
            raise CheckFailed(f"{otherwise} within {limit_s:.0f} s")
        time.sleep(pause_s)
    return found
