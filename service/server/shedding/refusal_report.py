"""What metrics and log say about refusals. A few have a log line each, all others of a second one together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from service.observability.json_logs import log_request
from service.observability.metrics import NO_MODEL, Metrics
from service.observability.scrape.loop_metrics import LoopObservations
from service.server.shedding.encoded_refusal import Told

logger = logging.getLogger("service.requests")

#: A flood must not cost a log line for each request: of each period so many have one.
PERIOD_S = 0.25
TOLD_AT_ONCE = 8


class Model(NamedTuple):
    """A version of a model."""

    model: str
    version: str
    task: str


class Refused:
    """Refusals that are counted together. `key` is the name of an API key."""

    __slots__ = ("_counts", "key", "model", "num_untold", "protocol", "route", "told")

    def __init__(self, protocol: str, route: str, told: Told, model: Model | None = None, key: str = "") -> None:
        self.protocol, self.route, self.told, self.model, self.key = protocol, route, told, model, key
        self.num_untold = 0
        self._counts: Sequence[Callable[[float], None]] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a log line."""
        key = {"key": self.key} if self.key else {}
        model = {} if self.model is None else self.model._asdict()
        return {"method": "POST", "route": self.route, **key, **model, **self.told._asdict()}

    def count(self, metrics: Metrics, number: int) -> None:
        """Count so many of them in the metrics, as `RequestScope` counts requests."""
        for count in self._counts or self._found(metrics):
            count(number)

    def _found(self, metrics: Metrics) -> Sequence[Callable[[float], None]]:
        told = self.told
        if self.model is None:
            name = task = NO_MODEL
            by_version = []
        else:
            name, version, task = self.model
            by_version = [metrics.version_requests.labels(name, version, told.outcome).inc]
        duration = metrics.request_duration.labels(name, task)
        self._counts = (
            metrics.requests.labels(name, task, told.outcome).inc,
            metrics.protocol_requests.labels(self.protocol, told.outcome).inc,
            metrics.rejections.labels(told.rejection).inc,
            *([] if self.is_silent else [lambda number: _observe_none(duration, int(number))]),
            *by_version,
        )
        return self._counts

    @property
    def is_silent(self) -> bool:
        """Whether nothing is logged: what is beyond the limit of open requests has no route yet."""
        return not self.route


class RefusalReport:
    """Counts refusals, and writes their log lines. Use it in the event loop.

    Of each period a few are told at once. The others cost an addition each, and are told at its end.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._num_told = 0
        self._untold: list[Refused] = []
        self._timer: asyncio.TimerHandle | None = None

    def has_room(self) -> bool:
        """Whether one more refusal of this period is told at once."""
        return self._num_told < TOLD_AT_ONCE

    def tell(self, refused: Refused, request_id: str, client: str) -> None:
        """Tell of one refusal."""
        self._begin_period()
        self._num_told += 1
        refused.count(self._metrics, 1)
        if not refused.is_silent:
            log_request(logger, logging.INFO, {"request_id": request_id, **refused.fields, "client": client})

    def add(self, refused: Refused) -> None:
        """One that is told together with others."""
        if not refused.num_untold:
            self._begin_period()
            self._untold.append(refused)
        refused.num_untold += 1

    def _begin_period(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._end_period)

    def _end_period(self) -> None:
        self._timer, self._num_told = None, 0
        untold, self._untold = self._untold, []
        for refused in untold:
            number, refused.num_untold = refused.num_untold, 0
            refused.count(self._metrics, number)
            if not refused.is_silent:
                log_request(logger, logging.INFO, {**refused.fields, "num_requests": number})


def _observe_none(duration: LoopObservations, number: int) -> None:
    """Refusals take no time that could be measured."""
    for _ in range(number):
        duration.observe(0.0)
