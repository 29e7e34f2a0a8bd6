"""Inputs as Python values, written as the JSON of the HTTP API."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from service.client.errors import FieldError, InvalidInput


@dataclass(frozen=True)
class Frames:
    """One sequence of feature vectors, the earliest first: a list, or an array `[time, features]`.

    `times` are those of the last frames, ISO 8601 or numbers; the answer of a forecaster then has times.
    """

    rows: Any
    times: Sequence[str | float] | None = None


class Tensors:
    """Named arrays of one input, without a batch axis: lists, or arrays of numpy or torch.

    Tensors(x=samples, context=[0.5, 1.0])
    Tensors({"input.1": samples})
    """

    def __init__(self, arrays: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        self.arrays: dict[str, Any] = {**(arrays or {}), **named}


#: A text; its words; frames; named arrays; the bytes of a WAV, PNG or GIF file; the path of one; or the JSON object.
Input = str | Sequence[str] | Frames | Tensors | bytes | Path | Mapping[str, Any]

V = TypeVar("V")
_PNG = b"\x89PNG"
_GIFS = (b"GIF87a", b"GIF89a")
#: First bytes of WAV, FLAC, Ogg, AIFF, AU and MP3 files.
_SOUNDS = (b"RIFF", b"fLaC", b"OggS", b"FORM", b".snd", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
_KINDS = "a text, a list of words, Frames(rows), Tensors(name=array), bytes or the path of a WAV, PNG or GIF file"


def json_inputs(inputs: Input | Sequence[Input]) -> Any:
    """What stands in `inputs` of a request: one input, or a list of inputs, as in the HTTP API.

    Raises:
        InvalidInput: one of them is of no known kind; or a file cannot be read.
    """
    if isinstance(inputs, list | tuple):
        return [json_input(each, f"inputs.{number}") for number, each in enumerate(inputs)]
    return json_input(inputs, "inputs")


def json_input(value: Any, field: str) -> Any:
    """One input. Raises InvalidInput."""
    if isinstance(value, str | Mapping):
        return value
    if isinstance(value, Frames):
        times = {} if value.times is None else {"times": list(value.times)}
        return {"frames": rows_of(value.rows, field), **times}
    if isinstance(value, Tensors):
        return {"tensors": plain_arrays(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return _file_object(bytes(value), field)
    if isinstance(value, Path):
        return _file_object(_read(value, field), field)
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return list(value)
    if hasattr(value, "tolist") or isinstance(value, list | tuple):
        raise _invalid(field, "numbers are given as Frames(rows), with a list of numbers for each point in time")
    raise _invalid(field, f"{type(value).__name__} is no input: give {_KINDS}")


def rows_of(rows: Any, field: str) -> list[list[float]]:
    """Frames as lists: from lists, or from an array with `tolist`. Raises InvalidInput."""
    found = rows.tolist() if hasattr(rows, "tolist") else rows
    if not isinstance(found, list | tuple) or not all(isinstance(row, list | tuple) for row in found):
        raise _invalid(field, "frames are a list with a list of numbers for each point in time")
    return [list(row) for row in found]


def plain_arrays(value: Tensors) -> dict[str, Any]:
    """Named arrays as nested lists."""
    return {name: array.tolist() if hasattr(array, "tolist") else array for name, array in value.arrays.items()}


def json_body(body: Any) -> bytes:
    """A body in UTF-8. Raises InvalidInput where it has NaN, an infinity, half a surrogate pair, or no JSON value."""
    try:
        return _written(body)
    except UnicodeEncodeError as error:
        sign = error.object[error.start]
        raise _invalid(_place_in(body), f"a text holds {sign!r}, which is no Unicode character") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(_place_in(body), f"this cannot be written as JSON: {error}") from error


async def each_of(values: Iterable[V] | AsyncIterable[V]) -> AsyncIterator[V]:
    """The values of either kind of iterable."""
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


def texts_of(inputs: str | Sequence[str]) -> list[str]:
    """One text, or each of a list. Raises InvalidInput for anything else, such as words or bytes."""
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, list | tuple) and all(isinstance(each, str) for each in inputs):
        return list(inputs)
    raise _invalid("inputs", "give a text, or a list of texts")


def each_input(inputs: Iterable[V]) -> Iterable[V]:
    """Many inputs. Raises InvalidInput for a single one, whose letters, bytes or names would be taken for inputs."""
    if isinstance(inputs, str | bytes | bytearray | Mapping | Frames | Tensors | Path):
        raise _invalid("inputs", f"give an iterable of inputs, such as a list, and no single {type(inputs).__name__}")
    return inputs


def _written(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain).encode()


def _place_in(body: Any, depth: int = 2) -> str:
    """The path of the first value that cannot be written, at most two names or numbers of it."""
    if not isinstance(body, Mapping | list | tuple) or not depth:
        return ""
    for name, value in body.items() if isinstance(body, Mapping) else enumerate(body):
        try:
            _written(value)
        except (TypeError, ValueError, RecursionError):
            return f"{name}.{_place_in(value, depth - 1)}".rstrip(".")
    return ""


def _plain(value: Any) -> Any:
    """Numbers of numpy and other values that have a plain form; tuples and mappings."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _file_object(content: bytes, field: str) -> dict[str, str]:
    kinds = ((_SOUNDS, "wav"), (_PNG, "png"), (_GIFS, "clip"))
    kind = next((name for magic, name in kinds if content.startswith(magic)), None)
    if kind is None:
        raise _invalid(field, "these bytes are neither a sound (WAV, FLAC, Ogg, MP3, AIFF, AU) nor a PNG or GIF file")
    return {kind: base64.b64encode(content).decode("ascii")}


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _invalid(field, f"{path} cannot be read: {error.strerror}") from error


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(
        f"{field}: {message}" if field else message, code="validation", fields=(FieldError(field, message),)
    )
