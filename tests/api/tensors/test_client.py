"""The Python client with named arrays: arrays of numpy in, nested lists out, in calls, in bulk and in streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from service.client import Client, InvalidInput, Tensors, TensorsAnswer
from service.client.streaming.messages import StreamResult
from tests.live_server import LiveServer
from tests.tasks.tensors.tiny_tensors import SIZE, sample

X = np.float32(sample("lstm", 6)["x"])


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.port}") as opened:
        yield opened


def test_arrays_go_in_and_come_out(client: Client) -> None:
    """Arrays and lists are the same input; the answer is typed, and becomes an array of the shape of the output."""
    given = client.predict(Tensors(x=X), model="tiny-lstm", answer=TensorsAnswer).prediction
    again = client.predict([Tensors({"x": X.tolist()})], model="tiny-lstm").prediction
    assert isinstance(given, TensorsAnswer)
    assert given == again
    assert np.float32(given.outputs["z"]).shape == (6, SIZE)
    (chosen,) = client.predict([Tensors(x=X)], model="tiny-lstm", outputs=["last"]).predictions
    assert list(chosen.outputs) == ["last"]


def test_many_inputs_are_answered_in_order(client: Client) -> None:
    """Bulk calls take named arrays, each of its length."""
    inputs = [Tensors(x=X[: length + 1]) for length in range(6)]
    found = [answer.prediction for answer in client.predict_many(inputs, model="tiny-lstm")]
    assert [len(one.outputs["z"]) for one in found if isinstance(one, TensorsAnswer)] == [1, 2, 3, 4, 5, 6]


def test_chunks_are_streamed(client: Client) -> None:
    """Each piece of a stream is a chunk, and the last rows are those of the whole."""
    whole = client.predict(Tensors(x=X), model="tiny-lstm", answer=TensorsAnswer).prediction
    with client.stream(model="tiny-lstm", answer=TensorsAnswer) as stream:
        results = list(stream.answers_to(Tensors(x=row[None]) for row in X))
    rows = [one.predictions[0].outputs["z"][0] for one in results if isinstance(one, StreamResult)]
    assert np.allclose(rows, whole.outputs["z"], atol=1e-5)


def test_chunks_carry_their_state(client: Client) -> None:
    """Chunks are sent one after the other with the state between them."""
    whole = client.predict(Tensors(x=X), model="tiny-lstm", answer=TensorsAnswer).prediction
    parts = [Tensors(x=X[:4]), Tensors(x=X[4:])]
    found = [one.prediction for one in client.predict_chunks(parts, model="tiny-lstm")]
    rows = [row for one in found if isinstance(one, TensorsAnswer) for row in one.outputs["z"]]
    assert np.allclose(rows, whole.outputs["z"], atol=1e-5)


def test_what_is_no_json_is_refused_before_it_is_sent(client: Client) -> None:
    """NaN in an array is an error of the caller, with the place."""
    with pytest.raises(InvalidInput, match="inputs"):
        client.predict(Tensors(x=np.full((2, 3), np.nan)), model="tiny-lstm")


def test_the_description_has_the_arrays(client: Client) -> None:
    """Names, dtypes and shapes are fields of the details of a model."""
    details = client.model("tiny-labels")
    assert details.inputs is not None
    assert (details.inputs[0].name, details.inputs[0].dtype, details.inputs[0].maximum) == ("tokens", "int64", 6.0)
