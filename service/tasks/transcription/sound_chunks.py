"""Sound and frames in chunks of any size: resampled as they come, and cut into whole steps of the encoder.

What the encoder gets does not depend on the chunks, to the bit. Kept between two chunks are the samples of a step that
is not complete, and those at the rate of the input that the next resampled ones depend on: a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.bundle.padding import FloatArray
from service.bundle.task_options import FramesSpec, TranscriptionOptions, WaveformSpec
from service.errors import InvalidInput
from service.tasks.core.state_bytes import malformed
from service.tasks.core.task import Frames, PredictInput, Waveform, kind_of, require_at_most, require_computable
from service.tasks.inputs.resample import Resampling

#: Resampled at once: a part of a second, so that memory does not grow with the sound.
_SAMPLES_AT_ONCE = 1 << 15
#: Far beyond cepstra and logarithms of power.
_LARGEST_FEATURE = 2.0**32
#: Names of features that an error message lists.
_MAX_NAMES_SHOWN = 8


@dataclass(frozen=True, eq=False, slots=True)
class SignalState:
    """Where the reading of an input stands.

    Attributes:
        rate_hz: of the samples as they come; 0 for frames.
        num_read: samples or frames that have come.
        tail: the last of them that are needed to resample the next ones.
        rest: samples at the model's rate, or frames, of the step that is not complete.
    """

    rate_hz: int
    num_read: int
    tail: FloatArray
    rest: FloatArray


class SignalForm:
    """The signal that a bundle reads.

    Attributes:
        per_step: samples or frames of a step.
        step_s: duration of a step, 0 if unknown.
        num_features: numbers in a frame; 0 for sound.
    """

    def __init__(self, options: TranscriptionOptions, max_steps: int) -> None:
        self._signal, self._max_steps = options.signal, max_steps
        if isinstance(options.signal, WaveformSpec):
            self.rate_hz, self.per_step, self.num_features = (
                options.signal.sample_rate_hz,
                options.signal.samples_per_step,
                0,
            )
            self.step_s = self.per_step / self.rate_hz
        else:
            self.rate_hz, self.per_step, self.num_features = 0, options.frames_per_step, len(options.signal.features)
            self.step_s = options.step_ms / 1000

    @property
    def input_name(self) -> str:
        """The input of the encoder that has the signal."""
        return "frames" if self.num_features else "samples"

    @property
    def empty(self) -> FloatArray:
        return np.zeros((0, self.num_features) if self.num_features else 0, dtype=np.float32)

    def start(self, rate_hz: int) -> SignalState:
        """Before the first sample or frame."""
        return SignalState(rate_hz, 0, self.empty, self.empty)

    def steps_of(self, num_values: int, rate_hz: int) -> int:
        """Steps of so many samples at a rate, or frames."""
        num_new = -(-num_values * self.rate_hz // rate_hz) if rate_hz else num_values
        return -(-num_new // self.per_step)

    def seconds_of(self, num_values: int, rate_hz: int) -> float:
        """The duration of so many samples at a rate, or frames; 0 if it is unknown."""
        return num_values / rate_hz if rate_hz else num_values * self.step_s / self.per_step

    def values_of(self, value: PredictInput) -> tuple[FloatArray, int]:
        """The samples or frames of an input, and the rate of the samples.

        Raises:
            InvalidInput: it is of another kind, too long, or of a rate that cannot be resampled.
        """
        if isinstance(self._signal, FramesSpec):
            return self._frames_of(value, self._signal), 0
        if not isinstance(value, Waveform):
            wanted = f'sound of {self.rate_hz} Hz as {{"wav": "..."}}, a sound file in base64'
            raise InvalidInput(f"this model takes {wanted}, not {kind_of(value)}")
        self.resampling(value.sample_rate_hz)
        length_s, max_s = len(value.samples) / value.sample_rate_hz, self._max_steps * self.step_s
        if length_s > max_s:
            raise InvalidInput(f"the sound lasts {length_s:.2f} s, this model takes at most {max_s:.2f} s", ("wav",))
        return value.samples, value.sample_rate_hz

    def resampling(self, rate_hz: int) -> Resampling | None:
        """From a rate to that of the model; None where nothing changes. Raises InvalidInput if it is out of range."""
        if rate_hz == self.rate_hz:
            return None
        try:
            return Resampling(rate_hz, self.rate_hz)
        except InvalidInput as error:
            raise InvalidInput(str(error), ("wav",)) from error

    def check_state(self, state: SignalState) -> None:
        """Raises StateRefused if no reading of an input can stand there."""
        try:
            resampling = None if state.rate_hz == self.rate_hz else self.resampling(state.rate_hz)
        except InvalidInput as error:
            raise malformed(str(error)) from error
        num_new, num_tail = state.num_read, 0
        if resampling is not None:
            num_new = resampling.num_ready(state.num_read)
            num_tail = state.num_read - max(0, resampling.first_old(num_new))
        if (len(state.tail), len(state.rest)) != (num_tail, num_new % self.per_step):
            kept = f"{len(state.tail)} and {len(state.rest)}"
            raise malformed(f"after {state.num_read} samples it keeps {kept} of them")

    def _frames_of(self, value: PredictInput, spec: FramesSpec) -> FloatArray:
        shown = ", ".join(spec.features[:_MAX_NAMES_SHOWN])
        names = shown if len(spec.features) <= _MAX_NAMES_SHOWN else f"{shown}, ..."
        if not isinstance(value, Frames):
            wanted = f"frames of {len(spec.features)} numbers ({names})"
            raise InvalidInput(f'this model takes {wanted} as {{"frames": [[...], ...]}}, not {kind_of(value)}')
        if value.times:
            raise InvalidInput("this model is no forecaster, and takes frames without times", ("times",))
        if value.values.shape[1] != len(spec.features):
            wanted = f"this model takes {len(spec.features)}: {names}"
            raise InvalidInput(f"the number of values in a frame is {value.values.shape[1]}, {wanted}", ("frames", 0))
        require_at_most(len(value.values), self._max_steps * self.per_step, "frames", ("frames",))
        require_computable(value.values, _LARGEST_FEATURE)
        return value.values


class SignalReader:
    """Hands out the steps of one chunk, or of a whole input, a bounded number at a time."""

    def __init__(self, form: SignalForm, before: SignalState, values: FloatArray, num_flush_steps: int | None) -> None:
        """`num_flush_steps` is how much silence follows an input that ends here; None if it goes on."""
        self._form, self._values, self._place = form, values, 0
        self._state = before
        self._resampling = form.resampling(before.rate_hz) if before.rate_hz else None
        self._flush = num_flush_steps
        self._is_flushed = num_flush_steps is None

    @property
    def state(self) -> SignalState:
        """Where the reading stands."""
        return self._state

    def next_steps(self, max_steps: int) -> FloatArray | None:
        """The next samples or frames, of `max_steps` steps at most; None if there are no more.

        They are whole steps, but for the last of an input.
        """
        wanted = max_steps * self._form.per_step
        while len(self._state.rest) < wanted and self._read_more(wanted):
            pass
        rest = self._state.rest
        num_whole = len(rest) - len(rest) % self._form.per_step
        is_end = self._is_flushed and self._flush is not None and self._place == len(self._values)
        taken = min(wanted, len(rest) if is_end else num_whole)
        if not taken:
            return None
        state = self._state
        self._state = SignalState(state.rate_hz, state.num_read, state.tail, rest[taken:])
        return rest[:taken]

    def _read_more(self, wanted: int) -> bool:
        """Read more of the values into the rest, or the silence after them. Returns whether there was any."""
        if self._place < len(self._values):
            size = wanted if self._resampling is None else _SAMPLES_AT_ONCE
            piece = self._values[self._place : self._place + size]
            self._place += len(piece)
            self._append(*self._resampled(piece))
            return True
        if self._is_flushed:
            return False
        self._is_flushed = True
        state = self._state
        self._append(self._last_resampled(), state.tail, state.num_read)
        if self._flush:
            self._append(self._silence(self._flush), state.tail, state.num_read)
        return True

    def _append(self, new: FloatArray, tail: FloatArray, num_read: int) -> None:
        rest = np.concatenate([self._state.rest, new]) if len(self._state.rest) else new
        self._state = SignalState(self._state.rate_hz, num_read, tail, rest)

    def _resampled(self, piece: FloatArray) -> tuple[FloatArray, FloatArray, int]:
        """What a piece adds at the rate of the model, the tail after it, and how much has been read then."""
        state, num_read = self._state, self._state.num_read + len(piece)
        if self._resampling is None:
            return piece, state.tail, num_read
        old, offset = np.concatenate([state.tail, piece]), state.num_read - len(state.tail)
        start, end = self._resampling.num_ready(state.num_read), self._resampling.num_ready(num_read)
        new = self._resampling.between(old, offset, start, end)
        return new, old[max(0, self._resampling.first_old(end)) - offset :].copy(), num_read

    def _last_resampled(self) -> FloatArray:
        """The samples that depend on the end of the sound."""
        state, resampling = self._state, self._resampling
        if resampling is None:
            return self._form.empty
        start, end = resampling.num_ready(state.num_read), resampling.num_new(state.num_read)
        return resampling.between(state.tail, state.num_read - len(state.tail), start, end)

    def _silence(self, num_steps: int) -> FloatArray:
        """Zeros to the end of the step that is not complete, and of so many steps more."""
        num_zeros = -len(self._state.rest) % self._form.per_step + num_steps * self._form.per_step
        return np.zeros((num_zeros, *self._form.empty.shape[1:]), dtype=np.float32)


def num_steps_of(form: SignalForm, piece: Sequence[float] | FloatArray) -> int:
    """Steps of a piece, of which the last may be incomplete."""
    return -(-len(piece) // form.per_step)
