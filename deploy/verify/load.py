"""Load generator that records the outcome of each request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from deploy.verify.http_client import Cut, HttpClient, Refused
from deploy.verify.traffic import first_example

_NUM_CALLERS = 8
_NUM_STREAMS = 4
_STREAM_TOKENS = 400
_WARM_REQUESTS = 50


class LoadReport:
    """Outcomes of all requests.

    A request is lost if its response was cut off, or if it was sent before the shutdown and got no response. After the
    shutdown a client may be refused, and stops.
    """

    def __init__(self) -> None:
        self.num_answered = 0
        self.num_streams = 0
        self.num_answered_late = 0
        self.lost: list[str] = []
        self.refused_ids: list[str] = []
        self._stop_s: float | None = None
        self._lock = threading.Lock()

    @property
    def has_warmed_up(self) -> bool:
        return self.num_answered >= _WARM_REQUESTS and self.num_streams >= _NUM_STREAMS

    def note_stop(self) -> None:
        """Record the time of the shutdown."""
        self._stop_s = time.monotonic()

    def answered(self, is_stream: bool) -> None:
        """Record a complete response."""
        with self._lock:
            self.num_streams += is_stream
            self.num_answered += not is_stream
            self.num_answered_late += self._stop_s is not None

    def failed(self, name: str, sent_s: float, reason: OSError) -> None:
        """Record a request without a complete response."""
        with self._lock:
            was_before = self._stop_s is None or sent_s < self._stop_s
            if was_before or not _is_clean(reason):
                self.lost.append(f"{name}: {reason}")
            else:
                self.refused_ids.append(name)

    def progress(self) -> str:
        """What has been answered and what has not."""
        lost = f"; lost: {self.lost[0]}" if self.lost else ""
        return f"{self.num_answered} requests and {self.num_streams} streams answered{lost}"

    def summary(self) -> str:
        """Summary for the output."""
        return (
            f"{self.num_answered} requests and {self.num_streams} streams answered, {self.num_answered_late} of them "
            f"after the stop was asked for; then {len(self.refused_ids)} callers refused; none lost"
        )


def _is_clean(reason: OSError) -> bool:
    """No connection, a connection closed without a response, or the status of a draining service."""
    if isinstance(reason, Refused):
        return reason.status == 503
    return isinstance(reason, ConnectionError) and not isinstance(reason, Cut)


@contextmanager
def load(service: HttpClient, models: list[dict[str, Any]]) -> Iterator[LoadReport]:
    """Run clients until each has been refused once; the block stops the service."""
    report = LoadReport()
    names = (f"verify-{number}" for number in count())
    readers = [model for model in models if model["task"] != "generation"]
    writers = [model for model in models if model["task"] == "generation"]
    callers = [_Caller(service, report, names, readers[i % len(readers)]) for i in range(_NUM_CALLERS)]
    callers += [_Caller(service, report, names, writers[i % len(writers)]) for i in range(_NUM_STREAMS)]
    for caller in callers:
        caller.start()
    try:
        yield report
    finally:
        for caller in callers:
            caller.is_over.set()
        for caller in callers:
            caller.join()


class _Caller(threading.Thread):
    """Client that repeats requests to a model until it is refused."""

    def __init__(self, service: HttpClient, report: LoadReport, names: Iterator[str], model: dict[str, Any]) -> None:
        super().__init__(name=f"caller of {model['name']}")
        self.is_over = threading.Event()
        self._service = service
        self._report = report
        self._names = names
        self._model = model

    def run(self) -> None:
        is_stream = self._model["task"] == "generation"
        ask = self._stream if is_stream else self._predict
        while not self.is_over.is_set():
            name, sent_s = next(self._names), time.monotonic()
            try:
                ask(name)
            except OSError as error:
                self._report.failed(name, sent_s, error)
                return
            self._report.answered(is_stream)

    def _predict(self, name: str) -> None:
        """Send a request. Raises OSError unless the response is complete."""
        inputs = first_example(self._model["name"], self._model["version"])["inputs"]
        body = {"model": self._model["name"], "inputs": inputs}
        answer = self._service.post("/predict", body, {"X-Request-Id": name})
        if answer.status != 200:
            raise Refused(answer)

    def _stream(self, name: str) -> None:
        """Read a stream. Raises OSError unless it is complete."""
        body = {"model": self._model["name"], "inputs": "ROMEO:", "parameters": {"max_new_tokens": _STREAM_TOKENS}}
        events = list(self._service.events("/generate_stream", body, {"X-Request-Id": name}))
        if not events or not events[-1].get("generated_text"):
            raise Cut(f"the stream ended without its text, after {len(events)} events")
