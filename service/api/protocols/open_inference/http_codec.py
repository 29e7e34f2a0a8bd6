"""Requests and answers over HTTP: JSON, with binary tensors behind it where `Inference-Header-Content-Length` is sent.

    JSON of that length | raw bytes of the first binary tensor | of the second | ...

Each binary tensor has its size as `binary_data_size` in its `parameters`, and no `data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic_core import to_json
from starlette.responses import Response

from service.api.protocols.open_inference.tensors.messages import InferRequest, InferResponse, RequestedOutput, Tensor
from service.api.protocols.open_inference.tensors.tensor_data import (
    bytes_of,
    json_of,
    require_short_json,
    tensor_of_bytes,
    tensor_of_json,
)
from service.api.validation.json_body import BodyLimits, parse_body
from service.errors import InvalidInput
from service.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"

_BINARY_SIZE = "binary_data_size"
_SHARED_MEMORY = "shared_memory_region"
_MAX_AXES = 16
_MAX_TENSORS = 64
_MAX_DIGITS = 19


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


def read_request(body: bytes, header_length: bytes, settings: Settings) -> InferRequest:
    """The request in a body. `header_length` is the header of that name, empty if it was not sent.

    Raises:
        HTTPException, RequestValidationError: the JSON is malformed, or of another shape.
        InvalidInput: a tensor does not fit its description.
    """
    size = _json_size(header_length, len(body))
    limits = BodyLimits(settings.max_body_bytes, settings.max_inputs_per_request)
    form = parse_body(InferForm, body if size == len(body) else body[:size], limits)
    reader = _TensorReader(memoryview(body)[size:], settings.max_tokens_per_request)
    tensors = [reader.read(tensor) for tensor in form.inputs]
    reader.require_end()
    parameters = dict(form.parameters or {})
    is_binary = _flag(parameters, "binary_data_output", ("parameters",)) or False
    inputs = {tensor.name: tensor for tensor in tensors}
    if len(inputs) != len(tensors):
        raise InvalidInput(f"two inputs are called {_repeated(tensors)!r}", ("inputs",))
    outputs = [_requested(output) for output in form.outputs or ()]
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidInput(f"the output {_repeated(outputs)!r} is asked for twice", ("outputs",))
    return InferRequest(inputs, outputs, parameters, form.id, is_binary)


def write_response(response: InferResponse, request: InferRequest) -> Response:
    """The answer as the request wants it: JSON, or JSON and raw bytes.

    Raises:
        InvalidInput: an output cannot be written as JSON.
    """
    wishes = {output.name: output.is_binary for output in request.outputs if output.is_binary is not None}
    is_binary = request.is_binary
    written, parts = [], []
    for tensor in response.outputs:
        name = tensor.name
        entry: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wishes.get(name, is_binary):
            raw = bytes_of(tensor)
            entry["parameters"] = {_BINARY_SIZE: len(raw)}
            parts.append(raw)
        else:
            require_short_json(name, tensor.num_elements)
            entry["data"] = json_of(tensor)
        written.append(entry)
    body: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        body["id"] = response.id
    body["outputs"] = written
    head = to_json(body)
    if not parts:
        return Response(head, media_type="application/json")
    length = {HEADER_LENGTH: str(len(head))}
    return Response(b"".join([head, *parts]), headers=length, media_type="application/octet-stream")


class _TensorReader:
    """Reads tensors one after the other, and takes the raw bytes of each from what is left of the body."""

    def __init__(self, raw: memoryview, max_elements: int) -> None:
        self._raw = raw
        self._max_elements = max_elements

    def read(self, form: TensorForm) -> Tensor:
        """The tensor that a form describes. Raises InvalidInput."""
        try:
            return self._read(form, form.parameters or {})
        except InvalidInput as error:
            raise error.under("inputs") from error

    def require_end(self) -> None:
        """Raises InvalidInput if there are bytes that belong to no tensor."""
        if self._raw:
            raise InvalidInput(f"{len(self._raw)} bytes at the end of the body belong to no input", ("inputs",))

    def _read(self, form: TensorForm, parameters: Mapping[str, Any]) -> Tensor:
        name, shape = form.name, tuple(form.shape)
        if _SHARED_MEMORY in parameters:
            raise InvalidInput("shared memory is not offered: send the tensor in the request", (name, "parameters"))
        size = parameters.get(_BINARY_SIZE)
        if size is None:
            if type(form.data) is not list:
                raise InvalidInput(f"it has neither a list `data` nor `{_BINARY_SIZE}`", (name,))
            return tensor_of_json(name, form.datatype, shape, form.data, self._max_elements)
        if form.data is not None:
            raise InvalidInput(f"it has both `data` and `{_BINARY_SIZE}`", (name,))
        return tensor_of_bytes(name, form.datatype, shape, self._take(name, size), self._max_elements)

    def _take(self, name: str, size: Any) -> memoryview:
        if type(size) is not int or size < 0:
            raise InvalidInput("must be a number of bytes", (name, "parameters", _BINARY_SIZE))
        if size > len(self._raw):
            left = f"{len(self._raw)} bytes are left of the body"
            raise InvalidInput(f"it says that it has {min(size, 10**18)} bytes, and {left}", (name,))
        taken, self._raw = self._raw[:size], self._raw[size:]
        return taken


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


def _repeated(named: Sequence[Tensor | RequestedOutput]) -> str:
    names = [one.name for one in named]
    return next(name for name in names if names.count(name) > 1)
