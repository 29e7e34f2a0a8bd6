"""Requests and answers as messages of gRPC.

The tensors of a request are raw bytes in `raw_input_contents`, or typed `contents` in each of them; those of an answer
are always raw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from service.api.protocols.open_inference.grpc_service.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from service.api.protocols.open_inference.tensors.messages import (
    BF16,
    BYTES,
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
)
from service.api.protocols.open_inference.tensors.tensor_data import (
    bytes_of,
    tensor_of_bytes,
    tensor_of_elements,
    tensor_of_json,
)
from service.errors import InvalidInput
from service.settings import Settings

Path = tuple[str | int, ...]

_SHARED_MEMORY = "shared_memory_region"
_MAX_AXES = 16
_MAX_TENSORS = 64
_MAX_NAME_CHARACTERS = 64
_MAX_ID_CHARACTERS = 256
#: Of a message without its tensors that is kept.
_MAX_KEPT_BYTES = 2048
#: Parameters of Triton's that are about its own server.
_TRITONS = "triton_"
#: The field of the elements of each datatype.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_RAW_ONLY = ("FP16", BF16)
#: The wire type of bytes.
_DELIMITED = 2


def parse(kind: type[Message], raw: bytes) -> Any:
    """A message of this kind. Raises InvalidInput: the bytes are none."""
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidInput(f"the request is no message {kind.DESCRIPTOR.full_name}") from error


class _Description(NamedTuple):
    """What a message says about an input."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    has_contents: bool


class _RequestHead(NamedTuple):
    """What a message says besides the elements of tensors. It may be shared by requests, and nobody changes it."""

    inputs: Sequence[_Description]
    outputs: Sequence[RequestedOutput]
    parameters: Mapping[str, Any]


def read_request(message: ModelInferRequest, settings: Settings) -> InferRequest:
    """The request in a message. Raw contents are taken out of it.

    Raises:
        InvalidInput: a tensor does not fit its description; the path begins with the name of the field.
    """
    raw = list(message.raw_input_contents)
    if raw:
        message.ClearField(_RAW)
    is_kept = raw and message.ByteSize() <= _MAX_KEPT_BYTES
    head = _kept_head(message.SerializeToString()) if is_kept else _read_head(message)
    inputs = {tensor.name: tensor for tensor in _tensors(message, head.inputs, raw, settings.max_tokens_per_request)}
    return InferRequest(inputs, head.outputs, head.parameters, message.id, is_binary=True)


def _read_head(message: ModelInferRequest) -> _RequestHead:
    if len(message.inputs) > _MAX_TENSORS or len(message.outputs) > _MAX_TENSORS:
        raise InvalidInput(f"at most {_MAX_TENSORS} tensors are read", ("inputs",))
    if len(message.id) > _MAX_ID_CHARACTERS:
        raise InvalidInput(f"must have at most {_MAX_ID_CHARACTERS} characters", ("id",))
    try:
        inputs = [_described(form) for form in message.inputs]
    except InvalidInput as error:
        raise error.under("inputs") from error
    if len({one.name for one in inputs}) != len(inputs):
        raise InvalidInput(f"two inputs are called {_repeated([one.name for one in inputs])!r}", ("inputs",))
    outputs = [_requested(output) for output in message.outputs]
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidInput(f"the output {_repeated([one.name for one in outputs])!r} is asked for twice", ("outputs",))
    return _RequestHead(inputs, outputs, _values(message.parameters, ("parameters",)))


@lru_cache(maxsize=512)
def _kept_head(raw: bytes) -> _RequestHead:
    """The heads that came last: requests of one client differ in little but their tensors."""
    return _read_head(ModelInferRequest.FromString(raw))


def response_message(response: InferResponse) -> ModelInferResponse:
    """The answer, with raw tensors."""
    message = ModelInferResponse(model_name=response.model_name, model_version=response.model_version, id=response.id)
    outputs, raw = message.outputs, message.raw_output_contents
    for tensor in response.outputs:
        outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        raw.append(bytes_of(tensor))
    return message


def response_bytes(response: InferResponse) -> bytes:
    """`response_message`, serialised. Messages joined are one message, so the parts that come again are kept."""
    parts = [_named(response.model_name, response.model_version)]
    if response.id:
        parts.append(ModelInferResponse(id=response.id).SerializeToString())
    contents = []
    for tensor in response.outputs:
        parts.append(_described_output(tensor.name, tensor.datatype, tuple(tensor.shape)))
        raw = bytes_of(tensor)
        contents += [_beginning_of_raw(len(raw)), raw]
    return b"".join([*parts, *contents])


