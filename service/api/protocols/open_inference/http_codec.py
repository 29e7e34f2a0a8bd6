"""Requests and answers over HTTP: JSON, with binary tensors behind it where `Inference-Header-Content-Length` is sent.

    JSON of that length | raw bytes of the first binary tensor | of the second | ...

Each binary tensor has its size as `binary_data_size` in its `parameters`, and no `data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.protocol import PlainResponse
from service.api.protocols.open_inference.tensors.messages import InferRequest, InferResponse, RequestedOutput, Tensor
from service.api.protocols.open_inference.tensors.tensor_data import (
    bytes_of,
    json_of,
    require_short_json,
    tensor_of_bytes,
    tensor_of_json,
)
from service.api.validation.json_body import BodyLimits, parse_body
from service.api.validation.sound_body import require_sound
from service.errors import InvalidInput
from service.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"

_LENGTH_NAME = HEADER_LENGTH.lower().encode()
_BINARY_SIZE = "binary_data_size"
_BINARY_OUTPUT = "binary_data_output"
_SHARED_MEMORY = "shared_memory_region"
_MAX_AXES = 16
_MAX_TENSORS = 64
_MAX_DIGITS = 19
#: Of the JSON of a request that is kept.
_MAX_KEPT_BYTES = 2048


class JsonForm(BaseModel):
    """Base of bodies of this protocol. What a client adds to them is ignored, as its servers do."""

    model_config = ConfigDict(extra="ignore", strict=True)


class TensorForm(JsonForm):
    """An input: its elements in `data`, flat or nested; or raw bytes after the JSON, see `binary_data_size`."""

    name: str = Field(min_length=1, max_length=64)
    shape: Annotated[list[int], Field(max_length=_MAX_AXES), FailFast()]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = Field(None, description="a list")


class OutputForm(JsonForm):
    """An output that is wanted."""

    name: str = Field(max_length=64)
    parameters: dict[str, Any] | None = None


class InferForm(JsonForm):
    """A request. `outputs` may be left out: all are sent then."""

    id: str = Field("", max_length=256)
    parameters: dict[str, Any] | None = None
    inputs: Annotated[list[TensorForm], Field(max_length=_MAX_TENSORS), FailFast()]
    outputs: Annotated[list[OutputForm], Field(max_length=_MAX_TENSORS, fail_fast=True)] | None = None


class _InputHead(NamedTuple):
    """What the JSON says about an input: `num_bytes` of raw data follow, or `data` has the elements."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    num_bytes: int | None
    data: Any


class _RequestHead(NamedTuple):
    """What the JSON of a request says. It may be shared by requests, and nobody changes it."""

    inputs: Sequence[_InputHead]
    outputs: Sequence[RequestedOutput]
    parameters: Mapping[str, Any]
    id: str
    is_binary: bool


def read_request(body: bytes, header_length: bytes, settings: Settings) -> InferRequest:
    """The request in a body. `header_length` is the header of that name, empty if it was not sent.

    Raises:
        HTTPException, RequestValidationError: the JSON is malformed, or of another shape.
        InvalidInput: a tensor does not fit its description.
        BodyTooLarge: the JSON is larger than other bodies, and not by sound.
    """
    size = _json_size(header_length, len(body))
    limits = BodyLimits(settings.max_body_bytes, settings.max_inputs_per_request)
    has_raw = size < len(body)
    json = body[:size] if has_raw else body
    require_sound(json, settings.max_body_bytes)
    read_head = _kept_head if has_raw and size <= _MAX_KEPT_BYTES else _read_head
    head = read_head(json, limits)
    inputs = _read_tensors(head.inputs, memoryview(body)[size:], settings.max_tokens_per_request)
    return InferRequest(inputs, head.outputs, head.parameters, head.id, head.is_binary)


def _read_head(raw: bytes, limits: BodyLimits) -> _RequestHead:
    form = parse_body(InferForm, raw, limits)
    try:
        inputs = [_input_head(tensor) for tensor in form.inputs]
    except InvalidInput as error:
        raise error.under("inputs") from error
    parameters = form.parameters or {}
    is_binary = _flag(parameters, _BINARY_OUTPUT, ("parameters",)) or False
    parameters = {name: value for name, value in parameters.items() if name != _BINARY_OUTPUT}
    outputs = [_requested(output) for output in form.outputs or ()]
    _require_distinct(inputs, outputs)
    return _RequestHead(inputs, outputs, parameters, form.id, is_binary)


#: The heads that came last: requests of one client differ in little but their raw bytes.
_kept_head = lru_cache(maxsize=512)(_read_head)


def _require_distinct(inputs: Sequence[_InputHead], outputs: Sequence[RequestedOutput]) -> None:
    """Raises InvalidInput if a name is there twice."""
    if len({tensor.name for tensor in inputs}) != len(inputs):
        raise InvalidInput(f"two inputs are called {_repeated(inputs)!r}", ("inputs",))
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidInput(f"the output {_repeated(outputs)!r} is asked for twice", ("outputs",))


