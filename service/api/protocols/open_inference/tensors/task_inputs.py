"""Inputs of tasks as tensors: texts, words, frames, sound and pictures, to the values that tasks take.

A tensor of texts, sounds in files or pictures is `[batch]` or `[batch, 1]`. Rows of frames, samples and words are as
long as the longest; `lengths` says how long each of them is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from service.api.protocols.open_inference.tensors.messages import BYTES, DTYPES, Tensor, TensorMetadata, shown
from service.bundle.manifest import Manifest
from service.bundle.padding import FloatArray, IntArray
from service.bundle.task_options import (
    CaptioningOptions,
    ForecastingOptions,
    FramesSpec,
    VideoOptions,
    WaveformSpec,
    signal_of,
)
from service.errors import InvalidInput
from service.tasks.core.task import NO_TEXT, Clip, Frames, Picture, Waveform
from service.tasks.inputs.clips.gif_blocks import SIGNATURES as GIF_SIGNATURES
from service.tasks.inputs.json_input import ReadInput
from service.tasks.inputs.sound_file import SOUND_STARTS, has_compression, read_sound
from service.tasks.inputs.wav import require_samples

TEXT = "text"
#: The name of a text in Triton's extension for generation. Both are read.
TEXT_INPUT = "text_input"
WORDS, FRAMES, SAMPLES, WAV, IMAGE, LENGTHS = "words", "frames", "samples", "wav", "image", "lengths"
CLIP = "clip"


class Rows(NamedTuple):
    """The values of a request, and the shape of what has one element for each: `[batch]` or `[batch, 1]`."""

    values: Sequence[ReadInput]
    shape: tuple[int, ...]

    @property
    def texts(self) -> list[str | Sequence[str]]:
        """Those of the values that are texts or lists of words."""
        return [value for value in self.values if not isinstance(value, (dict, *NO_TEXT))]

    @property
    def prompts(self) -> list[str]:
        """Those of the values that are texts."""
        return [value for value in self.values if isinstance(value, str)]


class TaskInput(Protocol):
    """What a task reads."""

    @property
    def metadata(self) -> Sequence[TensorMetadata]:
        """The tensors of a plain request."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """Of every tensor that is read."""
        ...

    @property
    def alternatives(self) -> Sequence[str]:
        """The names of the tensors of every request that is read, for messages."""
        ...

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        """The values. Raises InvalidInput, with a path that begins with the name of the tensor."""
        ...


def task_input(manifest: Manifest) -> TaskInput:
    """The kind of input that a bundle's task reads."""
    match signal_of(manifest.options):
        case FramesSpec(features=features):
            return FramesTensor(len(features), has_lengths=True)
        case WaveformSpec(sample_rate_hz=rate_hz):
            return SoundTensor(rate_hz)
    match manifest.options:
        case ForecastingOptions() as options:
            return FramesTensor(len(options.channels), has_lengths=False)
        case CaptioningOptions():
            return PictureTensor()
        case VideoOptions():
            return ClipTensor()
    takes_words = manifest.task in ("tagging", "classification", "parsing")
    return TextTensor(TEXT_INPUT if manifest.task == "generation" else TEXT, takes_words)


class TextTensor:
    """Texts as BYTES in UTF-8; where the task takes them, lists of words `[batch, words]`, empty beyond the last."""

    def __init__(self, name: str, takes_words: bool) -> None:
        self.metadata = (TensorMetadata(name, BYTES, (-1,)),)
        self._takes_words = takes_words
        other = TEXT if name == TEXT_INPUT else TEXT_INPUT
        self.alternatives = (name, other, *((WORDS,) if takes_words else ()))
        self.names = frozenset((name, other))

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        tensor = _only(inputs, self.alternatives)
        if tensor.name == WORDS:
            return self._read_words(tensor, max_rows)
        shape = _shape_of_elements(tensor, max_rows)
        return Rows([_text(tensor.name, index, element) for index, element in enumerate(tensor.elements)], shape)

    def _read_words(self, tensor: Tensor, max_rows: int) -> Rows:
        if len(tensor.shape) != 2:
            raise wrong_shape(tensor, "[batch, words]")
        num_rows, width = tensor.shape
        require_rows(tensor, max_rows)
        words = [_text(tensor.name, index, element) for index, element in enumerate(tensor.elements)]
        rows = [words[start : start + width] for start in range(0, len(words), width)]
        return Rows([_without_padding(row) for row in rows], (num_rows,))


