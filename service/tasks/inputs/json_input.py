"""From an input in JSON, in a request or in `examples.jsonl`, to the plain value that tasks take.

A text and a list of words are passed on. An object has numbers or a picture: `{"frames": [[0.1, 0.2], ...]}`, a
sequence of feature vectors, also with `"times"` of the last of them, `{"wav": "UklGR..."}`, a sound file of any kind
that is read, which `"audio"` may name too, or `{"png": "iVBOR..."}`, a PNG file, both in base64. `{"clip": "R0lG..."}`
is a GIF or animated PNG file, `{"pictures": ["iVBOR...", ...]}` a PNG file for each frame of a clip.
`{"tensors": {"x": [[0.1], ...]}}` has arrays by name. A protocol that has read them already passes on `Frames`, a
`Waveform`, a `Picture`, a `Clip` or `Tensors`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from service.errors import InvalidInput
from service.tasks.core.task import NO_TEXT, Clip, Frames, Picture, PredictInput, Tensors, Waveform
from service.tasks.inputs.clips.clip_file import facts_of_clip, facts_of_pictures
from service.tasks.inputs.clips.facts import MAX_FRAMES
from service.tasks.inputs.png import size_of_png
from service.tasks.inputs.sound_file import MAX_SAMPLES, is_wave_text, read_sound

#: One input in its JSON form; an object has numbers or a picture.
JsonInput = str | Sequence[str] | dict[str, Any]
#: One input, or several.
JsonInputs = JsonInput | Sequence[JsonInput]
#: The same where numbers or a picture may have been read already.
ReadInput = JsonInput | Frames | Waveform | Picture | Clip | Tensors
ReadInputs = ReadInput | Sequence[ReadInput]

_SOUND_NAMES = frozenset({"wav", "audio"})
#: Characters of base64 that are decoded in the time in which one character of text is tokenised.
_WAV_CHARACTERS_PER_CHARACTER = 32
#: The least work of a sound file with compression, of which a few bytes may hold minutes.
_ENCODED_SOUND_CHARACTERS = 1 << 14
#: The same for the base64 of a PNG file, without decoding its pixels.
_PNG_CHARACTERS_PER_CHARACTER = 8
#: Numbers of an array that are checked, or resampled, in the time of one character of text.
_NUMBERS_PER_CHARACTER = 16
#: The same for numbers in nested lists, which become an array first.
_LISTED_PER_CHARACTER = 4
#: The base64 characters that contain the size of a PNG file; pixels decoded in the time of one character of text.
_PNG_HEAD_CHARACTERS = 32
_PIXELS_PER_CHARACTER = 32


def plain_value(given: Any, max_samples: int = MAX_SAMPLES) -> PredictInput:
    """The plain value of one input. Of a sound file no more than `max_samples` are decoded.

    Raises:
        InvalidInput: the input is invalid; with the path of the field within the input.
    """
    if not isinstance(given, dict):
        value: PredictInput = given
        return value
    if "frames" in given and given.keys() <= {"frames", "times"}:
        frames = read_frames(given["frames"])
        return replace(frames, times=tuple(map(str, given["times"]))) if given.get("times") else frames
    if len(given) == 1 and given.keys() <= _SOUND_NAMES:
        ((name, text),) = given.items()
        return _read_base64_sound(text, name, max_samples)
    if given.keys() == {"png"}:
        return Picture(_from_base64(given["png"], "png"))
    if given.keys() == {"clip"}:
        return Clip((_from_base64(given["clip"], "clip"),))
    if given.keys() == {"pictures"}:
        return Clip(_read_pictures(given["pictures"]), "pictures")
    if given.keys() == {"tensors"} and isinstance(given["tensors"], Mapping):
        return Tensors(given["tensors"])
    raise InvalidInput(
        'an object as input has "frames", "wav", "png", "clip", "pictures" or "tensors", and nothing else; "audio" is '
        'another name of "wav"'
    )


def read_frames(rows: Sequence[Sequence[float]]) -> Frames:
    """Frames of equal length as an array. Raises InvalidInput with the first invalid frame."""
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


def _read_base64_sound(text: str, name: str, max_samples: int) -> Waveform:
    """A sound file in base64. Raises InvalidInput."""
    data = _from_base64(text, name)
    try:
        return replace(read_sound(data, max_samples), key=name)
    except InvalidInput as error:
        raise error.under(name) from error


def _read_pictures(texts: Sequence[str]) -> tuple[bytes, ...]:
    """The bytes of each picture. Raises InvalidInput, also for more pictures than a clip may have."""
    if len(texts) > MAX_FRAMES:
        message = f"there are {len(texts):,} pictures, at most {MAX_FRAMES:,} are read"
        raise InvalidInput(message, ("pictures",))
    return tuple(_from_base64(text, "pictures", index) for index, text in enumerate(texts))


def _from_base64(text: str, *field: str | int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput("this is not base64", field) from error


def items_of(inputs: ReadInputs) -> Sequence[ReadInput]:
    """The inputs of a request as a list; a single one is a list of one."""
    return [inputs] if isinstance(inputs, (str, dict, *NO_TEXT)) else inputs


def effort_of(value: ReadInput) -> int:
    """Estimated work of preprocessing one input, in characters of text."""
    match value:
        case str():
            return len(value)
        case dict():
            return _effort_of_object(value)
        case Frames(values=numbers) | Waveform(samples=numbers):
            return numbers.size // _NUMBERS_PER_CHARACTER
        case Picture():
            return _effort_of_picture(value, len(value.png))
        case Clip(files=files):
            return _effort_of_picture(value, sum(map(len, files)))
        case Tensors(arrays=arrays):
            return sum(map(_effort_of_array, arrays.values()))
    return sum(map(len, value))


def _effort_of_object(value: dict[str, Any]) -> int:
    """A number of a frame counts as one character."""
    sound = value.get("wav", value.get("audio"))
    if sound is not None:
        effort = len(sound) // _WAV_CHARACTERS_PER_CHARACTER
        return max(effort, _ENCODED_SOUND_CHARACTERS) if not is_wave_text(sound) else effort
    if "png" in value:
        return _effort_of_picture(value, len(value["png"]))
    if "clip" in value or "pictures" in value:
        return _effort_of_picture(value, sum(map(len, value.get("pictures", (value.get("clip", ""),)))))
    if "tensors" in value:
        return sum(map(_effort_of_array, value["tensors"].values()))
    return sum(map(len, value["frames"])) + len(value.get("times") or ())


def _effort_of_array(array: Any) -> int:
    """Of nested lists by the first list of each level: lists of other lengths are refused before they are read."""
    if isinstance(array, np.ndarray):
        return array.size // _NUMBERS_PER_CHARACTER
    size = 1
    while type(array) is list and array:
        size *= len(array)
        array = array[0]
    return effort_of_numbers(size)


def effort_of_numbers(count: int) -> int:
    """Estimated work of reading or writing so many numbers in nested lists, in characters of text."""
    return count // _LISTED_PER_CHARACTER


def _effort_of_picture(value: ReadInput, size: int) -> int:
    """The work grows with the pixels that the file declares. A file that is not PNG is refused at once."""
    num_pixels = pixels_of(value)
    return size // _PNG_CHARACTERS_PER_CHARACTER + num_pixels // _PIXELS_PER_CHARACTER if num_pixels else 0


def pixels_of(value: ReadInput) -> int:
    """The pixels that a picture or a clip declares; 0 for every other input, and for a file that is refused.

    Of a clip all frames count, since each is composed with those before it.
    """
    try:
        match value:
            case Picture(png=file):
                size = size_of_png(file)
            case {"png": str() as text}:
                size = size_of_png(base64.b64decode(text[:_PNG_HEAD_CHARACTERS]))
            case Clip(files=files, key="pictures"):
                return facts_of_pictures(files).num_pixels
            case {"pictures": list() as texts} if len(texts) <= MAX_FRAMES:
                return facts_of_pictures([base64.b64decode(text[:_PNG_HEAD_CHARACTERS]) for text in texts]).num_pixels
            case Clip(files=(file,)):
                return facts_of_clip(file).num_pixels
            case {"clip": str() as text}:
                return facts_of_clip(base64.b64decode(text)).num_pixels
            case _:
                return 0
    except (InvalidInput, ValueError):
        return 0
    return size.rows * size.columns
