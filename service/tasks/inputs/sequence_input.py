"""Inputs of a classifier: text, frames of numbers, or audio, each with its own validation, length and feeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, lengths_of, pad_floats, pad_ids
from service.bundle.task_options import ClassificationOptions, FramesSpec, WaveformSpec
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput
from service.tasks.core.task import (
    Array,
    Frames,
    InputStatistics,
    PredictInput,
    Waveform,
    input_statistics_of,
    kind_of,
    require_at_most,
    require_computable,
    require_short_text,
    require_words,
)
from service.tasks.inputs.resample import resampled
from service.tasks.inputs.spelled_text import SpelledText

_MAX_NAMES_SHOWN = 8


class SequenceInput(Protocol):
    """From the value of an input to a sequence, and from sequences to the feeds of a graph.

    Sequences are token ids for a text, float32 `[time, features]` for frames, float32 `[time]` for audio.
    """

    def encode(self, value: PredictInput) -> Any:
        """Validate and encode one input. Raises InvalidInput, with a path relative to the input."""
        ...

    def length(self, sequence: Any) -> int:
        """Steps of the recurrence."""
        ...

    def feeds(self, sequences: Sequence[Any]) -> dict[str, Array]:
        """The sequences as one padded batch, with their lengths."""
        ...

    def input_statistics(self, sequence: Any) -> InputStatistics:
        """Tokens of a sequence, known and unknown."""
        ...


def sequence_input(bundle: Bundle) -> SequenceInput:
    """The kind of input that the bundle's manifest declares."""
    options, max_tokens = bundle.manifest.options, bundle.manifest.limits.max_input_tokens
    signal = options.signal if isinstance(options, ClassificationOptions) else None
    match signal:
        case None:
            return _text_input(bundle, max_tokens)
        case FramesSpec():
            return FramesInput(signal, max_tokens)
        case WaveformSpec():
            return WaveformInput(signal, max_tokens)


def _text_input(bundle: Bundle, max_tokens: int) -> SequenceInput:
    """Tokens; or words and their characters, if the graph has an input for those."""
    tokenizers, options = bundle.tokenizers, bundle.manifest.options
    if not any(tensor.name == "characters" for graph in bundle.manifest.graphs.values() for tensor in graph.inputs):
        return TextInput(tokenizers["text"], max_tokens)
    assert isinstance(options, ClassificationOptions)
    return SpelledText(tokenizers["text"], tokenizers["characters"], max_tokens, options.max_word_characters)


class TextInput:
    """A text, or a list of words with one token each."""

    def __init__(self, tokenizer: TextTokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def encode(self, value: PredictInput) -> list[int]:
        if isinstance(value, str):
            token_ids = self._tokenizer.encode(require_short_text(value, self._max_tokens))
        else:
            token_ids = self._tokenizer.encode_words(require_words(value, self._max_tokens))
        if not token_ids:
            raise InvalidInput("the text holds nothing that this model can read")
        require_at_most(len(token_ids), self._max_tokens, "tokens")
        return token_ids

    def length(self, sequence: list[int]) -> int:
        return len(sequence)

    def feeds(self, sequences: Sequence[list[int]]) -> dict[str, Array]:
        return {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)}

    def input_statistics(self, sequence: list[int]) -> InputStatistics:
        return input_statistics_of(sequence)


class FramesInput:
    """Feature vectors with the features that the model was trained on."""

    def __init__(self, spec: FramesSpec, max_frames: int) -> None:
        self._features = spec.features
        self._max_frames = max_frames

    def encode(self, value: PredictInput) -> FloatArray:
        if not isinstance(value, Frames):
            wanted = f"frames of {len(self._features)} numbers ({self._names()})"
            raise InvalidInput(f'this model takes {wanted} as {{"frames": [[...], ...]}}, not {kind_of(value)}')
        if value.times:
            raise InvalidInput("this model is no forecaster, and takes frames without times", ("times",))
        num_frames, num_features = value.values.shape
        if num_features != len(self._features):
            wanted = f"this model takes {len(self._features)}: {self._names()}"
            raise InvalidInput(f"the number of values in a frame is {num_features}, {wanted}", ("frames", 0))
        require_at_most(num_frames, self._max_frames, "frames", ("frames",))
        require_computable(value.values)
        return value.values

    def length(self, sequence: FloatArray) -> int:
        return len(sequence)

    def feeds(self, sequences: Sequence[FloatArray]) -> dict[str, Array]:
        return {"frames": pad_floats(sequences), "lengths": lengths_of(sequences)}

    def input_statistics(self, sequence: FloatArray) -> InputStatistics:
        return InputStatistics(len(sequence), 0)

    def _names(self) -> str:
        shown = ", ".join(self._features[:_MAX_NAMES_SHOWN])
        return shown if len(self._features) <= _MAX_NAMES_SHOWN else f"{shown}, ..."


class WaveformInput:
    """Audio, resampled to the rate that the model was trained on."""

    def __init__(self, spec: WaveformSpec, max_steps: int) -> None:
        self._rate_hz = spec.sample_rate_hz
        self._step = spec.samples_per_step
        self._max_samples = max_steps * spec.samples_per_step

    def encode(self, value: PredictInput) -> FloatArray:
        if not isinstance(value, Waveform):
            wanted = f'sound of {self._rate_hz} Hz as {{"wav": "..."}}, a sound file in base64'
            raise InvalidInput(f"this model takes {wanted}, not {kind_of(value)}")
        length_s, max_s = len(value.samples) / value.sample_rate_hz, self._max_samples / self._rate_hz
        if length_s > max_s:
            what = f"the sound lasts {length_s:.2f} s, this model takes at most {max_s:.2f} s"
            raise InvalidInput(what, (value.key,))
        try:
            return resampled(value.samples, value.sample_rate_hz, self._rate_hz)
        except InvalidInput as error:
            raise InvalidInput(str(error), (value.key,)) from error

    def length(self, sequence: FloatArray) -> int:
        return -(-len(sequence) // self._step)

    def feeds(self, sequences: Sequence[FloatArray]) -> dict[str, Array]:
        return {"samples": pad_floats(sequences), "lengths": lengths_of(sequences)}

    def input_statistics(self, sequence: FloatArray) -> InputStatistics:
        return InputStatistics(self.length(sequence), 0)
