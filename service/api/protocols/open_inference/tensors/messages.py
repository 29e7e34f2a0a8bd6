"""Requests and answers of the protocol as plain values, whatever carries them: JSON, binary tensors or gRPC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from service.bundle.manifest import Dtype
from service.bundle.padding import Array
from service.errors import InvalidInput

BYTES = "BYTES"
BF16 = "BF16"

#: Datatypes of numbers, as they stand in binary tensors.
DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype("?"),
        "UINT8": np.dtype("u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        BF16: np.dtype("<u2"),  # numpy has no such type: its bits
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
    }
)
#: The datatypes of the tensors of graphs.
DATATYPES: Mapping[Dtype, str] = MappingProxyType({"int64": "INT64", "float32": "FP32", "uint8": "UINT8"})


_DATATYPES_OF_KINDS = {"f": "FP32", "i": "INT64", "u": "UINT8"}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Tensor(NamedTuple):
    """A named tensor.

    Attributes:
        data: an array of the shape; or the elements as a list, the last axis varying fastest: of BYTES always, as bytes
            or as texts, and of numbers where an answer has them as a list already. BF16 is read as float32.
        parameters: what came or goes with it.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    data: Array | Sequence[Any]
    parameters: Mapping[str, Any] = _NOTHING

    @property
    def num_elements(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)

    @property
    def array(self) -> Array:
        """The numbers. Raises InvalidInput for a tensor of BYTES."""
        if self.datatype == BYTES:
            raise InvalidInput("numbers are wanted here, and these are BYTES", (self.name,))
        if isinstance(self.data, np.ndarray):
            return self.data
        return np.array(self.data, DTYPES[self.datatype]).reshape(self.shape)

    @property
    def elements(self) -> list[bytes]:
        """The elements of a tensor of BYTES. Raises InvalidInput for one of numbers."""
        if self.datatype != BYTES:
            raise InvalidInput(f"BYTES are wanted here, and these are {self.datatype}", (self.name,))
        return [element.encode("utf-8") if isinstance(element, str) else element for element in self.data]


def numbers(name: str, array: Array) -> Tensor:
    """A tensor of float32, int64 or uint8."""
    return Tensor(name, _DATATYPES_OF_KINDS[array.dtype.kind], array.shape, array)


def texts(name: str, elements: Sequence[str], shape: Sequence[int] = ()) -> Tensor:
    """A tensor of texts, by default with one axis."""
    return Tensor(name, BYTES, shape or (len(elements),), elements)


class RequestedOutput(NamedTuple):
    """An output that was asked for.

    Attributes:
        num_classes: answer with so many of the largest of the last axis, as `score:index:label`; 0 for the tensor.
        is_binary: as raw bytes after the JSON; None if the request says it for all outputs.
    """

    name: str
    num_classes: int = 0
    is_binary: bool | None = None


class InferRequest(NamedTuple):
    """One request.

    Attributes:
        inputs: by name.
        outputs: none for all of them.
        parameters: of the request, those of the protocol and those of the model's task.
        is_binary: whether outputs are wanted as raw bytes unless they say otherwise.
    """

    inputs: Mapping[str, Tensor]
    outputs: Sequence[RequestedOutput] = ()
    parameters: Mapping[str, Any] = _NOTHING
    id: str = ""
    is_binary: bool = False

    def wants(self, name: str) -> bool:
        """Whether an output that is given only on request is asked for."""
        return any(output.name == name for output in self.outputs)

    def is_sent(self, name: str) -> bool:
        """Whether an output of a plain answer is in the answer to this request."""
        return not self.outputs or self.wants(name)

    def wants_bytes(self, name: str) -> bool:
        """Whether an output is sent as raw bytes."""
        wishes = [output.is_binary for output in self.outputs if output.name == name]
        return self.is_binary if not wishes or wishes[0] is None else wishes[0]


class InferResponse(NamedTuple):
    """One answer; its outputs are in the order in which they were asked for."""

    model_name: str
    model_version: str
    outputs: Sequence[Tensor]
    id: str = ""


class TensorMetadata(NamedTuple):
    """What a model takes or gives. -1 in the shape is an axis of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Signature(NamedTuple):
    """The inputs and outputs of a model, in order."""

    inputs: Sequence[TensorMetadata]
    outputs: Sequence[TensorMetadata]


def number_of_elements(shape: Sequence[int], name: str) -> int:
    """The product of a shape, which is of the caller: nothing may be allocated by it. Raises InvalidInput."""
    if min(shape, default=0) < 0:
        raise InvalidInput(f"the shape {shown(shape)} has a negative size", (name, "shape"))
    count = math.prod(shape)
    if not count:
        raise InvalidInput(f"the shape {shown(shape)} has no elements: send at least one", (name, "shape"))
    return count


def shown(shape: Sequence[int]) -> str:
    """A shape as it stands in messages, where it must be short."""
    sizes = [str(size) if abs(size) < 10**18 else "a number of more than 18 digits" for size in shape]
    return f"[{', '.join(sizes)}]"
