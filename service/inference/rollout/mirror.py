"""The mirror: repeats answered requests on a candidate version, off their callers' way.

A request is offered when its answer is there. Few wait, one is repeated at a time and behind everybody else
(`fair_share.BACKGROUND`); what finds no place is dropped and counted. Nobody waits for the mirror.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from service.errors import DeadlineExceeded, Overloaded, UnrollError
from service.inference.rollout.comparison import compare
from service.inference.rollout.shadow_report import ShadowTally
from service.observability.metrics import Metrics

logger = logging.getLogger(__name__)

_MAX_WAITING = 64
#: Of all that waits, in characters of input, as `effort_of` counts them.
_MAX_WAITING_CHARACTERS = 4_000_000
_MAX_LOGGED_CHARACTERS = 200
#: A repetition that takes longer is given up.
_TIMEOUT_S = 30.0


class Answered(NamedTuple):
    """The answers to one request, one for each input, and the time in the graph."""

    answers: Sequence[Any]
    run_ms: float


class Repetition(NamedTuple):
    """One request to be repeated.

    Attributes:
        inputs: one text for each input, to be shown where texts may be logged.
        effort: how much it holds, in characters.
        repeat: asks the candidate; gets the deadline on `time.monotonic()`'s clock.
    """

    model: str
    tally: ShadowTally
    answered: Answered
    inputs: Sequence[str]
    effort: int
    repeat: Callable[[float], Awaitable[Answered]]


class Mirror:
    """The queue of repetitions. Use it in one event loop."""

    def __init__(self, metrics: Metrics, keeps_texts: bool = False) -> None:
        """`keeps_texts`: inputs that are answered differently may be logged and reported."""
        self._metrics = metrics
        self._keeps_texts = keeps_texts
        self._waiting: deque[Repetition] = deque()
        self._num_characters = 0
        self._working: asyncio.Task[None] | None = None

    def offer(self, repetition: Repetition) -> None:
        """Repeat it when nobody else needs the lanes, or drop it."""
        num_characters = self._num_characters + repetition.effort
        if len(self._waiting) >= _MAX_WAITING or num_characters > _MAX_WAITING_CHARACTERS:
            repetition.tally.num_dropped += 1
            self._count(repetition, "dropped")
            return
        self._waiting.append(repetition)
        self._num_characters = num_characters
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="shadow-traffic")

    async def close(self) -> None:
        """Repeat nothing more."""
        self._waiting.clear()
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])

    async def _work(self) -> None:
        while self._waiting:
            repetition = self._waiting.popleft()
            self._num_characters -= repetition.effort
            try:
                await self._repeat(repetition)
            except Exception:  # of one repetition, whatever it is
                logger.exception("shadow traffic failed", extra={"model": repetition.model})

    async def _repeat(self, repetition: Repetition) -> None:
        tally = repetition.tally
        try:
            found = await repetition.repeat(time.monotonic() + _TIMEOUT_S)
        except (DeadlineExceeded, Overloaded):  # there was no time left for it
            tally.num_dropped += 1
            self._count(repetition, "dropped")
            return
        except UnrollError as error:
            tally.num_failed += 1
            tally.errors[type(error).__name__] += 1
            self._count(repetition, "failed")
            return
        tally.add_durations(repetition.answered.run_ms, found.run_ms)
        self._metrics.shadow_run_duration.labels(repetition.model, "answer").observe(repetition.answered.run_ms / 1000)
        self._metrics.shadow_run_duration.labels(repetition.model, "candidate").observe(found.run_ms / 1000)
        for text, ours, theirs in zip(repetition.inputs, repetition.answered.answers, found.answers, strict=True):
            self._compare(repetition, text, ours, theirs)

    def _compare(self, repetition: Repetition, text: str, ours: Any, theirs: Any) -> None:
        comparison, tally = compare(ours, theirs), repetition.tally
        example = {"inputs": text[:_MAX_LOGGED_CHARACTERS], "answer": ours, "candidate": theirs}
        tally.add(comparison, example if self._keeps_texts else None)
        self._count(repetition, "agreed" if comparison.agrees else "differed")
        if comparison.score_distance is not None:
            self._metrics.shadow_score_distance.labels(repetition.model).observe(comparison.score_distance)
        if self._keeps_texts and not comparison.agrees:
            logger.info("shadow differs", extra={"model": repetition.model, "candidate": tally.candidate, **example})

    def _count(self, repetition: Repetition, outcome: str) -> None:
        self._metrics.shadow_answers.labels(repetition.model, outcome).inc()
