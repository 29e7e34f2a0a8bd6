"""The data of tensors: raw bytes and nested lists of JSON to arrays, and back. Nothing is allocated by a shape alone.

Raw numbers are little-endian and stand without gaps. Each raw element of BYTES is preceded by its length, 4 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from service.api.protocols.open_inference.tensors.messages import BF16, BYTES, DTYPES, Tensor, number_of_elements, shown
from service.bundle.padding import Array
from service.errors import InvalidInput

_LENGTH_BYTES = 4
_MAX_RAW_BYTES = 0xFFFFFFFF
_LENGTH = struct.Struct("<I")
_MAX_KEPT_FRAMES, _MAX_KEPT_CHARACTERS = 4096, 32
#: Of `struct`, for the datatypes of answers.
_LETTERS = {"FP32": "f", "INT64": "q"}

#: An array of JSON blocks the event loop while it is written, so that longer ones are sent as bytes only.
_MAX_JSON_ELEMENTS = 1 << 18

#: An answer is held in memory as a whole.
_MAX_OUTPUT_BYTES = 64 * 1024 * 1024

#: The types that JSON values of a datatype have.
_FLOATS = frozenset({int, float})
_JSON_TYPES = {"BOOL": frozenset({bool}), BYTES: frozenset({str})} | {
    name: frozenset({int}) if "INT" in name else _FLOATS for name in DTYPES if name != "BOOL"
}


def tensor_of_bytes(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview, max_elements: int) -> Tensor:
    """A tensor from raw bytes; an element of BYTES is copied, an array is not.

    Raises:
        InvalidInput: with the name of the tensor: datatype, shape and number of bytes do not fit together.
    """
    count = number_of_elements(shape, name)
    if datatype == BYTES:
        return Tensor(name, datatype, shape, _elements_of_bytes(name, raw, count, max_elements))
    dtype = _dtype(name, datatype)
    if count * dtype.itemsize != len(raw):
        needs = (
            f"{datatype} {shown(shape)} has {count * dtype.itemsize} bytes"
            if count <= _MAX_RAW_BYTES
            else (f"{datatype} {shown(shape)} has more bytes than any request")
        )
        raise InvalidInput(f"{needs}, it was sent with {len(raw)}", (name,))
    array = np.frombuffer(raw, dtype).reshape(shape)
    return Tensor(name, datatype, shape, _floats_of_bf16(array) if datatype == BF16 else array)


def tensor_of_json(name: str, datatype: str, shape: tuple[int, ...], data: list[Any], max_elements: int) -> Tensor:
    """A tensor from a list of JSON values: flat, or nested as the shape says.

    Raises:
        InvalidInput: with the name of the tensor: datatype, shape and values do not fit together.
    """
    count = number_of_elements(shape, name)
    types = _JSON_TYPES.get(datatype)
    if types is None:
        raise _unknown_datatype(name, datatype)
    flat = _flattened(name, shape, data)
    if len(flat) != count:
        size = str(count) if count <= _MAX_RAW_BYTES else "more than 2^32"
        raise InvalidInput(f"the shape {shown(shape)} has {size} elements, the data {len(flat)}", (name,))
    if not types.issuperset(map(type, flat)):
        raise _wrong_value(name, datatype, flat, types)
    if datatype == BYTES:
        return Tensor(name, datatype, shape, _encoded(name, flat, max_elements))
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, np.float32 if datatype == BF16 else DTYPES[datatype])
    except (OverflowError, ValueError) as error:
        raise InvalidInput(f"a number is outside of the range of {datatype}", (name,)) from error
    return Tensor(name, datatype, shape, array.reshape(shape))


def tensor_of_elements(name: str, shape: tuple[int, ...], elements: list[bytes], max_elements: int) -> Tensor:
    """A tensor of BYTES from its elements.

    Raises:
        InvalidInput: with the name of the tensor: shape and number of elements do not fit together.
    """
    count = number_of_elements(shape, name)
    _require_few(name, count, max_elements)
    if len(elements) != count:
        raise InvalidInput(f"the shape {shown(shape)} has {count} elements, the data {len(elements)}", (name,))
    return Tensor(name, BYTES, shape, elements)


def bytes_of(tensor: Tensor) -> bytes:
    """The raw bytes of a tensor."""
    data = tensor.data
    if isinstance(data, np.ndarray):
        return data.astype(DTYPES[tensor.datatype], copy=False).tobytes()
    if tensor.datatype != BYTES:  # `struct` packs a list of numbers in less time than an array takes to be made
        return struct.pack(f"<{len(data)}{_LETTERS[tensor.datatype]}", *data)
    if data and type(data[0]) is str:
        return b"".join([_FRAMES[element] for element in data])
    elements = tensor.elements
    return b"".join([part for element in elements for part in (_LENGTH.pack(len(element)), element)])


class _Frames(dict[str, bytes]):
    """Texts as elements of BYTES, behind their lengths. Labels and most words are short, come again, and are kept."""

    def __missing__(self, text: str) -> bytes:
        raw = text.encode("utf-8")
        frame = _LENGTH.pack(len(raw)) + raw
        if len(text) <= _MAX_KEPT_CHARACTERS:
            if len(self) >= _MAX_KEPT_FRAMES:
                self.clear()
            self[text] = frame
        return frame


#: Clients choose some of the texts, so there is a bound on what they take.
_FRAMES = _Frames()


def json_of(tensor: Tensor) -> Sequence[Any]:
    """The elements as a flat list of JSON values. Raises InvalidInput for numbers that JSON has not, and no text."""
    data = tensor.data
    if tensor.datatype == BYTES:
        try:
            return [element if isinstance(element, str) else element.decode("utf-8") for element in data]
        except UnicodeDecodeError as error:
            raise InvalidInput("an element is not UTF-8: ask for binary data", ("outputs", tensor.name)) from error
    if not isinstance(data, np.ndarray):
        return data
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        message = "a number is not finite, which JSON cannot say: ask for binary data"
        raise InvalidInput(message, ("outputs", tensor.name))
    plain: list[Any] = data.reshape(-1).tolist()
    return plain


def require_short_json(name: str, num_elements: int) -> None:
    """Raises InvalidInput if an output is too long to be written as JSON."""
    if num_elements > _MAX_JSON_ELEMENTS:
        message = f"it has {num_elements} elements, as JSON at most {_MAX_JSON_ELEMENTS} are sent: ask for binary data"
        raise InvalidInput(message, ("outputs", name))


def require_few_bytes(num_bytes: int) -> None:
    """Raises InvalidInput if the outputs of a request would be larger than is sent."""
    if num_bytes > _MAX_OUTPUT_BYTES:
        message = f"the outputs would have {num_bytes} bytes, at most {_MAX_OUTPUT_BYTES} are sent: send fewer rows"
        raise InvalidInput(message, ("inputs",))


def _dtype(name: str, datatype: str) -> np.dtype[Any]:
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise _unknown_datatype(name, datatype)
    return dtype


def _unknown_datatype(name: str, datatype: str) -> InvalidInput:
    known = ", ".join([*DTYPES, BYTES])
    return InvalidInput(f"there is no datatype {datatype[:32]!r}; there are: {known}", (name, "datatype"))


def _elements_of_bytes(name: str, raw: memoryview, count: int, max_elements: int) -> list[bytes]:
    _require_few(name, count, max_elements)
    elements, end, total = [], 0, len(raw)
    if count == 1 and total == _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little") >= _LENGTH_BYTES:
        return [bytes(raw[_LENGTH_BYTES:])]
    for index in range(count):
        start = end + _LENGTH_BYTES
        if start > total:
            raise InvalidInput(f"its {total} bytes end before element {index} of {count}", (name,))
        size = int.from_bytes(raw[end:start], "little")
        end = start + size
        if end > total:
            left = f"{total - start} bytes are left"
            raise InvalidInput(f"element {index} says that it has {size} bytes, and {left}", (name,))
        elements.append(bytes(raw[start:end]))
    if end != total:
        raise InvalidInput(f"{total - end} bytes follow the last of its {count} elements", (name,))
    return elements


def _require_few(name: str, count: int, max_elements: int) -> None:
    if count > max_elements:
        size = str(count) if count <= _MAX_RAW_BYTES else "more than 2^32"
        raise InvalidInput(f"it has {size} elements of BYTES, at most {max_elements} are read", (name,))


def _flattened(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements of nested lists, whose lengths must be those of the shape; a flat list as it is."""
    if not data or type(data[0]) is not list:
        return data
    flat = [data]
    for axis, size in enumerate(shape):
        if any(type(part) is not list or len(part) != size for part in flat):
            raise InvalidInput(f"not every list of axis {axis} has {size} elements", (name, "data"))
        flat = list(chain.from_iterable(flat))
    return flat


def _wrong_value(name: str, datatype: str, flat: Sequence[Any], types: frozenset[type]) -> InvalidInput:
    index = next(index for index, value in enumerate(flat) if type(value) not in types)
    kinds = {str: "a text", bool: "true or false", type(None): "null", list: "a list", dict: "an object"}
    kind = kinds.get(type(flat[index]), "a number" if datatype in (BYTES, "BOOL") else "a number with a fraction")
    return InvalidInput(f"element {index} is {kind}, which is no {datatype}", (name, "data"))


def _encoded(name: str, flat: Sequence[str], max_elements: int) -> list[bytes]:
    _require_few(name, len(flat), max_elements)
    try:
        return [text.encode("utf-8") for text in flat]
    except UnicodeEncodeError as error:
        raise InvalidInput("an element holds half of a surrogate pair, which is no text", (name, "data")) from error


def _floats_of_bf16(bits: Array) -> Array:
    """float32 of which the given bits are the upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
