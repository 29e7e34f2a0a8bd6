"""One input as it stands in JSON, in a request or in `examples.jsonl`, to the plain value that tasks take.

A text and a list of words are what they are. An object holds numbers or a picture: `{"frames": [[0.1, 0.2], ...]}`, a
sequence of feature vectors, `{"wav": "UklGR..."}`, a wave file, or `{"png": "iVBOR..."}`, a PNG file, both in base64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.errors import InvalidInput
from service.tasks.core.task import Frames, Picture, PredictInput, Waveform
from service.tasks.inputs.png import size_of_png
from service.tasks.inputs.wav import read_wav

#: One input as it stands in JSON; an object holds numbers or a picture.
JsonInput = str | Sequence[str] | dict[str, Any]
#: One input alone, or several.
JsonInputs = JsonInput | Sequence[JsonInput]

#: Base64 is decoded so much faster than text is tokenised.
_WAV_CHARACTERS_PER_CHARACTER = 32
#: A PNG file of so many base64 characters, about 12 kB, is decoded in about a millisecond; and so is the smallest one.
_PNG_CHARACTERS_PER_CHARACTER = 8
#: The characters of a PNG file that hold its size, and so many pixels that are decoded as fast as a character of text.
_PNG_HEAD_CHARACTERS = 32
_PIXELS_PER_CHARACTER = 32


def plain_value(given: Any) -> PredictInput:
    """What tasks take.

    Raises:
        InvalidInput: it cannot be read, with the path of the field within the input.
    """
    if not isinstance(given, dict):
        value: PredictInput = given
        return value
    if given.keys() == {"frames"}:
        return read_frames(given["frames"])
    if given.keys() == {"wav"}:
        return read_base64_wav(given["wav"])
    if given.keys() == {"png"}:
        return Picture(_from_base64(given["png"], "png"))
    raise InvalidInput('an object as input has "frames", "wav" or "png", and nothing else')


def read_frames(rows: Sequence[Sequence[float]]) -> Frames:
    """Rows of equal length to an array. Raises InvalidInput with the first row at fault."""
    if not rows:
        raise InvalidInput("there are no frames", ("frames",))
    width = len(rows[0])
    if not width:
        raise InvalidInput("this frame holds no numbers", ("frames", 0))
    for index, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(f"the number of values is {len(row)}, in the first frame {width}", ("frames", index))
    with np.errstate(over="ignore"):
        values = np.array(rows, dtype=np.float32)
    is_finite = np.isfinite(values).all(axis=1)
    if not is_finite.all():
        index = int(is_finite.argmin())
        raise InvalidInput("a number is not finite, or too large for 32 bits", ("frames", index))
    return Frames(values)


def read_base64_wav(text: str) -> Waveform:
    """A wave file in base64. Raises InvalidInput with what is wrong with it."""
    data = _from_base64(text, "wav")
    try:
        return read_wav(data)
    except InvalidInput as error:
        raise error.under("wav") from error


def _from_base64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput("this is not base64", (field,)) from error


def effort_of(inputs: Any) -> int:
    """How much work reading one input or several will be, in characters of text."""
    if isinstance(inputs, str):
        return len(inputs)
    if isinstance(inputs, dict):
        return _effort_of_object(inputs)
    return sum([len(v) if isinstance(v, str) else _effort_of_item(v) for v in inputs])


def _effort_of_item(value: Sequence[str] | dict[str, Any]) -> int:
    return _effort_of_object(value) if isinstance(value, dict) else sum(map(len, value))


def _effort_of_object(value: dict[str, Any]) -> int:
    """A number of a frame counts like a character."""
    if "wav" in value:
        return len(value["wav"]) // _WAV_CHARACTERS_PER_CHARACTER
    if "png" in value:
        return _effort_of_picture(value["png"])
    return sum(map(len, value["frames"]))


def _effort_of_picture(text: str) -> int:
    """Decoding takes as long as the pixels want that the file announces; what is no PNG file is refused at once."""
    try:
        size = size_of_png(base64.b64decode(text[:_PNG_HEAD_CHARACTERS]))
    except (InvalidInput, ValueError):
        return 0
    return len(text) // _PNG_CHARACTERS_PER_CHARACTER + size.rows * size.columns // _PIXELS_PER_CHARACTER
