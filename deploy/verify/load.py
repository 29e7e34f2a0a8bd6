"""Callers that do not let up, and a book of what became of each request."""

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
    """What became of each request. A request is lost if its answer broke off, or if it was sent before the stop was
    asked for and did not get its answer; from then on a caller may be refused, and stops asking."""

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
        """Now the service is told to stop."""
        self._stop_s = time.monotonic()

    def answered(self, is_stream: bool) -> None:
        """A request got its whole answer."""
        with self._lock:
            self.num_streams += is_stream
            self.num_answered += not is_stream
            self.num_answered_late += self._stop_s is not None

    def failed(self, name: str, sent_s: float, reason: OSError) -> None:
        """A request got no answer, or a refusal, or a part of an answer."""
        with self._lock:
            was_before = self._stop_s is None or sent_s < self._stop_s
            if was_before or not _is_clean(reason):
                self.lost.append(f"{name}: {reason}")
            else:
                self.refused_ids.append(name)

    def summary(self) -> str:
        """For the step's line."""
        return (
            f"{self.num_answered} requests and {self.num_streams} streams answered, {self.num_answered_late} of them "
            f"after the stop was asked for; then {len(self.refused_ids)} callers refused; none lost"
        )


def _is_clean(reason: OSError) -> bool:
    """No connection, a connection closed unanswered, or the status that says that the service is stopping."""
    if isinstance(reason, Refused):
        return reason.status == 503
    return isinstance(reason, ConnectionError) and not isinstance(reason, Cut)


@contextmanager
def load(service: HttpClient, models: list[dict[str, Any]]) -> Iterator[LoadReport]:
    """Callers that ask until each has been refused once; the block stops the service."""
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
    """Asks one model again and again, until it is refused."""

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
        """Raises OSError unless the answer is a whole one."""
        inputs = first_example(self._model["name"], self._model["version"])["inputs"]
        body = {"model": self._model["name"], "inputs": inputs}
        answer = self._service.post("/predict", body, {"X-Request-Id": name})
        if answer.status != 200:
            raise Refused(answer)

    def _stream(self, name: str) -> None:
        """Raises OSError unless the stream comes to its end."""
        body = {"model": self._model["name"], "inputs": "ROMEO:", "parameters": {"max_new_tokens": _STREAM_TOKENS}}
        events = list(self._service.events("/generate_stream", body, {"X-Request-Id": name}))
        if not events or not events[-1].get("generated_text"):
            raise Cut(f"the stream ended without its text, after {len(events)} events")
