"""Calls of the service over gRPC, with messages that a test writes itself, well-formed or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from tests.conftest import PATIENCE_S

SERVICE = "/inference.GRPCInferenceService"
MODEL = "tiny-classifier"


class Answered(NamedTuple):
    """How a call ended: the name of its status, the message, the trailing metadata, and the bytes of the response."""

    status: str
    message: str
    metadata: Mapping[str, str]
    response: bytes


def call(channel: grpc.Channel, method: str, message: Message | bytes = b"", **options: Any) -> Answered:
    """One unary call. `options` are those of gRPC."""
    raw = message if isinstance(message, bytes) else message.SerializeToString()
    stub = channel.unary_unary(method if method.startswith("/") else f"{SERVICE}/{method}")
    options.setdefault("timeout", PATIENCE_S)
    try:
        response, done = stub.with_call(raw, **options)
    except grpc.RpcError as error:
        return Answered(error.code().name, error.details(), _plain(error.trailing_metadata()), b"")
    return Answered("OK", "", _plain(done.trailing_metadata()), response)


def infer(channel: grpc.Channel, request: Message | bytes, **options: Any) -> Answered:
    """`ModelInfer`."""
    return call(channel, "ModelInfer", request, **options)


def outputs(answered: Answered) -> dict[str, bytes]:
    """The raw bytes of each output."""
    response = pb.ModelInferResponse.FromString(answered.response)
    names = [output.name for output in response.outputs]
    return dict(zip(names, response.raw_output_contents, strict=True))


def element(text: bytes) -> bytes:
    """An element of BYTES."""
    return len(text).to_bytes(4, "little") + text


def request(*texts: bytes, model: str = MODEL, **more: Any) -> pb.ModelInferRequest:
    """A request about texts, as raw bytes."""
    form = tensor("text", "BYTES", [len(texts)])
    raw = [b"".join(map(element, texts))]
    return pb.ModelInferRequest(**{"model_name": model, "inputs": [form], "raw_input_contents": raw, **more})


def tensor(name: str, datatype: str, shape: Iterable[int], **contents: Any) -> pb.ModelInferRequest.InferInputTensor:
    """An input, with typed contents if there are any."""
    typed = pb.InferTensorContents(**contents) if contents else None
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=typed)


def text(value: str) -> pb.InferParameter:
    return pb.InferParameter(string_param=value)


def number(value: int) -> pb.InferParameter:
    return pb.InferParameter(int64_param=value)


def _plain(metadata: Any) -> dict[str, str]:
    return {key: value if isinstance(value, str) else value.decode() for key, value in metadata or ()}
