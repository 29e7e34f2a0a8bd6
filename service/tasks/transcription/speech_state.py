"""The state of an input of speech between two of its chunks.

It holds the recurrent state, the samples that do not fill a step yet, and the hypotheses of the utterance under way,
and is bounded by the longest utterance. In bytes, after the tensors (`state_bytes`), all numbers little-endian:

    counts      rate of the samples, samples or frames read, first step and steps of the utterance under way
    sizes       numbers of the tail and of the rest, bytes of the decoder's name and of its hypotheses
    signal      float32: the tail, then the rest
    decoder     its name in ASCII, and its hypotheses
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.bundle.manifest import StateSpec
from service.bundle.padding import FloatArray
from service.errors import StateRefused
from service.tasks.core.state_bytes import StateKind, malformed, read_state, write_state
from service.tasks.core.task import Array
from service.tasks.transcription.decoder import Decoder
from service.tasks.transcription.sound_chunks import SignalForm, SignalState
from service.tasks.transcription.utterances import EndpointRule, Hearing

_HEAD = struct.Struct("<IQQIIIII")
_FLOAT = np.dtype("<f4")
#: Far beyond any stream, and small enough that sums with other counts still fit.
_MAX_COUNT = 1 << 60


class StateLayout:
    """The tensors of a bundle's state as one row of numbers for each stream, which is cheap to take and to put back."""

    def __init__(self, specs: Sequence[StateSpec]) -> None:
        self.specs = tuple(specs)
        self._sizes = [spec.layers * spec.width for spec in specs]
        self._width = sum(self._sizes)

    def zeros(self) -> FloatArray:
        """The row before the first step of an input."""
        return np.zeros(self._width, dtype=np.float32)

    def feeds(self, rows: Sequence[FloatArray]) -> dict[str, Array]:
        """The tensors `[layers, batch, width]` of some rows, by name."""
        batch, feeds, start = np.stack(rows), dict[str, Array](), 0
        for spec, size in zip(self.specs, self._sizes, strict=True):
            tensor = batch[:, start : start + size].reshape(len(rows), spec.layers, spec.width)
            feeds[spec.name] = np.ascontiguousarray(tensor.transpose(1, 0, 2))
            start += size
        return feeds

    def rows(self, outputs: Mapping[str, Array], num_rows: int) -> FloatArray:
        """`[batch, numbers]`: the state after a run."""
        if not self.specs:
            return np.zeros((num_rows, 0), dtype=np.float32)
        tensors = [outputs[spec.next_name].transpose(1, 0, 2).reshape(num_rows, -1) for spec in self.specs]
        return np.concatenate(tensors, axis=1)

    def tensors(self, row: FloatArray) -> dict[str, FloatArray]:
        """The tensors `[layers, width]` of one row, by name."""
        return {name: tensor[:, 0] for name, tensor in self.feeds([row]).items()}

    def row(self, tensors: Mapping[str, Array]) -> FloatArray:
        """The inverse of `tensors`."""
        return np.concatenate([tensors[spec.name].reshape(-1) for spec in self.specs])


@dataclass(frozen=True, eq=False, slots=True)
class SpeechState:
    """Where the reading of an input stands after a chunk. `decoder` is the one whose hypotheses it holds."""

    layout: StateLayout
    decoder: Decoder[Any]
    recurrent: FloatArray
    signal: SignalState
    hearing: Hearing

    def to_bytes(self) -> bytes:
        """The whole value; equal states give equal bytes."""
        signal, hearing, name = self.signal, self.hearing, self.decoder.name.encode("ascii")
        counts = signal.rate_hz, signal.num_read, hearing.first_step, hearing.num_steps
        hypotheses = self.decoder.to_bytes(hearing.hypotheses)
        head = _HEAD.pack(*counts, signal.tail.size, signal.rest.size, len(name), len(hypotheses))
        numbers = [np.asarray(values, dtype=_FLOAT).tobytes() for values in (signal.tail, signal.rest)]
        details = b"".join([head, *numbers, name, hypotheses])
        return write_state(StateKind.SPEECH, self.layout.tensors(self.recurrent), details)


class SpeechStateReader:
    """Reads states from bytes, and checks them."""

    def __init__(self, layout: StateLayout, form: SignalForm) -> None:
        self._layout, self._form = layout, form

    def read(self, data: bytes, decoder: Decoder[Any], rule: EndpointRule) -> SpeechState:
        """The inverse of `SpeechState.to_bytes`.

        Raises:
            StateRefused: it is not a state of this bundle, or of another decoder.
        """
        tensors, details = read_state(StateKind.SPEECH, data, self._layout.specs)
        if len(details) < _HEAD.size:
            raise malformed(f"its details have {len(details)} bytes, at least {_HEAD.size} belong")
        rate_hz, num_read, first_step, num_steps, *sizes, name_size, size = _HEAD.unpack_from(details)
        if max(num_read, first_step) > _MAX_COUNT or num_steps > rule.most_steps:
            raise malformed("its counts are beyond any stream")
        tail, rest, after = self._signal(details[_HEAD.size :], *sizes)
        signal = SignalState(rate_hz, num_read, tail, rest)
        self._form.check_state(signal)
        name, hypotheses = after[:name_size], after[name_size:]
        if len(hypotheses) != size:
            raise malformed(f"its hypotheses have {len(hypotheses)} bytes where {size} belong")
        require_same_decoder(name.decode("ascii", "replace"), decoder)
        hearing = Hearing(decoder.from_bytes(hypotheses, rule.most_steps), first_step, num_steps)
        return SpeechState(self._layout, decoder, self._layout.row(tensors), signal, hearing)

    def _signal(self, data: bytes, num_tail: int, num_rest: int) -> tuple[FloatArray, FloatArray, bytes]:
        """The tail, the rest, and the bytes after them."""
        width = max(1, self._form.num_features)
        size = (num_tail + num_rest) * _FLOAT.itemsize
        if len(data) < size or num_tail % width or num_rest % width:
            raise malformed(f"its samples have {len(data)} bytes where {size} belong")
        numbers = np.frombuffer(data, _FLOAT, num_tail + num_rest)
        if not np.isfinite(numbers).all():
            raise malformed("it has samples that are not finite")
        shape = (-1, *self._form.empty.shape[1:])
        return numbers[:num_tail].reshape(shape), numbers[num_tail:].reshape(shape), data[size:]


def require_same_decoder(name: str, decoder: Decoder[Any]) -> None:
    """Raises StateRefused if the hypotheses of a state are those of a decoder with another name."""
    if name != decoder.name:
        message = "the chunks of one input are decoded alike: keep the parameters as they were"
        raise StateRefused(message, "malformed")
