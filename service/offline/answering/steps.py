"""Continuous batching offline: requests that run in steps join one batch as rows become free, and run to their end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from service.errors import UnrollError
from service.tasks.core.step_batch import RequestT, StepBatch
from service.tasks.core.task import Runner

#: Rows that are stepped together.
MAX_LIVE_ROWS = 64


def run_to_end(
    batch: StepBatch[RequestT], runner: Runner, requests: Sequence[RequestT], max_rows: int = MAX_LIVE_ROWS
) -> list[Any | UnrollError]:
    """The last product of each request, or the error that ended it, in order. `batch` is empty before and after."""
    waiting = deque(sorted(requests, key=lambda request: request.length))
    found: dict[int, Any | UnrollError] = {}
    while waiting or not batch.is_idle:
        batch.join(_joining(waiting, max_rows - batch.num_rows, batch.is_idle))
        for outcome in batch.advance(runner):
            if outcome.finished:
                found[id(outcome.request)] = outcome.product if outcome.error is None else outcome.error
    return [found[id(request)] for request in requests]


def _joining(waiting: deque[RequestT], num_free: int, is_idle: bool) -> list[RequestT]:
    """Those that the free rows are enough for; at least one where nothing runs."""
    joining: list[RequestT] = []
    while waiting and (waiting[0].num_rows <= num_free or (is_idle and not joining)):
        num_free -= waiting[0].num_rows
        joining.append(waiting.popleft())
    return joining
