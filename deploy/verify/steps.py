"""What a check is, and the loop that runs all of them and tells how each went."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deploy.verify.stack import Stack

_TITLE_WIDTH = 62

Found = TypeVar("Found")


class CheckFailed(Exception):
    """Something is not as it should be; the message says what was found and what was wanted."""


@dataclass(frozen=True)
class Step:
    """One check. `run` returns a remark for its line. Without a `vital` one the rest makes no sense."""

    title: str
    run: Callable[[Stack], str]
    is_vital: bool = False


def run_steps(steps: Sequence[Step], stack: Stack) -> bool:
    """Run them in order and print a line for each; whether all of them held."""
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
    """Ask until there is an answer. Raises CheckFailed with `otherwise` when time is up."""
    give_up_s = time.monotonic() + limit_s
    while (found := find()) is None:
        if time.monotonic() > give_up_s:
            raise CheckFailed(f"{otherwise} within {limit_s:.0f} s")
        time.sleep(pause_s)
    return found