def write_response(response: InferResponse, request: InferRequest) -> Response:
    """The answer as the request wants it: JSON, or JSON and raw bytes.

    Raises:
        InvalidInput: an output cannot be written as JSON.
    """
    wishes = {output.name: output.is_binary for output in request.outputs if output.is_binary is not None}
    is_binary = request.is_binary
    written: list[bytes] = []
    parts: list[bytes] = []
    for tensor in response.outputs:
        name, datatype, shape, *_ = tensor
        if wishes.get(name, is_binary):
            raw = bytes_of(tensor)
            parts.append(raw)
            written.append(_binary_entry(name, datatype, len(shape)) % (*shape, len(raw)))
        else:
            require_short_json(name, tensor.num_elements)
            entry = _json_entry(name, datatype, len(shape)) % tuple(shape)
            written.append(b"%b%b}" % (entry, to_json(json_of(tensor))))
    named = _answer_beginning(response.model_name, response.model_version)
    identified = b',"id":' + to_json(response.id) if response.id else b""
    head = b'%b%b,"outputs":[%b]}' % (named, identified, b",".join(written))
    if not parts:
        return PlainResponse(head)
    length = _LENGTH_NAME, b"%d" % len(head)
    return PlainResponse(b"".join([head, *parts]), b"application/octet-stream", (length,))


# The head of an answer is the same but for a few numbers, so it is written from templates.


@lru_cache(maxsize=256)
def _answer_beginning(model_name: str, model_version: str) -> bytes:
    return to_json({"model_name": model_name, "model_version": model_version})[:-1]


@lru_cache(maxsize=1024)
def _entry(name: str, datatype: str, num_axes: int) -> bytes:
    """The template of an output, up to its shape."""
    named = to_json({"name": name, "datatype": datatype})[:-1].replace(b"%", b"%%")
    return named + b',"shape":[' + b",".join([b"%d"] * num_axes) + b"]"


@lru_cache(maxsize=1024)
def _binary_entry(name: str, datatype: str, num_axes: int) -> bytes:
    """The template of an output with raw bytes, for its shape and their number."""
    return _entry(name, datatype, num_axes) + b',"parameters":{"%b":%%d}}' % _BINARY_SIZE.encode()


@lru_cache(maxsize=1024)
def _json_entry(name: str, datatype: str, num_axes: int) -> bytes:
    """The template of an output in JSON, for its shape; its data and a bracket follow."""
    return _entry(name, datatype, num_axes) + b',"data":'


def _input_head(form: TensorForm) -> _InputHead:
    """What a form says. Raises InvalidInput."""
    name, parameters = form.name, form.parameters or {}
    if _SHARED_MEMORY in parameters:
        raise InvalidInput("shared memory is not offered: send the tensor in the request", (name, "parameters"))
    size = parameters.get(_BINARY_SIZE)
    if size is None and type(form.data) is not list:
        raise InvalidInput(f"it has neither a list `data` nor `{_BINARY_SIZE}`", (name,))
    if size is not None and form.data is not None:
        raise InvalidInput(f"it has both `data` and `{_BINARY_SIZE}`", (name,))
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidInput("must be a number of bytes", (name, "parameters", _BINARY_SIZE))
    return _InputHead(name, form.datatype, tuple(form.shape), size, form.data)


def _read_tensors(heads: Sequence[_InputHead], raw: memoryview, max_elements: int) -> dict[str, Tensor]:
    """The tensors by name, each with its part of the raw bytes. Raises InvalidInput."""
    inputs, end = {}, 0
    try:
        for name, datatype, shape, num_bytes, data in heads:
            if num_bytes is None:
                inputs[name] = tensor_of_json(name, datatype, shape, data, max_elements)
                continue
            start, end = end, end + num_bytes
            if end > len(raw):
                left = f"{len(raw) - start} bytes are left of the body"
                raise InvalidInput(f"it says that it has {min(num_bytes, 10**18)} bytes, and {left}", (name,))
            inputs[name] = tensor_of_bytes(name, datatype, shape, raw[start:end], max_elements)
    except InvalidInput as error:
        raise error.under("inputs") from error
    if end < len(raw):
        raise InvalidInput(f"{len(raw) - end} bytes at the end of the body belong to no input", ("inputs",))
    return inputs


def _json_size(header_length: bytes, body_size: int) -> int:
    """How many bytes of the body are JSON."""
    if not header_length:
        return body_size
    if not header_length.isdigit() or int(header_length[:_MAX_DIGITS]) > body_size or len(header_length) > _MAX_DIGITS:
        raise InvalidInput(f"must be a number of bytes, at most the {body_size} of the body", (HEADER_LENGTH,))
    return int(header_length)


def _requested(form: OutputForm) -> RequestedOutput:
    parameters, where = form.parameters or {}, ("outputs", form.name, "parameters")
    if _SHARED_MEMORY in parameters:
        raise InvalidInput("shared memory is not offered: the tensor comes in the answer", where)
    num_classes = parameters.get("classification", 0)
    if type(num_classes) is not int or num_classes < 0 or (not num_classes and "classification" in parameters):
        raise InvalidInput("must be a number of classes, at least 1", (*where, "classification"))
    return RequestedOutput(form.name, num_classes, _flag(parameters, "binary_data", where))


def _flag(parameters: Mapping[str, Any], name: str, where: Sequence[str]) -> bool | None:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        raise InvalidInput("must be true or false", (*where, name))
    return value


def _repeated(named: Sequence[_InputHead | RequestedOutput]) -> str:
    names = [one.name for one in named]
    return next(name for name in names if names.count(name) > 1)
