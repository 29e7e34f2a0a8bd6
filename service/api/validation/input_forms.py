"""Forms of the inputs of a request: texts, lists of words, numbers, sounds, images, clips and named arrays."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, NotRequired

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # of `typing` from Python 3.12 on

from service.api.validation.json_body import BodyLimits

#: A text that is all white space is refused by the task, which names the input; the document says it too.
_NOT_BLANK = {"pattern": r"\S"}
Text = Annotated[str, Field(description="one text", json_schema_extra=_NOT_BLANK)]
_NUMBERS = frozenset({int, float})
_MAX_ARRAYS = 64

# One error is enough in these lists: there may be a hundred thousand words or numbers.
Words = Annotated[
    list[Annotated[str, Field(json_schema_extra=_NOT_BLANK)]],
    Field(fail_fast=True, description="one text, already split into words", json_schema_extra={"minItems": 1}),
]
Frame = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1), FailFast()]


def _as_numbers(rows: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Pass lists of plain numbers, ten times as fast as one by one; leave all else to pydantic, which says where."""
    return rows if isinstance(rows, list) and rows and _are_rows_of_numbers(rows) else handler(rows)


def _are_rows_of_numbers(rows: list[Any]) -> bool:
    """Whether all are lists of finite numbers and none is empty. It may say no to numbers near the largest."""
    try:
        return all(
            type(row) is list and row and _NUMBERS.issuperset(map(type, row)) and isfinite(sum(row)) for row in rows
        )
    except OverflowError:  # an integer larger than any float
        return False


FrameList = Annotated[
    list[Frame], Field(min_length=1, description="all of the same length"), FailFast(), WrapValidator(_as_numbers)
]


# Times of the last frames: texts such as 2024-01-31T10:00:00, or numbers.
Time = Annotated[str, Field(max_length=64)] | int | float
Times = Annotated[list[Time], Field(min_length=1, description="of the last frames, in order"), FailFast()]


class FramesObject(TypedDict):
    """A sequence of feature vectors, such as sensor readings, the earliest first.

    With the times of its frames, or of the last ones, the answer of a forecaster has times too.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    frames: FrameList
    times: NotRequired[Times]


class WavObject(TypedDict):
    """A sound file in base64: WAV (PCM, float, mu-law, A-law), FLAC, Ogg (Vorbis, Opus), MP3, AIFF or AU."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    wav: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class AudioObject(TypedDict):
    """A sound file in base64, as `wav` has it."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    audio: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class PngObject(TypedDict):
    """An image: a PNG file of any mode, in base64."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    png: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class ClipObject(TypedDict):
    """A short clip: a GIF file or a PNG file with animation, in base64."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    clip: Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]


class PicturesObject(TypedDict):
    """A short clip as pictures of one size: a PNG file in base64 for each frame."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    pictures: Annotated[
        list[Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]],
        Field(min_length=1),
        FailFast(),
    ]


NamedArrays = Annotated[
    dict[str, Any],
    Field(
        min_length=1,
        max_length=_MAX_ARRAYS,
        description="by name: a number, or nested lists of numbers; the first axis of those over time is time",
    ),
]


class TensorsObject(TypedDict):
    """Named arrays as nested lists, without a batch axis, for models whose inputs have names of their own."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]  # not a key

    tensors: NamedArrays


def _item_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "item_text"
    if isinstance(value, dict):
        return _object_tag(value)
    return "item_words" if isinstance(value, list) else "item_text"


def _object_tag(value: dict[str, Any]) -> str | None:
    if "frames" in value:
        return "item_frames"
    if "wav" in value:
        return "item_wav"
    if "audio" in value:
        return "item_audio"
    if "clip" in value:
        return "item_clip"
    if "pictures" in value:
        return "item_pictures"
    if "tensors" in value:
        return "item_tensors"
    return "item_png" if "png" in value else None


def _inputs_tag(value: Any) -> str | None:
    return "list_of_inputs" if isinstance(value, list) else _item_tag(value)


_OBJECT_KINDS = (
    Annotated[FramesObject, Tag("item_frames")]
    | Annotated[WavObject, Tag("item_wav")]
    | Annotated[AudioObject, Tag("item_audio")]
    | Annotated[PngObject, Tag("item_png")]
    | Annotated[ClipObject, Tag("item_clip")]
    | Annotated[PicturesObject, Tag("item_pictures")]
    | Annotated[TensorsObject, Tag("item_tensors")]
)
_NO_KIND: dict[str, Any] = {
    "custom_error_type": "unknown_input_object",
    "custom_error_message": (
        'an object as input has "frames", "wav", "png", "clip", "pictures" or "tensors"; "audio" is another name of '
        '"wav"'
    ),
}
# The tags choose the branch before validation, so that a wrong item is reported once, with its own path.
Item = Annotated[
    Annotated[Text, Tag("item_text")] | Annotated[Words, Tag("item_words")] | _OBJECT_KINDS,
    Discriminator(_item_tag, **_NO_KIND),
]
Items = Annotated[
    list[Item], Field(min_length=1, description="texts, lists of words, or objects with numbers, audio or images")
]


def require_few(value: Any, info: ValidationInfo) -> Any:
    """Count the inputs before any of them is looked at."""
    limits: BodyLimits | None = info.context
    if limits is not None and isinstance(value, list) and len(value) > limits.max_inputs:
        counts = {"number": len(value), "limit": limits.max_inputs}
        message = "{number} inputs in one request, at most {limit} are allowed"
        raise PydanticCustomError("too_many_inputs", message, counts)
    return value


Inputs = Annotated[
    Annotated[Text, Tag("item_text")] | Annotated[Items, Tag("list_of_inputs")] | _OBJECT_KINDS,
    Discriminator(_inputs_tag, **_NO_KIND),
    BeforeValidator(require_few),
]