class FramesTensor:
    """Sequences of feature vectors, FP32 `[batch, time, features]`; `lengths` where they may differ."""

    def __init__(self, width: int, *, has_lengths: bool) -> None:
        self.metadata = (TensorMetadata(FRAMES, "FP32", (-1, -1, width)),)
        self.alternatives = (f"{FRAMES} and, if they differ, {LENGTHS}",) if has_lengths else (FRAMES,)
        self._width = width
        self._optional = frozenset({LENGTHS} if has_lengths else ())
        self.names = self._optional | {FRAMES}

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        tensor = _required(inputs, FRAMES, self._optional)
        if len(tensor.shape) != 3 or tensor.shape[2] != self._width:
            raise wrong_shape(tensor, f"[batch, time, {self._width}]")
        require_rows(tensor, max_rows)
        rows = _rows_of_numbers(tensor, inputs.get(LENGTHS))
        return Rows([Frames(row) for row in rows], (len(rows),))


class SoundTensor:
    """Sounds as `samples` FP32 `[batch, time]` at the rate of the model; or as sound files in BYTES."""

    metadata = (TensorMetadata(SAMPLES, "FP32", (-1, -1)),)
    alternatives = (f"{SAMPLES} and, if they differ, {LENGTHS}", WAV)
    names = frozenset((SAMPLES, LENGTHS, WAV))

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        if WAV in inputs:
            tensor = _only(inputs, (WAV,))
            shape = _shape_of_elements(tensor, max_rows)
            return Rows(_files(tensor, SOUND_STARTS, _sound), shape)
        tensor = _required(inputs, SAMPLES, frozenset({LENGTHS}))
        if len(tensor.shape) != 2:
            raise wrong_shape(tensor, "[batch, time]")
        require_rows(tensor, max_rows)
        rows = _rows_of_numbers(tensor, inputs.get(LENGTHS))
        for index, row in enumerate(rows):
            try:
                require_samples(row, "this sound")
            except InvalidInput as error:
                raise error.under(tensor.name, index) from error
        return Rows([Waveform(row, self._rate_hz) for row in rows], (len(rows),))


class PictureTensor:
    """Pictures as PNG files in BYTES."""

    metadata = (TensorMetadata(IMAGE, BYTES, (-1,)),)
    alternatives = (IMAGE,)
    names = frozenset((IMAGE,))

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        tensor = _only(inputs, self.alternatives)
        shape = _shape_of_elements(tensor, max_rows)
        return Rows(_files(tensor, (b"\x89PNG",), Picture), shape)


class ClipTensor:
    """Clips as GIF or animated PNG files in BYTES."""

    metadata = (TensorMetadata(CLIP, BYTES, (-1,)),)
    alternatives = (CLIP,)
    names = frozenset((CLIP,))

    def read(self, inputs: Mapping[str, Tensor], max_rows: int) -> Rows:
        tensor = _only(inputs, self.alternatives)
        shape = _shape_of_elements(tensor, max_rows)
        return Rows(_files(tensor, (b"\x89PNG", *GIF_SIGNATURES), lambda file: Clip((file,))), shape)


