"""Malformed requests of the protocol are refused with 400 and one sentence before anything runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.protocols.open_inference.requests import HEADER, binary, infer, raw_input, raw_texts, tensor, text

PATH = "/v2/models/tiny-classifier/infer"
GRAPH = "/v2/models/tiny-classifier.classifier/infer"
HELLO = text("hello")
RAW = raw_texts(b"hello")
IDS, LENGTHS = tensor("tokens", [4, 5, 6], [1, 3], "INT64"), tensor("lengths", [3], [1], "INT64")


def body(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def output(name: str, **parameters: Any) -> dict[str, Any]:
    return {"outputs": [{"name": name, "parameters": parameters}]}


JSON_CASES = {
    "no body": (b"", "a JSON body is needed"),
    "no JSON": (b"{", "the body is not JSON"),
    "a list": (b"[]", "must be an object"),
    "no inputs": (b"{}", "inputs: this field is needed"),
    "an empty list": (body(), "it was sent none"),
    "inputs that are no list": (b'{"inputs": {}}', "inputs: must be"),
    "deep lists": (
        b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":' + b"[" * 9000 + b"]" * 9000 + b"}]}",
        "the body is not JSON: recursion limit",
    ),
    "a shape of floats": (body(tensor("text", ["a"], [1.0])), "must be a valid integer"),  # type: ignore[list-item]
    "many axes": (body(tensor("text", ["a"], [1] * 17)), "at most 16"),
    "three axes": (body(tensor("text", ["a"], [1, 1, 1])), "the shape is [batch] or [batch, 1], not [1, 1, 1]"),
    "two columns": (body(tensor("text", ["a", "b"], [1, 2])), "not [1, 2]"),
    "no rows": (body(tensor("text", [], [0])), "has no elements"),
    "too many rows": (body(text(*["a"] * 129)), "at most 128 are allowed"),
    "no data": (body({"name": "text", "shape": [1], "datatype": "BYTES"}), "neither a list `data` nor"),
    "a blank text": (body(text("a", " ")), "inputs.text.1: the text is empty"),
    "another datatype": (body(tensor("text", [1], [1], "INT64")), "BYTES are wanted here"),
    "an unknown input": (body(text("a", name="nothing")), "the inputs of this model are text or text_input or words"),
    "two inputs of a name": (body(HELLO, HELLO), "two inputs are called 'text'"),
    "too many inputs": (body(HELLO, text("a", name="text_input")), "it was sent text, text_input"),
    "words without a word": (body(tensor("words", ["a", "", "", ""], [2, 2])), "inputs.words.1"),
    "an unknown output": (body(HELLO, **output("nothing")), "this model has: label, score, scores"),
    "an output asked for twice": (
        body(HELLO, outputs=[{"name": "label"}, {"name": "label"}]),
        "the output 'label' is asked for twice",
    ),
    "no classes": (body(HELLO, **output("scores", classification=0)), "a number of classes"),
    "classes of labels": (
        body(HELLO, **output("label", classification=2)),
        "outputs of scores are: scores",
    ),
    "a flag that is none": (body(HELLO, **output("label", binary_data="yes")), "must be true or false"),
    "shared memory": (
        body(tensor("text", None, [1], parameters={"shared_memory_region": "r"})),
        "shared memory is not offered",
    ),
    "shared memory for an output": (body(HELLO, **output("label", shared_memory_region="r")), "is not offered"),
    "an unknown parameter": (body(HELLO, parameters={"nothing": 1}), "this task has: normalize, return_hidden, top_k"),
    "a parameter out of range": (body(HELLO, parameters={"top_k": 0}), "parameters.top_k"),
    "a negative timeout": (body(HELLO, parameters={"timeout": -1}), "parameters.timeout"),
    "a priority that is no number": (body(HELLO, parameters={"priority": "high"}), "parameters.priority"),
    "a sequence without a state": (body(HELLO, parameters={"sequence_id": 3}), "it has no state to continue from"),
    "a negative sequence": (body(HELLO, parameters={"sequence_id": -1}), "parameters.sequence_id"),
    "a beginning of nothing": (body(HELLO, parameters={"sequence_start": True}), "must name the sequence"),
}
GRAPH_CASES = {
    "a negative id": (body(tensor("tokens", [4, -1], [1, 2], "INT64"), tensor("lengths", [2], [1], "INT64")), "ids"),
    "an id beyond the vocabulary": (body(tensor("tokens", [4, 5, 2**40], [1, 3], "INT64"), LENGTHS), "ids"),
    "a length of 0": (body(IDS, tensor("lengths", [0], [1], "INT64")), "lengths go from 0"),
    "a length beyond the row": (body(IDS, tensor("lengths", [4], [1], "INT64")), "lengths go from 4"),
    "the least length": (body(IDS, tensor("lengths", [-(2**63)], [1], "INT64")), "lengths go from"),
    "a missing input": (body(IDS), "the inputs of tiny-classifier.classifier are tokens, lengths"),
    "batches that differ": (body(IDS, tensor("lengths", [3, 3], [2], "INT64")), "axis 'batch' of lengths has size 2"),
    "a batch of nothing": (body(tensor("tokens", [], [0, 3], "INT64"), LENGTHS), "has no elements"),
    "too few axes": (body(tensor("tokens", [4], [1], "INT64"), LENGTHS), "the shape is [batch, time], not [1]"),
    "floats for ids": (body(tensor("tokens", [4], [1, 1], "FP32"), LENGTHS), "the datatype is INT64, not FP32"),
    "texts for ids": (body(tensor("tokens", ["4"], [1, 1]), LENGTHS), "numbers are wanted here"),
    "a row that is too long": (
        body(tensor("tokens", [4] * 41, [1, 41], "INT64"), tensor("lengths", [41], [1], "INT64")),
        "this model takes at most 40",
    ),
    "too many rows": (
        body(tensor("tokens", [4] * 129, [129, 1], "INT64"), tensor("lengths", [1] * 129, [129], "INT64")),
        "129 rows in one request, at most 128",
    ),
    "a parameter": (body(IDS, LENGTHS, parameters={"top_k": 2}), "a graph alone has no parameters"),
}
BINARY_CASES = {
    "fewer bytes than declared": (*binary({"inputs": [raw_input(RAW + b"x")]}, RAW), "9 bytes are left"),
    "more bytes than declared": (*binary({"inputs": [raw_input(RAW)]}, RAW, b"xyz"), "3 bytes at the end of the body"),
    "a lying length": (*binary({"inputs": [raw_input(b"\xff" * 8)]}, b"\xff" * 8), "says that it has 4294967295 bytes"),
    "no UTF-8": (*binary({"inputs": [raw_input(raw_texts(b"\xff"))]}, raw_texts(b"\xff")), "inputs.text.0: byte 0 is"),
    "a huge shape": (*binary({"inputs": [raw_input(RAW, shape=[2**31])]}, RAW), "elements of BYTES, at most"),
    "data twice": (*binary({"inputs": [raw_input(RAW) | {"data": ["a"]}]}, RAW), "it has both `data`"),
    "a negative size": (
        *binary({"inputs": [raw_input(RAW) | {"parameters": {"binary_data_size": -1}}]}, RAW),
        "must be a number of bytes",
    ),
    "a header beyond the body": (body(HELLO), {HEADER: "9999"}, "at most the"),
    "a header that is no number": (body(HELLO), {HEADER: "-4"}, "must be a number of bytes"),
    "a header of many digits": (body(HELLO), {HEADER: "9" * 4000}, "must be a number of bytes"),
    "a header within the JSON": (body(HELLO), {HEADER: "9"}, "the body is not JSON"),
    "a header of 0": (body(HELLO), {HEADER: "0"}, "a JSON body is needed"),
}
CASES = [
    *((PATH, name, content, {}, sentence) for name, (content, sentence) in JSON_CASES.items()),
    *((GRAPH, name, content, {}, sentence) for name, (content, sentence) in GRAPH_CASES.items()),
    *((PATH, name, content, sent, sentence) for name, (content, sent, sentence) in BINARY_CASES.items()),
]


@pytest.mark.parametrize(
    ("path", "content", "sent", "sentence"), [(p, *rest) for p, _, *rest in CASES], ids=[c[1] for c in CASES]
)
def test_what_is_malformed_is_refused_before_it_runs(
    client: TestClient, path: str, content: bytes, sent: dict[str, str], sentence: str
) -> None:
    def runs() -> int:
        (counted,) = client.get("/v2/models/tiny-classifier/stats").json()["model_stats"]
        count: int = counted["execution_count"]
        return count

    before = runs()
    response = client.post(path, content=content, headers=sent)
    assert response.status_code == 400, response.text
    assert sentence in response.json()["error"]
    assert runs() == before
    assert len(response.content) < 4096


def test_names_that_there_are_not_are_named(client: TestClient) -> None:
    for path, sentence in (
        ("/v2/models/absent/infer", "there is no model 'absent'"),
        ("/v2/models/tiny-classifier/versions/9/infer", "has no version '9'"),
        ("/v2/models/tiny-classifier.step/infer", "has no graph 'step'; there are: tiny-classifier.classifier"),
    ):
        response = client.post(path, json={"inputs": [HELLO]})
        assert (response.status_code, response.json()["error_type"]) == (404, "unknown_model")
        assert sentence in response.json()["error"]


def test_a_deadline_of_the_request_is_kept(client: TestClient) -> None:
    response = client.post(PATH, json={"inputs": [HELLO], "parameters": {"timeout": 1}})
    assert (response.status_code, response.json()["error_type"]) == (504, "deadline_exceeded")
    assert infer(client, "tiny-classifier", HELLO, parameters={"timeout": 10**40})["label"]["data"]