@lru_cache(maxsize=256)
def _named(model_name: str, model_version: str) -> bytes:
    return ModelInferResponse(model_name=model_name, model_version=model_version).SerializeToString()


@lru_cache(maxsize=4096)
def _described_output(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """The description of an output, as part of a response."""
    output = ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
    return ModelInferResponse(outputs=[output]).SerializeToString()


@lru_cache(maxsize=4096)
def _beginning_of_raw(num_bytes: int) -> bytes:
    """What stands before the bytes of an output: the key of the field, and their number as a varint."""
    number = ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
    written = bytearray([number << 3 | _DELIMITED])
    while num_bytes > 0x7F:
        written.append(num_bytes & 0x7F | 0x80)
        num_bytes >>= 7
    written.append(num_bytes)
    return bytes(written)


def _tensors(
    message: ModelInferRequest, described: Sequence[_Description], raw: Sequence[bytes], max_elements: int
) -> list[Tensor]:
    if raw and len(raw) != len(described):
        raise InvalidInput(f"it has {len(raw)} contents, and there are {len(described)} inputs", (_RAW,))
    try:
        if not raw:
            forms = zip(message.inputs, described, strict=True)
            return [_typed(form, name, shape, max_elements) for form, (name, _, shape, _) in forms]
        return [_raw(one, data, max_elements) for one, data in zip(described, raw, strict=True)]
    except InvalidInput as error:
        raise error.under("inputs") from error


_RAW = "raw_input_contents"


def _raw(described: _Description, data: bytes, max_elements: int) -> Tensor:
    name, datatype, shape, has_contents = described
    if has_contents:
        message = f"it has both `contents` and bytes in `{_RAW}`: send all tensors in one of the two forms"
        raise InvalidInput(message, (name,))
    return tensor_of_bytes(name, datatype, shape, memoryview(data), max_elements)


def _typed(form: ModelInferRequest.InferInputTensor, name: str, shape: tuple[int, ...], max_elements: int) -> Tensor:
    field = _CONTENTS.get(form.datatype)
    if field is None and form.datatype in _RAW_ONLY:
        raise InvalidInput(f"{form.datatype} is sent as bytes in `{_RAW}`", (name, "contents"))
    filled = [descriptor.name for descriptor, _ in form.contents.ListFields()]
    if field is not None and filled and filled != [field]:
        raise InvalidInput(f"{form.datatype} is sent in {field}, this has {' and '.join(filled)}", (name, "contents"))
    elements = getattr(form.contents, field) if field is not None else ()
    if form.datatype == BYTES:
        return tensor_of_elements(name, shape, list(elements), max_elements)
    return tensor_of_json(name, form.datatype, shape, list(elements), max_elements)


def _described(form: ModelInferRequest.InferInputTensor) -> _Description:
    name, shape = form.name, tuple(form.shape)
    if not 0 < len(name) <= _MAX_NAME_CHARACTERS:
        raise InvalidInput(f"an input has a name of 1 to {_MAX_NAME_CHARACTERS} characters")
    if len(shape) > _MAX_AXES:
        raise InvalidInput(f"it has {len(shape)} axes, at most {_MAX_AXES} are read", (name, "shape"))
    if form.parameters and _SHARED_MEMORY in form.parameters:
        raise InvalidInput("shared memory is not offered: send the tensor in the request", (name, "parameters"))
    return _Description(name, form.datatype, shape, form.HasField("contents"))


def _requested(form: ModelInferRequest.InferRequestedOutputTensor) -> RequestedOutput:
    name, where = form.name, ("outputs", form.name[:_MAX_NAME_CHARACTERS], "parameters")
    parameters = _values(form.parameters, where) if form.parameters else {}
    if _SHARED_MEMORY in parameters:
        raise InvalidInput("shared memory is not offered: the tensor comes in the answer", where)
    num_classes = parameters.get("classification", 0)
    if type(num_classes) is not int or num_classes < 0 or (not num_classes and "classification" in parameters):
        raise InvalidInput("must be a number of classes, at least 1", (*where, "classification"))
    return RequestedOutput(name, num_classes)


def _values(parameters: Mapping[str, InferParameter], where: Path) -> dict[str, Any]:
    """Parameters as plain values, without those about Triton's server."""
    values = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidInput("it has no value", (*where, name[:_MAX_NAME_CHARACTERS]))
        if not name.startswith(_TRITONS):
            values[name] = getattr(parameter, choice)
    return values


def _repeated(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