def _only(inputs: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """The one input, which must have one of the names."""
    found = [tensor for name, tensor in inputs.items() if name in names]
    if len(found) != 1 or len(inputs) != 1:
        raise InvalidInput(which_inputs(inputs, " or ".join(names)), ("inputs",))
    return found[0]


def _required(inputs: Mapping[str, Tensor], name: str, optional: frozenset[str]) -> Tensor:
    if name not in inputs or not inputs.keys() <= optional | {name}:
        wanted = f"{name} and, if they differ, {', '.join(optional)}" if optional else name
        raise InvalidInput(which_inputs(inputs, wanted), ("inputs",))
    return inputs[name]


def which_inputs(inputs: Mapping[str, Tensor], wanted: str) -> str:
    """The message for a request with other inputs than those of its model."""
    sent = ", ".join(name[:64] for name in inputs) or "none"
    return f"the inputs of this model are {wanted}; it was sent {sent}"


def wrong_shape(tensor: Tensor, wanted: str) -> InvalidInput:
    """The error of a tensor of another shape."""
    return InvalidInput(f"the shape is {wanted}, not {shown(tensor.shape)}", (tensor.name, "shape"))


def require_rows(tensor: Tensor, max_rows: int) -> None:
    """Raises InvalidInput if there are more rows than a request may have."""
    if tensor.shape[0] > max_rows:
        message = f"{tensor.shape[0]} inputs in one request, at most {max_rows} are allowed"
        raise InvalidInput(message, (tensor.name, "shape"))


def _shape_of_elements(tensor: Tensor, max_rows: int) -> tuple[int, ...]:
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ((), (1,)):
        raise wrong_shape(tensor, "[batch] or [batch, 1]")
    require_rows(tensor, max_rows)
    return tuple(tensor.shape)


def _text(name: str, index: int, element: bytes) -> str:
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"byte {error.start} is not UTF-8", (name, index)) from error


def _without_padding(words: list[str]) -> list[str]:
    end = len(words)
    while end and not words[end - 1]:
        end -= 1
    return words[:end]


def _rows_of_numbers(tensor: Tensor, lengths: Tensor | None) -> list[FloatArray]:
    """float32 rows `[time, ...]`, each of its length and finite."""
    array = tensor.array
    if array.dtype.kind != "f":
        raise InvalidInput(f"the datatype is FP32, FP16, BF16 or FP64, not {tensor.datatype}", (tensor.name,))
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    ends = row_ends(tensor, lengths)
    rows = [row[:end] for row, end in zip(values, ends.tolist(), strict=True)]
    for index, row in enumerate(rows):
        if not np.isfinite(row).all():
            raise InvalidInput("a number is not finite, or too large for 32 bits", (tensor.name, index))
    return rows


def row_ends(tensor: Tensor, lengths: Tensor | None) -> IntArray:
    """`[batch]`: the length of each row of a tensor `[batch, time, ...]`. Raises InvalidInput."""
    num_rows, longest = tensor.shape[:2]
    if lengths is None:
        return np.full(num_rows, longest)
    if lengths.shape not in ((num_rows,), (num_rows, 1)):
        raise wrong_shape(lengths, f"[{num_rows}]")
    ends = lengths.array
    if not np.can_cast(ends.dtype, DTYPES["INT64"]) or ends.dtype.kind == "b":
        raise InvalidInput(f"the datatype is INT64, not {lengths.datatype}", (LENGTHS,))
    if ends.min() < 1 or ends.max() > longest:
        message = f"they go from {ends.min()} to {ends.max()}, and must be from 1 to {longest}"
        raise InvalidInput(message, (LENGTHS,))
    return ends.reshape(-1).astype(np.int64)


def _files(tensor: Tensor, starts: tuple[bytes, ...], read: Callable[[bytes], ReadInput]) -> list[ReadInput]:
    """Each element as a file, which may be in base64, as JSON needs it."""
    files: list[ReadInput] = []
    for index, element in enumerate(tensor.elements):
        try:
            files.append(read(element if element.startswith(starts) else _from_base64(element)))
        except InvalidInput as error:
            raise error.under(tensor.name, index) from error
    return files


def _sound(data: bytes) -> ReadInput:
    """The sound; in base64 where it has to be decoded, which the engine does within its limits."""
    return {"wav": base64.b64encode(data).decode("ascii")} if has_compression(data) else read_sound(data)


def _from_base64(element: bytes) -> bytes:
    """What the element says in base64; an element that is none as it is, for its reader to refuse."""
    try:
        return base64.b64decode(element, validate=True)
    except (binascii.Error, ValueError):
        return element
