"""Named arrays over `/stream`: chunks of an input, with state and sessions; whole inputs of graphs without state."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np

from tests.api.streaming.conftest import Client
from tests.api.tensors.conftest import predict
from tests.tasks.tensors.tiny_tensors import sample

X = sample("lstm", 8)["x"]


def chunk(start: int, end: int) -> dict[str, Any]:
    return {"type": "tensors", "tensors": {"x": X[start:end]}}


def outputs(message: dict[str, Any]) -> dict[str, Any]:
    (prediction,) = message["predictions"]
    found: dict[str, Any] = prediction["outputs"]
    return found


def test_each_message_is_a_chunk(stream: Client, http: httpx.Client) -> None:
    """The rows of the answers are those of the whole input, and spans count its steps."""
    (whole,) = predict(http, "lstm", {"tensors": {"x": X}})["predictions"]
    assert stream.start("tiny-lstm")["reads"] == "chunks"
    answers = [stream.say(chunk(start, end)) for start, end in [(0, 3), (3, 4), (4, 8)]]
    assert [answer["span"] for answer in answers] == [
        {"start": start, "end": end} for start, end in [(0, 3), (3, 4), (4, 8)]
    ]
    rows = [row for answer in answers for row in outputs(answer)["z"]]
    assert np.allclose(rows, whole["outputs"]["z"], atol=1e-5)
    assert np.allclose(outputs(answers[-1])["last"], whole["outputs"]["last"], atol=1e-5)
    assert stream.end()["predictions"] == []


def test_an_input_goes_on_from_its_state_or_session(stream: Client, http: httpx.Client) -> None:
    """A state that was handed out, and a session, continue an input on another start."""
    (whole,) = predict(http, "lstm", {"tensors": {"x": X}})["predictions"]
    stream.start("tiny-lstm")
    stream.say(chunk(0, 5))
    state = stream.end(return_state=True)["state"]
    stream.start("tiny-lstm", state=state)
    assert np.allclose(outputs(stream.say(chunk(5, 8)))["last"], whole["outputs"]["last"], atol=1e-5)
    stream.end()
    session = stream.start("tiny-lstm", session="arrays")["session"]
    stream.say(chunk(0, 2))
    stream.end()
    stream.start("tiny-lstm", session=session)
    assert np.allclose(outputs(stream.say(chunk(2, 8)))["last"], whole["outputs"]["last"], atol=1e-5)


def test_a_graph_without_state_answers_at_the_end(stream: Client, http: httpx.Client) -> None:
    """Its input is one message, answered when it ends; a second one is refused."""
    arrays = sample("several", 3)
    (plain,) = predict(http, "several", {"tensors": arrays})["predictions"]
    assert stream.start("tiny-several")["reads"] == "whole"
    assert stream.say({"type": "tensors", "tensors": arrays})["predictions"] == []
    assert np.allclose(outputs(stream.end())["z"], plain["outputs"]["z"], atol=1e-5)
    stream.start("tiny-several")
    stream.say({"type": "tensors", "tensors": arrays})
    error = stream.say({"type": "tensors", "tensors": arrays})
    assert (error["type"], "one message of tensors" in error["error"]) == ("error", True)


def test_bad_arrays_are_refused_with_their_place(stream: Client) -> None:
    """The error names the field, and the state after the last good chunk is handed out with it."""
    stream.start("tiny-lstm")
    stream.say(chunk(0, 2))
    error = stream.say({"type": "tensors", "tensors": {"x": [["a", 0, 0]]}})
    assert error["error"].startswith("tensors.x.0.0: this is the text 'a'")
    assert error["state"]


def test_texts_and_rows_are_refused(stream: Client) -> None:
    """A model of arrays says how its messages look."""
    stream.start("tiny-lstm")
    error = stream.say({"type": "text", "text": "hello"})
    assert 'tiny-lstm takes named arrays: send {"type": "tensors"' in error["error"]


def test_other_models_take_no_arrays(stream: Client) -> None:
    """A model of texts refuses the message."""
    stream.start("tiny-classifier")
    assert "tiny-classifier takes no named arrays" in stream.say(chunk(0, 1))["error"]
