"""The binary form of recurrent state: one header and one layout of tensors for every task that hands state out.

All numbers are little-endian and stand without gaps:

    header    magic "UnSt", version (1 byte), kind of state (1 byte), number of tensors (2 bytes)
    shapes    uint32 [tensors, 2]: layers and width of each tensor, tensors in the order of their names
    tensors   float32 [layers, width] each: the state of one row
    details   what else the kind of state needs, in a layout of its own

A reader compares the shapes with those of its own model before it uses any length found in the data.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np

from service.bundle.manifest import StateSpec
from service.bundle.padding import Array
from service.errors import StateRefused

_MAGIC = b"UnSt"
#: Raise it with every change of a layout, here or in the details: states of other versions are refused.
_VERSION = 2
_HEADER = struct.Struct("<4sBBH")
_SIZE = np.dtype("<u4")
_FLOAT = np.dtype("<f4")

StateArrays = Mapping[str, Array]


class StateKind(IntEnum):
    """Where the state was taken: between two generated tokens, or between two chunks of an input or of speech."""

    GENERATION = 1
    CHUNK = 2
    SPEECH = 3


def write_state(kind: StateKind, arrays: StateArrays, details: bytes) -> bytes:
    """Equal states give equal bytes. `arrays` are `[layers, width]` by name; ValueError if they are not."""
    tensors = [np.asarray(arrays[name], dtype=_FLOAT) for name in sorted(arrays)]
    if any(tensor.ndim != 2 for tensor in tensors):
        raise ValueError("the state of one row has the axes [layers, width]")
    header = _HEADER.pack(_MAGIC, _VERSION, kind, len(tensors))
    shapes = np.array([tensor.shape for tensor in tensors], dtype=_SIZE)
    return b"".join([header, shapes.tobytes(), *(tensor.tobytes() for tensor in tensors), details])


def read_state(kind: StateKind, data: bytes, specs: Sequence[StateSpec]) -> tuple[dict[str, Array], bytes]:
    """The arrays `[layers, width]` by name, and the details, of a state that `write_state` wrote for this model.

    The arrays are read-only views of `data`.

    Raises:
        StateRefused: with the reason "malformed"; the message says what is wrong.
    """
    _check_header(kind, data, len(specs))
    ordered = sorted(specs, key=lambda spec: spec.name)
    offset = _check_shapes(data, ordered)
    arrays = {}
    for spec in ordered:
        values = np.frombuffer(data, _FLOAT, spec.layers * spec.width, offset)
        if not np.isfinite(values).all():
            raise malformed(f"the tensor {spec.name!r} has numbers that are not finite")
        arrays[spec.name] = values.reshape(spec.layers, spec.width)
        offset += values.nbytes
    return arrays, data[offset:]


def malformed(why: str) -> StateRefused:
    """The refusal of bytes that cannot be a state of this model."""
    return StateRefused(f"this is not a state of this model: {why}", "malformed")


def _check_header(kind: StateKind, data: bytes, num_specs: int) -> None:
    if len(data) < _HEADER.size:
        raise malformed(f"it has {len(data)} bytes, the header alone has {_HEADER.size}")
    magic, version, found_kind, num_tensors = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise malformed("another version of this service wrote it, so start again without a state")
    if found_kind != kind:
        raise malformed(f"it is of kind {found_kind}, this model reads states of kind {kind.value}")
    if num_tensors != num_specs:
        raise malformed(f"it has {num_tensors} tensors, this model has {num_specs}")


def _check_shapes(data: bytes, specs: Sequence[StateSpec]) -> int:
    """Where the tensors begin. The shapes decide how long they are, so the data must be long enough for them."""
    expected = [[spec.layers, spec.width] for spec in specs]
    start = _HEADER.size + 2 * len(specs) * _SIZE.itemsize
    end = start + sum(layers * width for layers, width in expected) * _FLOAT.itemsize
    if len(data) < end:
        raise malformed(f"it has {len(data)} bytes, the tensors of this model need {end}")
    shapes = np.frombuffer(data, _SIZE, 2 * len(specs), _HEADER.size).reshape(-1, 2).tolist()
    if shapes != expected:
        raise malformed(f"its tensors have the shapes {shapes}, those of this model {expected}")
    return start
