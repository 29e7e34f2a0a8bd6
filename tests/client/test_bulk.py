"""Bulk calls: any number of inputs in order, in bounded memory, past refusals and busy servers."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.client import (
    BulkProgress,
    Classification,
    ConnectionFailed,
    Frames,
    InferenceFailed,
    InvalidInput,
    TimedOut,
    UnknownModel,
)
from service.client.bulk import BATCH_CHARACTERS, batches
from tests.client.conftest import Connect, noted_pauses
from tests.client.scripted_server import http, scripted

BUSY = http(429, {"error": "no more", "error_type": "rate_limited"}, retry_after="2")
FAILED = http(500, {"error": "step failed", "error_type": "inference_failed"})


def answer_to_each(refuse: Callable[[Any], bool] = lambda value: False, failure: bytes = FAILED) -> Any:
    """A service that answers every input with itself as its label, and fails where one of them is refused."""

    def answer(connection: Any, body: dict[str, Any]) -> None:
        inputs = body["inputs"]
        found = {"model": "m", "version": "1", "task": "classification"}
        labels = [{"label": value, "score": 1.0} for value in inputs]
        connection.sendall(failure if any(map(refuse, inputs)) else http(200, {**found, "predictions": labels}))

    return answer


def test_a_refused_input_has_its_error_at_its_place_and_the_others_their_answers(client: Any) -> None:
    inputs = ["hello", " ", "one", 1.5, "two"] * 12
    told: list[BulkProgress] = []
    found = list(
        client.predict_many(
            iter(inputs), model="tiny-classifier", answer=Classification, batch_size=7, progress=told.append
        )
    )
    assert [each.index for each in found] == list(range(60))
    assert [each.input for each in found] == inputs
    assert [isinstance(each.error, InvalidInput) for each in found] == [False, True, False, True, False] * 12
    assert [isinstance(each.prediction, Classification) for each in found] == [True, False, True, False, True] * 12
    assert told[-1] == BulkProgress(60, 24)


@pytest.mark.parametrize("parameters", [{"model": "no"}, {"model": "tiny-classifier", "top_k": 0}])
def test_what_all_inputs_would_meet_is_raised(client: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises((UnknownModel, InvalidInput)):
        list(client.predict_many(["a", "b"], **parameters))


@pytest.mark.parametrize("single", ["a text", b"RIFF", {"wav": "UklG"}, Frames([[1.0]])])
def test_a_single_input_is_not_taken_apart(client: Any, single: Any) -> None:
    with pytest.raises(InvalidInput, match="an iterable of inputs"):
        list(client.predict_many(single, model="tiny-classifier"))


def test_an_endless_input_is_read_only_as_far_as_its_answers_are_wanted(client: Any) -> None:
    taken = itertools.count()
    endless = (f"hello {number}" for number in taken)
    found = client.predict_many(endless, model="tiny-classifier", batch_size=4, concurrency=2)
    assert [each.index for each in itertools.islice(found, 30)] == list(range(30))
    assert next(taken) <= 30 + (2 * 2 + 1) * 4


def test_a_busy_service_is_waited_for_and_nothing_is_lost(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """More often than a single call is repeated: a bulk call has patience."""
    with Echo(answer_to_each(), busy=8) as server, noted_pauses(monkeypatch) as pauses:
        found = list(connect(server.url).predict_many(list("abcdef"), batch_size=2, concurrency=2))
    assert [each.prediction.label for each in found] == list("abcdef")
    assert pauses == [2.0] * 8


def test_patience_ends(connect: Connect) -> None:
    with scripted(BUSY) as server:
        url = server.url
        with pytest.raises(Exception, match="no more"):
            list(connect(url).predict_many(["a"], patience=1.0))
    with pytest.raises((ConnectionFailed, TimedOut)):
        list(connect(url).predict_many(["a"], patience=0.05))


def test_an_input_on_which_a_graph_fails_harms_no_other(connect: Connect) -> None:
    with Echo(answer_to_each(lambda value: value == "c")) as server:
        found = list(connect(server.url).predict_many(list("abcdef"), batch_size=6))
    assert [each.prediction and each.prediction.label for each in found] == ["a", "b", None, "d", "e", "f"]
    assert isinstance(found[2].error, InferenceFailed)


def test_a_batch_that_is_too_large_for_a_proxy_is_sent_in_halves(connect: Connect) -> None:
    too_large = http(413, b"<html>Request Entity Too Large</html>", content_type="text/html")

    def answer(connection: Any, body: dict[str, Any]) -> None:
        answer_to_each(lambda _: len(body["inputs"]) > 2, too_large)(connection, body)

    with Echo(answer) as server:
        found = list(connect(server.url).predict_many(list("abcdefg"), batch_size=7))
        assert [each.prediction.label for each in found] == list("abcdefg")


def test_batches_are_limited_in_number_and_size() -> None:
    long = "x" * (BATCH_CHARACTERS // 2 - 1)
    sizes = [len(batch.inputs) for batch in batches([long, long, long, "a", "b", "c", "d"], 3)]
    assert sizes == [2, 3, 2]
    assert [batch.first for batch in batches(list("abcdefgh"), 3)] == [0, 3, 6]


class Echo:
    """A scripted server whose answers depend on the bodies; the first `busy` requests are refused."""

    def __init__(self, answer: Callable[[Any, dict[str, Any]], None], busy: int = 0) -> None:
        self._answer, self._busy, self._lock = answer, busy, threading.Lock()
        self._opened = scripted(self._say)

    def __enter__(self) -> Any:
        self._server = self._opened.__enter__()
        return self._server

    def __exit__(self, *about: Any) -> None:
        self._opened.__exit__(*about)

    def _say(self, connection: Any) -> None:
        request = self._server.requests[-1]
        if len(self._server.requests) <= self._busy:
            connection.sendall(BUSY)
        else:
            self._answer(connection, json.loads(request.partition(b"\r\n\r\n")[2]))
