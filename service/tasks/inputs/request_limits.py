"""Limits on all inputs of one request together: tokens, pixels of pictures, samples of sounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from service.errors import InvalidInput
from service.tasks.core.task import Clip, PredictInput, Waveform
from service.tasks.inputs.json_input import pixels_of, plain_value
from service.tasks.inputs.sound_file import SoundTooLong

#: Numbers of the answers to a request: JSON blocks the event loop while it is written.
MAX_ANSWER_NUMBERS: Final = 1 << 18

_SAMPLES_SETTING: Final = "UNROLL_MAX_SAMPLES_PER_REQUEST"


@dataclass(frozen=True)
class RequestLimits:
    """The most that one request may hold. The names in the messages are those of the settings.

    Attributes:
        max_tokens: tokens to read, and in generation to write, in every unit that batching counts.
        max_pixels: as the headers of the pictures declare them; nothing is decoded beyond.
        max_samples: of mono sound, at the rate of the files; of a file with compression no more are decoded.
    """

    max_tokens: int = 1 << 16
    max_pixels: int = 1 << 25
    max_samples: int = 1 << 22

    def require_tokens(self, num_tokens: int, num_inputs: int) -> None:
        """Raises InvalidInput if the inputs of a request have more tokens than allowed."""
        if num_tokens > self.max_tokens:
            sent = f"{num_tokens:,} tokens" if num_inputs == 1 else f"{num_inputs} inputs with {num_tokens:,} tokens"
            raise _too_much(sent, self.max_tokens, "UNROLL_MAX_TOKENS_PER_REQUEST", num_tokens, num_inputs)

    def require_numbers(self, num_numbers: int) -> None:
        """Raises InvalidInput if the answers of a request, arrays, have more numbers than are written as JSON."""
        if num_numbers > MAX_ANSWER_NUMBERS:
            advice = "ask for fewer `outputs`, send less at a time, or ask the Open Inference protocol for binary data"
            limit = f"as JSON at most {MAX_ANSWER_NUMBERS:,} are sent"
            raise InvalidInput(f"the answer would hold {num_numbers:,} numbers, {limit}: {advice}")

    def require_pixels(self, inputs: Sequence[Any]) -> None:
        """Raises InvalidInput if the pictures among the inputs have more pixels than allowed; none is decoded."""
        num_pixels = sum([pixels_of(value) for value in inputs])
        if num_pixels > self.max_pixels:
            num_seen = 0
            for index, value in enumerate(inputs):
                num_seen += pixels_of(value)
                if num_seen > self.max_pixels:
                    what = "pictures" if {_key_of(each) for each in inputs} == {"png"} else "inputs"
                    sent = f"{len(inputs)} {what} with {num_pixels:,} pixels"
                    error = _too_much(sent, self.max_pixels, "UNROLL_MAX_PIXELS_PER_REQUEST", num_pixels, len(inputs))
                    raise error.under(index, _key_of(inputs[index]))


def _key_of(value: Any) -> str:
    """The key under which the files of an input were sent."""
    if isinstance(value, dict):
        return str(next(iter(value)))
    return value.key if isinstance(value, Clip) else "png"


class SampleCount:
    """The samples of the sounds of a request, counted as they are read."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limit = limits.max_samples
        self._num_samples = 0

    def plain(self, given: Any) -> PredictInput:
        """The plain value of one input, counted. Raises InvalidInput."""
        if not isinstance(given, dict):
            self.add(given)
            return cast(PredictInput, given)
        try:
            value = plain_value(given, self._limit - self._num_samples)
        except SoundTooLong as error:
            refused = _too_much("more samples than allowed", self._limit, _SAMPLES_SETTING, 0, 0)
            raise refused.under(*error.field) from error
        self.add(value)
        return value

    def add(self, value: PredictInput) -> None:
        """Raises InvalidInput for the sound with which the request has more samples than allowed."""
        if isinstance(value, Waveform):
            self._num_samples += len(value.samples)
            if self._num_samples > self._limit:
                sent = f"{self._num_samples:,} samples up to this sound"
                raise _too_much(sent, self._limit, _SAMPLES_SETTING, 0, 0).under(value.key)


def _too_much(sent: str, limit: int, setting: str, amount: int, num_inputs: int) -> InvalidInput:
    unit = setting.split("_")[2].lower()
    advice = f"send them in {-(-amount // limit)} requests" if num_inputs > 1 else "send less at a time"
    return InvalidInput(f"{sent} in one request, at most {limit:,} {unit} are allowed ({setting}): {advice}")
