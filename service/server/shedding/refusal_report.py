"""What metrics and log say about refusals. A few have a log line each, all others of a second one together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from service.api.request_scope import TOO_MANY_OPEN
from service.observability.json_logs import log_request
from service.observability.metrics import NO_MODEL, Metrics
from service.server.shedding.encoded_refusal import Told

logger = logging.getLogger("service.requests")

#: Refusals of a second that have a line each: a flood must not cost a line for each request.
LOGGED_EACH_SECOND = 20
_SECOND_S = 1.0

_Counts = tuple[Callable[[], None], ...]


class Model(NamedTuple):
    """A version of a model."""

    model: str
    version: str
    task: str


class Refused(NamedTuple):
    """What refusals have in common that are counted together. `key` is the name of an API key."""

    protocol: str
    route: str
    told: Told
    model: Model | None = None
    key: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a log line."""
        key = {"key": self.key} if self.key else {}
        model = {} if self.model is None else self.model._asdict()
        return {"method": "POST", "route": self.route, **key, **model, **self.told._asdict()}


class RefusalCounts:
    """Counts refusals in the metrics, as `RequestScope` counts requests."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._found: dict[Refused, _Counts] = {}
        self._too_many: dict[str, _Counts] = {}

    def add(self, refused: Refused) -> None:
        found = self._found.get(refused)
        if found is None:
            found = self._found[refused] = self._find(refused)
        for count in found:
            count()

    def add_too_many(self, protocol: str) -> None:
        """One beyond the limit of open requests, whose body was not looked at."""
        found = self._too_many.get(protocol)
        if found is None:
            metrics, outcome = self._metrics, TOO_MANY_OPEN.error_type
            found = self._too_many[protocol] = (
                metrics.requests.labels(NO_MODEL, NO_MODEL, outcome).inc,
                metrics.protocol_requests.labels(protocol, outcome).inc,
                metrics.rejections.labels("too_many_open").inc,
            )
        for count in found:
            count()

    def _find(self, refused: Refused) -> _Counts:
        metrics, told = self._metrics, refused.told
        name, version, task = refused.model or (NO_MODEL, "", NO_MODEL)
        duration = metrics.request_duration.labels(name, task)
        by_version = (metrics.version_requests.labels(name, version, told.outcome).inc,) if version else ()
        return (
            metrics.requests.labels(name, task, told.outcome).inc,
            metrics.protocol_requests.labels(refused.protocol, told.outcome).inc,
            metrics.rejections.labels(told.rejection).inc,
            lambda: duration.observe(0.0),
            *by_version,
        )


class RefusalLog:
    """Writes log lines. Use it in the event loop."""

    def __init__(self) -> None:
        self._num_written = 0
        self._others: Counter[Refused] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def has_room(self) -> bool:
        """Whether one more refusal of this second gets a line of its own."""
        return self._num_written < LOGGED_EACH_SECOND

    def write(self, refused: Refused, request_id: str, client: str) -> None:
        """A line for one refusal."""
        self._begin_second()
        self._num_written += 1
        log_request(logger, logging.INFO, {"request_id": request_id, **refused.fields, "client": client})

    def count(self, refused: Refused) -> None:
        """One that is told together with others."""
        self._begin_second()
        self._others[refused] += 1

    def _begin_second(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECOND_S, self._end_second)

    def _end_second(self) -> None:
        self._timer, self._num_written = None, 0
        others, self._others = self._others, Counter()
        for refused, num_requests in others.items():
            log_request(logger, logging.INFO, {**refused.fields, "num_requests": num_requests})
