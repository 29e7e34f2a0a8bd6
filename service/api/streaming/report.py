"""What metrics and the log say about streams: each piece as a request, each connection by its messages and its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.api.error_table import status_and_type
from service.api.request_record import RequestRecord
from service.api.request_report import log_fields
from service.api.streaming.channel import DIRECTIONS, Channel, Direction, Left
from service.api.streaming.close_codes import label_of
from service.errors import Overloaded, UnrollError
from service.observability.json_logs import log_request
from service.observability.metrics import Metrics

logger = logging.getLogger("service.requests")

#: The label of streams among the protocols.
NAME = "websocket"


class StreamReports:
    """Counts all streams of a service.

    Attributes:
        num_busy: streams of which a piece is being answered.
    """

    def __init__(self, metrics: Metrics, has_room: Callable[[], bool]) -> None:
        """`has_room` says whether one more request may be answered now."""
        self.num_busy = 0
        self._num_open = 0
        self._has_room = has_room
        self._metrics = metrics
        self._messages = {direction: metrics.stream_messages.labels(NAME, direction) for direction in DIRECTIONS}
        metrics.stream_connections.labels(NAME).set_function(lambda: self._num_open)

    @contextmanager
    def piece(self, record: RequestRecord, *, is_request: bool = True) -> Iterator[None]:
        """Around the answer to one piece, which counts as a request of the model, and of its API key with `is_request`.

        Raises Overloaded, RateLimited.
        """
        started_s = time.monotonic()
        outcome = "internal"
        self.num_busy += 1
        try:
            if not self._has_room():
                self._metrics.rejections.labels("too_many_open").inc()
                raise Overloaded("too many requests are being answered at this moment")
            if is_request and record.caller is not None:
                record.caller.take_request()
            yield
            outcome = "ok"
        except UnrollError as error:
            outcome = status_and_type(error)[1]
            raise
        except (Left, asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            self.num_busy -= 1
            self._count(record, outcome, time.monotonic() - started_s)

    @contextmanager
    def connection(self, record: RequestRecord, channel: Channel) -> Iterator[None]:
        """Around one connection from its handshake to its end, which has one line in the log."""
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1
            duration_s = time.monotonic() - record.started_s
            self._metrics.stream_duration.labels(NAME).observe(duration_s)
            self._metrics.stream_closes.labels(NAME, label_of(channel.close_code)).inc()
            counts = {f"messages_{direction}": channel.num_messages[direction] for direction in DIRECTIONS}
            fields = log_fields(record, "GET", duration_s) | counts | {"close_code": channel.close_code}
            log_request(logger, logging.INFO, fields)

    def count_message(self, direction: Direction) -> None:
        """A message has come in or gone out."""
        self._messages[direction].inc()

    def refused(self, record: RequestRecord) -> None:
        """A handshake that was answered with an error."""
        self._count(record, record.outcome, time.monotonic() - record.started_s)
        log_request(logger, logging.INFO, log_fields(record, "GET", time.monotonic() - record.started_s))

    def _count(self, record: RequestRecord, outcome: str, duration_s: float) -> None:
        metrics = self._metrics
        metrics.requests.labels(record.model, record.task, outcome).inc()
        metrics.protocol_requests.labels(NAME, outcome).inc()
        metrics.request_duration.labels(record.model, record.task).observe(duration_s, record.exemplar)
