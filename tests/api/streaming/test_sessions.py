"""A session named in `start`: its state is kept after each answer, for the next connection or request of its owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.streaming.conftest import Open

ALICE = {"Authorization": "Bearer alice"}
BOB = {"Authorization": "Bearer bob"}
#: A tagger that reads forward only.
TAGGER = "tiny-tagger-chunks"
GREEDY = {"max_new_tokens": 4, "do_sample": False}

Write = Callable[..., str]


@pytest.fixture
def write(stream_factory: Open) -> Write:
    """Continue a text in a session on a connection of its own, which is cut afterwards."""

    def in_session(session: str, text: str, headers: dict[str, str]) -> str:
        with stream_factory(additional_headers=headers) as client:
            started = client.start("tiny-generator", session=session, parameters=GREEDY)
            assert started["session"] == session
            client.text(text)
            client.socket.send('{"type": "generate"}')
            return str(client.until("result")[-1]["generated_text"])

    return in_session


def test_a_text_goes_on_in_the_next_connection_and_in_a_request(write: Write, http: httpx.Client) -> None:
    """The same as in a session of HTTP, in either order."""

    def by_request(session: str, text: str) -> str:
        body = {"model": "tiny-generator", "inputs": text, "session": session, "parameters": GREEDY}
        return str(http.post("/generate", json=body, headers=ALICE).raise_for_status().json()["generated_text"])

    expected = [by_request("http", text) for text in ("ab", "ba", "a")]
    assert [write("one", "ab", ALICE), write("one", "ba", ALICE), write("one", "a", ALICE)] == expected
    assert [write("two", "ab", ALICE), by_request("two", "ba"), write("two", "a", ALICE)] == expected


def test_the_session_of_another_caller_is_another(write: Write) -> None:
    first = write("shared", "ab", ALICE)
    assert write("shared", "ab", BOB) == first, "it begins anew"


def test_without_a_caller_the_name_to_continue_with_cannot_be_guessed(stream_factory: Open) -> None:
    with stream_factory() as client:
        name = client.start("tiny-generator", session="mine")["session"]
    assert name.startswith("mine.")
    assert len(name) > len("mine.") + 16
    with stream_factory() as client:
        assert client.start("tiny-generator", session=name)["session"] == name


def test_a_session_that_went_on_elsewhere_is_not_overwritten(stream_factory: Open, write: Write) -> None:
    """The state of this connection is handed out with the error, so that its text is not lost."""
    with stream_factory(additional_headers=ALICE) as client:
        client.start("tiny-generator", session="raced", parameters=GREEDY)
        client.text("ab")
        write("raced", "ba", ALICE)
        client.socket.send('{"type": "generate"}')
        error = client.until("error")[-1]
        assert (error["type"], error["error_type"]) == ("error", "session_busy")
        assert error["state"]
        assert client.close_code() == 1008


def test_tags_of_a_text_in_pieces_are_those_of_one_connection(stream_factory: Open) -> None:
    pieces = ["The cat ", "sat on ", "the mat. "]
    with stream_factory(additional_headers=ALICE) as client:
        client.start(TAGGER)
        expected = [client.text(piece)["predictions"] for piece in pieces]
    found = []
    for piece in pieces:
        with stream_factory(additional_headers=ALICE) as client:
            client.start(TAGGER, session="tags")
            found.append(client.text(piece)["predictions"])
    assert [labels(answer) for answer in found] == [labels(answer) for answer in expected]


def labels(predictions: list[dict[str, Any]]) -> list[Any]:
    """Without the places, which count from the beginning of a connection's input."""
    return [[token["tag"] for token in prediction["tokens"]] for prediction in predictions]


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        ("tiny-generator", {"session": "both", "state": "x"}, "state"),
        ("tiny-generator", {"session": "not a name"}, "session"),
        ("tiny-sound", {"session": "whole"}, "session"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_field(
    stream_factory: Open, model: str, fields: dict[str, str], field: str
) -> None:
    with stream_factory() as client:
        error = client.say({"type": "start", "model": model, **fields})
        assert error["type"] == "error"
        assert field in error["detail"][0]["field"]
        assert client.close_code() == 4422
