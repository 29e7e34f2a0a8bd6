"""Runners that raise, delay or return non-finite numbers at random, with a record of the affected requests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import InferenceFailed
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Array, Runner

_RAISES, _SPOILS, _DAWDLES = 0.04, 0.03, 0.01
_DAWDLE_S = 0.003
#: Inputs with one id, or one sequence of ids, per row.
_IDS = ("words", "tokens", "token")
#: Outputs with one answer per row.
_SCORES = ("emissions", "logits")


@dataclass(frozen=True)
class Fate:
    """The outcome of one run; the outputs of `spoilt_row` are not finite."""

    graph: str
    num_rows: int
    raised: bool = False
    spoilt_row: int | None = None


class FaultyRunner:
    """Injects faults into a runner. Thread-safe; `fate` is that of the calling thread's last run."""

    def __init__(self, runner: Runner, seed: int, raises: Sequence[type[Exception]] = (InferenceFailed,)) -> None:
        self.num_empty_runs = 0
        self._runner = runner
        self._raises = raises
        self._chance = random.Random(seed)
        self._here = threading.local()

    @property
    def fate(self) -> Fate | None:
        """The outcome of this thread's last run since `forget`."""
        fate: Fate | None = getattr(self._here, "fate", None)
        return fate

    def forget(self) -> None:
        self._here.fate = None

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        num_rows = next(len(feeds[name]) for name in _IDS if name in feeds)
        self.num_empty_runs += num_rows == 0
        mood = self._chance.random()
        self._here.fate = Fate(graph, num_rows, raised=mood < _RAISES)
        if mood > 1 - _DAWDLES:
            time.sleep(_DAWDLE_S)
        if mood < _RAISES:
            raise self._chance.choice(self._raises)("by chance")
        outputs = self._runner.run(graph, feeds)
        return self._spoilt(graph, outputs, num_rows) if mood < _RAISES + _SPOILS else outputs

    def _spoilt(self, graph: str, outputs: dict[str, Array], num_rows: int) -> dict[str, Array]:
        row = self._chance.randrange(num_rows)
        self._here.fate = Fate(graph, num_rows, spoilt_row=row)
        spoilt = {name: array.copy() for name, array in outputs.items() if name in _SCORES}
        for array in spoilt.values():
            array[row] = self._chance.choice([np.nan, np.inf, -np.inf])
        return outputs | spoilt


@dataclass(eq=False)
class Seat:
    """One example in a batcher."""

    example: Any
    is_doomed: bool = False

    @property
    def length(self) -> int:
        return int(self.example.length)


class SeatedRun:
    """The `run` of a batcher: a task's `run` over a faulty runner, with the seats as its rows."""

    def __init__(self, run: Callable[[Runner, Sequence[Any]], Sequence[Any]], runner: FaultyRunner) -> None:
        self._run = run
        self._runner = runner

    def __call__(self, seats: Sequence[Seat]) -> Sequence[Any]:
        self._runner.forget()
        try:
            return self._run(self._runner, [seat.example for seat in seats])
        finally:
            fate = self._runner.fate
            for row, seat in enumerate(seats):
                seat.is_doomed |= fate is not None and (fate.raised or fate.spoilt_row == row)


class WatchedBatch:
    """A `StepBatch` over a faulty runner that records the requests that faults have ended, and unexpected failures."""

    def __init__(self, batch: Any, runner: FaultyRunner, doomed: dict[int, Any], mistakes: list[str]) -> None:
        self._batch = batch
        self._runner = runner
        self._doomed = doomed
        self._mistakes = mistakes

    @property
    def num_rows(self) -> int:
        return int(self._batch.num_rows)

    @property
    def is_idle(self) -> bool:
        return bool(self._batch.is_idle)

    def join(self, requests: Sequence[Any]) -> None:
        self._batch.join(requests)

    def leave(self, requests: Iterable[Any]) -> None:
        self._batch.leave(requests)

    def clear(self) -> list[Any]:
        self._mistakes.append("the batch itself broke")
        return list(self._batch.clear())

    def advance(self, runner: Runner) -> list[Outcome[Any]]:
        self._runner.forget()
        outcomes: list[Outcome[Any]] = self._batch.advance(runner)
        failed = [outcome.request for outcome in outcomes if outcome.error is not None]
        self._doomed |= {id(request): request for request in failed}
        if problem := _problem(self._runner.fate, failed):
            self._mistakes.append(problem)
        return outcomes


def _problem(fate: Fate | None, failed: Sequence[Any]) -> str:
    """Describe a failure that exceeds its run or row, else return an empty string; beams share a request."""
    if fate is None:
        return "" if not failed else "requests failed without a run"
    least, most = 0, 0
    if fate.raised:
        least, most = 1, fate.num_rows
        if all(request.num_rows == 1 for request in failed) or fate.graph == "encoder":
            least = most
    elif fate.spoilt_row is not None:
        most = 1
    return "" if least <= len(failed) <= most else f"{len(failed)} requests failed, {least} to {most} were met: {fate}"
