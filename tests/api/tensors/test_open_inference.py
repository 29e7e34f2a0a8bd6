"""The Open Inference protocol with a model's own tensors: over JSON, in binary, and over gRPC."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from service.bundle.padding import Array
from tests.api.protocols.open_inference.requests import binary, raw_input, tensor
from tests.api.protocols.open_inference_grpc import calls
from tests.api.tensors.conftest import predict
from tests.live_server import LiveServer
from tests.tasks.tensors.tiny_tensors import HIDDEN, SIZE, WIDE, WIDTH, sample

DATATYPES = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}
DTYPES = {"FP32": np.float32, "INT64": np.int64, "UINT8": np.uint8}


def arrays_of(kind: str, lengths: list[int]) -> dict[str, Array]:
    """A batch of samples, padded with sevens, and their lengths."""
    rows = [sample(kind, length, seed=length) for length in lengths]
    dtypes = {"tokens": np.int64, "pixels": np.uint8}
    found = {}
    for name in rows[0]:
        parts = [np.array(row[name], dtype=dtypes.get(name, np.float32)) for row in rows]
        shapes = [part.shape for part in parts]
        batch = np.full((len(parts), *np.max(shapes, axis=0)), 7, dtype=parts[0].dtype)
        for place, part in zip(batch, parts, strict=True) if parts[0].ndim else ():
            place[tuple(slice(size) for size in part.shape)] = part
        found[name] = batch if parts[0].ndim else np.stack(parts)
    return found | ({"lengths": np.array(lengths)} if len(set(lengths)) > 1 else {})


def as_json(arrays: dict[str, Array]) -> list[dict[str, Any]]:
    return [tensor(name, array.tolist(), array.shape, DATATYPES[str(array.dtype)]) for name, array in arrays.items()]


def expected(http: httpx.Client, kind: str, lengths: list[int]) -> list[dict[str, Any]]:
    """The outputs of `POST /predict` for the same rows."""
    inputs = [{"tensors": sample(kind, length, seed=length)} for length in lengths]
    return [answer["outputs"] for answer in predict(http, kind, inputs)["predictions"]]


def check(found: dict[str, Array], rows: list[dict[str, Any]]) -> None:
    """The outputs have the rows of `POST /predict`, and zeros behind shorter ones."""
    assert found.keys() == rows[0].keys()
    for name, batch in found.items():
        assert len(batch) == len(rows)
        for place, row in zip(batch, rows, strict=True):
            inner = tuple(slice(size) for size in np.shape(row[name]))
            assert np.allclose(place[inner], row[name], atol=1e-5)
            assert np.count_nonzero(place) == np.count_nonzero(place[inner])


def infer(http: httpx.Client, kind: str, arrays: dict[str, Array], **more: Any) -> dict[str, Array]:
    response = http.post(f"/v2/models/tiny-{kind}/infer", json={"inputs": as_json(arrays), **more})
    assert response.status_code == 200, response.text
    outputs = response.json()["outputs"]
    return {o["name"]: np.array(o["data"], dtype=DTYPES[o["datatype"]]).reshape(o["shape"]) for o in outputs}


LENGTHS = [("masked", [3, 6, 1]), ("equal", [4, 2, 4]), ("several", [2, 5]), ("labels", [3, 3]), ("fixed", [5, 5])]


@pytest.mark.parametrize(("kind", "lengths"), LENGTHS)
def test_tensors_in_json_have_the_answers_of_predict(kind: str, lengths: list[int], http: httpx.Client) -> None:
    """Tensors with the batch axis are read row by row, each as long as `lengths` says, also by graphs without it."""
    check(infer(http, kind, arrays_of(kind, lengths)), expected(http, kind, lengths))


@pytest.mark.parametrize(("kind", "lengths"), LENGTHS)
def test_tensors_in_binary_have_the_answers_of_predict(kind: str, lengths: list[int], http: httpx.Client) -> None:
    """Raw bytes in, raw bytes out, of the dtypes of the graph."""
    arrays = arrays_of(kind, lengths)
    parts = {name: array.tobytes() for name, array in arrays.items()}
    heads = [raw_input(parts[n], n, a.shape, DATATYPES[str(a.dtype)]) for n, a in arrays.items()]
    content, sent = binary({"inputs": heads, "parameters": {"binary_data_output": True}}, *parts.values())
    response = http.post(f"/v2/models/tiny-{kind}/infer", content=content, headers=sent)
    assert response.status_code == 200, response.text
    size = int(response.headers["Inference-Header-Content-Length"])
    raw, found = response.content[size:], {}
    for output in json.loads(response.content[:size])["outputs"]:
        length = output["parameters"]["binary_data_size"]
        found[output["name"]] = np.frombuffer(raw[:length], DTYPES[output["datatype"]]).reshape(output["shape"])
        raw = raw[length:]
    check(found, expected(http, kind, lengths))


@pytest.mark.parametrize(("kind", "lengths"), LENGTHS)
def test_tensors_over_grpc_have_the_answers_of_predict(
    kind: str, lengths: list[int], http: httpx.Client, channel: grpc.Channel
) -> None:
    """The same over gRPC."""
    arrays = arrays_of(kind, lengths)
    forms = [calls.tensor(name, DATATYPES[str(array.dtype)], array.shape) for name, array in arrays.items()]
    raw = [array.tobytes() for array in arrays.values()]
    answered = calls.infer(
        channel, pb.ModelInferRequest(model_name=f"tiny-{kind}", inputs=forms, raw_input_contents=raw)
    )
    assert answered.status == "OK", answered.message
    response = pb.ModelInferResponse.FromString(answered.response)
    found = {
        output.name: np.frombuffer(data, DTYPES[output.datatype]).reshape(list(output.shape))
        for output, data in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    check(found, expected(http, kind, lengths))


def test_metadata_has_the_true_tensors(http: httpx.Client) -> None:
    """Names, datatypes and shapes are those of the graph; the configuration leaves the batch axis out."""
    metadata = http.get("/v2/models/tiny-several").json()
    shapes = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in metadata["inputs"]}
    assert shapes == {
        "x": ("FP32", [-1, -1, WIDTH]),
        "pixels": ("UINT8", [-1, -1, 4]),
        "context": ("FP32", [-1, 2]),
        "rate": ("FP32", [-1]),
    }
    assert [tensor["shape"] for tensor in metadata["outputs"]] == [[-1, -1, SIZE], [-1]]
    config = http.get("/v2/models/tiny-several/config").json()
    assert config["input"][0]["dims"] == [-1, WIDTH]
    assert config["max_batch_size"] > 1


def test_outputs_are_asked_for_by_name(http: httpx.Client) -> None:
    """Only outputs that are named are sent; scores can be ranked; an unknown one is refused."""
    arrays = arrays_of("masked", [2])
    assert infer(http, "masked", arrays, outputs=[{"name": "last"}]).keys() == {"last"}
    body = {"inputs": as_json(arrays), "outputs": [{"name": "last", "parameters": {"classification": 1}}]}
    ranked = http.post("/v2/models/tiny-masked/infer", json=body).json()["outputs"][0]
    assert (ranked["datatype"], ranked["shape"]) == ("BYTES", [1, 1])
    body = {"inputs": as_json(arrays), "outputs": [{"name": "y"}]}
    refused = http.post("/v2/models/tiny-masked/infer", json=body)
    assert "there is no such output; this model has: z, last" in refused.json()["error"]


def test_a_sequence_carries_the_state(http: httpx.Client) -> None:
    """Requests of one sequence are chunks of one input, and so are requests that carry the state themselves."""
    whole = infer(http, "lstm", arrays_of("lstm", [6]))
    x = arrays_of("lstm", [6])["x"]
    first = {"sequence_id": 9, "sequence_start": True}
    rows = [infer(http, "lstm", {"x": x[:, :2]}, parameters=first)["z"]]
    rows.append(infer(http, "lstm", {"x": x[:, 2:]}, parameters={"sequence_id": 9, "sequence_end": True})["z"])
    assert np.allclose(np.concatenate(rows, axis=1), whole["z"], atol=1e-5)
    asked = {"inputs": as_json({"x": x[:, :2]}), "outputs": [{"name": "state"}]}
    (token,) = http.post("/v2/models/tiny-lstm/infer", json=asked).json()["outputs"]
    further = {"inputs": [*as_json({"x": x[:, 2:]}), {**token}]}
    outputs = {o["name"]: o["data"] for o in http.post("/v2/models/tiny-lstm/infer", json=further).json()["outputs"]}
    assert np.allclose(outputs["last"], whole["last"].reshape(-1), atol=1e-5)


def test_the_state_may_go_as_tensors(http: httpx.Client) -> None:
    """A caller that sends every input of the graph, its state too, gets every output of it, the next state too."""
    arrays = arrays_of("lstm", [4]) | {"lengths": np.array([4])}
    arrays |= {name: np.zeros((1, 1, HIDDEN), dtype=np.float32) for name in ("h0", "c0")}
    found = infer(http, "lstm", arrays)
    assert found.keys() == {"z", "last", "h0_out", "c0_out"}
    assert np.allclose(found["z"], infer(http, "lstm", arrays_of("lstm", [4]))["z"], atol=1e-5)


def test_ids_are_bounded_in_runs_of_the_graph_too(http: httpx.Client) -> None:
    """A caller that runs the graph by its own name cannot fail the runs of others by an id that has no row."""
    body = {"inputs": [tensor("tokens", [[0, 7]], [1, 2], "INT64")]}
    refused = http.post("/v2/models/tiny-labels.model/infer", json=body)
    assert refused.status_code == 400
    assert "tokens holds ids from 0 to 7, allowed are 0 to 6" in refused.json()["error"]


def zeros(*shape: int, name: str = "x", datatype: str = "FP32") -> dict[str, Any]:
    return tensor(name, np.zeros(shape).tolist(), shape, datatype)


REFUSALS: list[tuple[str, list[dict[str, Any]], str]] = [
    ("masked", [zeros(1, 2, 3), zeros(1, name="y")], "the inputs of this model are x and, if they differ, lengths"),
    ("masked", [zeros(1, 2, 2)], "the shape is [batch, time, 3], not [1, 2, 2]"),
    ("masked", [zeros(2, 3)], "the shape is [batch, time, 3], not [2, 3]"),
    ("masked", [tensor("x", ["a"] * 3, [1, 1, 3])], "numbers are wanted here, and these are BYTES"),
    ("masked", [tensor("x", [True] * 3, [1, 1, 3], "BOOL")], "inputs.x.0: the numbers are bool"),
    ("masked", [tensor("x", [0.0, 1e300, 0.0], [1, 1, 3], "FP64")], "inputs.x.0.0.1: this number is 1e+300"),
    ("masked", [zeros(1, 41, 3)], "inputs.x.0: the input has 41 steps, this model takes at most 40"),
    ("masked", [zeros(2, 2, 3), tensor("lengths", [2, 3], [2], "INT64")], "they go from 2 to 3"),
    (
        "labels",
        [tensor("tokens", [[0, 7]], [1, 2], "INT64")],
        "inputs.tokens.0.1: this number is 7, allowed are 0",
    ),
    ("labels", [tensor("tokens", [[0.0, 1.0]], [1, 2], "FP32")], "inputs.tokens.0: the numbers are float"),
    ("fixed", [zeros(1, 4, 3)], "the shape is [batch, 5, 3], not [1, 4, 3]"),
    ("masked", [zeros(129, 1, 3)], "129 inputs in one request, at most 128"),
]


@pytest.mark.parametrize(("kind", "inputs", "message"), REFUSALS)
def test_bad_tensors_are_refused(kind: str, inputs: list[dict[str, Any]], message: str, http: httpx.Client) -> None:
    """Names, shapes, datatypes and numbers are checked, and the message names the tensor."""
    response = http.post(f"/v2/models/tiny-{kind}/infer", json={"inputs": inputs})
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_rows_must_be_as_many_in_every_tensor(http: httpx.Client) -> None:
    """Tensors of different numbers of rows are refused."""
    arrays = arrays_of("several", [2, 2]) | {"rate": np.zeros(1, dtype=np.float32)}
    response = http.post("/v2/models/tiny-several/infer", json={"inputs": as_json(arrays)})
    assert "inputs.rate.shape: it has 1 rows, x has 2" in response.json()["error"]


def test_large_answers_go_as_bytes(http: httpx.Client, server: LiveServer) -> None:
    """What is too long for JSON is refused there before it is computed, and sent as bytes."""
    arrays = {"x": np.zeros((1, 33, 1), dtype=np.float32)}
    refused = http.post("/v2/models/tiny-wide/infer", json={"inputs": as_json(arrays)})
    assert f"it has {33 * WIDE} elements, as JSON at most 262144 are sent" in refused.json()["error"]
    asked = {"inputs": as_json(arrays), "parameters": {"binary_data_output": True}}
    answer = http.post("/v2/models/tiny-wide/infer", json=asked)
    assert len(answer.content) - int(answer.headers["Inference-Header-Content-Length"]) == 4 * 33 * WIDE
    many = {"x": np.zeros((64, 40, 1), dtype=np.float32)}
    refused = http.post("/v2/models/tiny-wide/infer", json={**asked, "inputs": as_json(many)})
    assert "the outputs would have 83886080 bytes, at most 67108864 are sent" in refused.json()["error"]


def test_a_parameter_does_not_choose_the_outputs(http: httpx.Client) -> None:
    """The parameter of `POST /predict` is refused here, where requests name their outputs."""
    body = {"inputs": as_json(arrays_of("masked", [2])), "parameters": {"outputs": ["z"]}}
    refused = http.post("/v2/models/tiny-masked/infer", json=body)
    assert "parameters.outputs: outputs are named in `outputs` of the request here" in refused.json()["error"]
