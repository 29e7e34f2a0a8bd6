"""Malformed messages are refused with INVALID_ARGUMENT and one sentence, and never with INTERNAL or UNKNOWN."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import grpc
import pytest

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from tests.api.protocols.open_inference_grpc.calls import (
    MODEL,
    call,
    element,
    infer,
    number,
    outputs,
    request,
    tensor,
    text,
)

HELLO = element(b"hello")
GRAPH = f"{MODEL}.classifier"
IDS = tensor("tokens", "INT64", [1, 3], int64_contents=[4, 5, 6])
LENGTHS = tensor("lengths", "INT64", [1], int64_contents=[3])


def raw(shape: list[int], *contents: bytes, datatype: str = "BYTES", name: str = "text") -> pb.ModelInferRequest:
    form = tensor(name, datatype, shape)
    return pb.ModelInferRequest(model_name=MODEL, inputs=[form], raw_input_contents=contents)


def typed(*inputs: Any, model: str = MODEL, **more: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name=model, inputs=inputs, **more)


def wanted(name: str, **parameters: pb.InferParameter) -> dict[str, Any]:
    return {"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name=name, parameters=parameters)]}


CASES: dict[str, tuple[pb.ModelInferRequest | bytes, str]] = {
    "no message": (b"\xff\xff\xff", "the request is no message inference.ModelInferRequest"),
    "no UTF-8 in a name": (b"\x0a\x02\xff\xfe", "the request is no message"),
    "damaged gzip": (b"\x1f\x8b" + b"\0" * 40, "the body is not gzip"),
    "no inputs": (typed(), "it was sent none"),
    "fewer contents than inputs": (
        typed(IDS, LENGTHS, model=GRAPH, raw_input_contents=[b""]),
        "it has 1 contents, and there are 2 inputs",
    ),
    "raw and typed contents": (
        typed(tensor("text", "BYTES", [1], bytes_contents=[b"a"]), raw_input_contents=[HELLO]),
        "it has both `contents` and bytes",
    ),
    "a length that lies": (raw([1], b"\xff\xff\xff\x7fab"), "says that it has 2147483647 bytes, and 2 bytes are left"),
    "too few elements": (raw([2], HELLO), "end before element 1 of 2"),
    "bytes at the end": (raw([1], HELLO + b"x"), "1 bytes follow the last"),
    "a giant shape": (raw([2**31, 2**31], HELLO), "elements of BYTES, at most"),
    "a giant shape of numbers": (
        raw([2**40], b"abcd", datatype="FP32", name="frames"),
        "has more bytes than any request",
    ),
    "a negative shape": (raw([-1], HELLO), "negative size"),
    "a shape of nothing": (raw([0], b""), "no elements"),
    "many axes": (raw([1] * 17, HELLO), "at most 16"),
    "no UTF-8": (raw([1], element(b"\xff\xfe")), "byte 0 is not UTF-8"),
    "an unknown datatype": (raw([1], HELLO, datatype="TEXT"), "there is no datatype 'TEXT'"),
    "an input without a name": (raw([1], HELLO, name=""), "a name of 1 to 64 characters"),
    "a long name": (raw([1], HELLO, name="a" * 65), "a name of 1 to 64 characters"),
    "two inputs of one name": (
        typed(*[tensor("text", "BYTES", [1], bytes_contents=[b"a"])] * 2),
        "two inputs are called 'text'",
    ),
    "too few typed elements": (
        typed(tensor("text", "BYTES", [3], bytes_contents=[b"a"])),
        "has 3 elements, the data 1",
    ),
    "typed elements of another field": (
        typed(tensor("text", "BYTES", [1], int64_contents=[1])),
        "BYTES is sent in bytes_contents, this has int64_contents",
    ),
    "typed halves": (typed(tensor("frames", "FP16", [1], fp32_contents=[1])), "FP16 is sent as bytes"),
    "a number that is too large": (
        typed(tensor("tokens", "INT8", [1], int_contents=[300]), LENGTHS, model=GRAPH),
        "outside of the range of INT8",
    ),
    "negative ids": (
        typed(tensor("tokens", "INT64", [1, 2], int64_contents=[4, -1]), LENGTHS, model=GRAPH),
        "ids from -1 to 4",
    ),
    "no such output": (request(b"hello", **wanted("nothing")), "there is no such output"),
    "classes that are no number": (
        request(b"hello", **wanted("scores", classification=text("two"))),
        "must be a number of classes",
    ),
    "shared memory": (
        typed(
            pb.ModelInferRequest.InferInputTensor(
                name="text", datatype="BYTES", shape=[1], parameters={"shared_memory_region": text("a")}
            )
        ),
        "shared memory is not offered",
    ),
    "a parameter without a value": (request(b"hello", parameters={"top_k": pb.InferParameter()}), "it has no value"),
    "a parameter of the wrong type": (request(b"hello", parameters={"top_k": text("two")}), "parameters.top_k"),
    "an unknown parameter": (request(b"hello", parameters={"topk": number(2)}), "parameters.topk"),
    "a negative timeout": (request(b"hello", parameters={"timeout": number(-1)}), "parameters.timeout"),
    "a long id": (request(b"hello", id="x" * 257), "id: must have at most 256 characters"),
    "too many texts": (request(*[b"a"] * 129), "129 inputs in one request, at most 128 are allowed"),
    "a sequence without state": (
        request(b"hello", parameters={"sequence_id": number(1), "sequence_start": pb.InferParameter(bool_param=True)}),
        "it has no state to continue from",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_request_is_an_invalid_argument(channel: grpc.Channel, case: str) -> None:
    message, sentence = CASES[case]
    answered = infer(channel, message)
    assert answered.status == "INVALID_ARGUMENT", answered
    assert sentence in answered.message
    assert len(answered.message) < 600
    assert answered.metadata["error-type"]


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "RepositoryIndex", "ServerLive", "TraceSetting"])
def test_a_message_of_another_kind_is_refused_by_every_method(channel: grpc.Channel, method: str) -> None:
    answered = call(channel, method, b"\xff\xff")
    assert (answered.status, "is no message" in answered.message) == ("INVALID_ARGUMENT", True)


def test_a_message_beyond_the_limit_is_refused_whether_it_was_compressed_or_not(channel: grpc.Channel) -> None:
    """A kilobyte that would inflate to a megabyte is not inflated."""
    large = request(b"a" * 100_000).SerializeToString()
    assert infer(channel, large).status == "RESOURCE_EXHAUSTED"
    for bomb in (gzip.compress(b"a" * 2**20), zlib.compress(b"a" * 2**20)):
        answered = infer(channel, bomb)
        assert (answered.status, answered.metadata["error-type"]) == ("RESOURCE_EXHAUSTED", "body_too_large")


def test_each_typed_field_is_read_as_its_datatype(channel: grpc.Channel) -> None:
    """Typed ids, narrow ones too, have the answer of raw ones."""
    expected = outputs(infer(channel, typed(IDS, LENGTHS, model=GRAPH)))["logits"]
    narrow = tensor("tokens", "UINT8", [1, 3], uint_contents=[4, 5, 6])
    assert outputs(infer(channel, typed(narrow, LENGTHS, model=GRAPH)))["logits"] == expected
    by_text = typed(tensor("text", "BYTES", [1], bytes_contents=[b"hello"]))
    assert outputs(infer(channel, by_text)) == outputs(infer(channel, request(b"hello")))


def test_metadata_beyond_the_limit_and_unknown_methods_have_a_status(channel: grpc.Channel) -> None:
    answered = infer(channel, request(b"hello"), metadata=[("x-large", "a" * 100_000)])
    assert answered.status == "RESOURCE_EXHAUSTED"
    assert call(channel, "Nothing").status == "UNIMPLEMENTED"
    assert call(channel, "/inference.Other/ModelInfer").status == "UNIMPLEMENTED"
    assert infer(channel, request(b"hello"), metadata=[("x-request-timeout-ms", "soon")]).status == "INVALID_ARGUMENT"
    assert infer(channel, request(b"hello")).status == "OK"
