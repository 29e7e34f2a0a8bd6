"""Greedy decoding of a transducer: at each step the best token of the joint network, until that is the blank.

Graves 2012, with a bounded number of tokens at a step. A blank leaves the predictor as it is, so the joint network is
asked for several steps at once, and all up to the first token hold. The streams of a batch take turns together: one run
of `joint` for all that have steps left, then one of `predictor` for those that wrote a token.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.bundle.manifest import GraphSpec, StateSpec
from service.bundle.padding import IntArray
from service.bundle.tokenizer import BOS
from service.tasks.core.probabilities import require_finite
from service.tasks.core.state_bytes import malformed
from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import (
    BLANK,
    Decoded,
    Token,
    tokens_from_bytes,
    tokens_to_bytes,
)

#: Steps of each stream in one run of `joint`: more save runs in silence, those after a token are computed for nothing.
LOOK_AHEAD = 16

#: The steps so far, and 1 if a prediction follows, 0 if none does.
_COUNTS = struct.Struct("<II")
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the predictor gave after the last token, float32 `[width]`, and its state, `[layers, width]` by name."""

    predicted: Array
    state: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The best alignment so far: its tokens, its number of steps, and the prediction; None before the first step."""

    tokens: tuple[Token, ...] = ()
    num_steps: int = 0
    prediction: Prediction | None = None

    @property
    def num_quiet(self) -> int:
        """Steps since the last token; all of them without one."""
        return self.num_steps - (self.tokens[-1].step + 1 if self.tokens else 0)


class GreedyTransducer:
    """A `Decoder` that follows the single best alignment, with at most `max_symbols_per_step` tokens at a step.

    `predictor` is that graph of the bundle, as its manifest declares it.
    """

    name = "greedy transducer"

    def __init__(self, predictor: GraphSpec, vocabulary_size: int, max_symbols_per_step: int) -> None:
        self._vocabulary_size = vocabulary_size
        self._max_symbols = max_symbols_per_step
        self._specs = predictor_state(predictor)
        (self._width,) = (int(output.shape[1]) for output in predictor.outputs if output.name == "predicted")

    def start(self) -> Alignment:
        return Alignment()

    def next_utterance(self, hypotheses: Alignment) -> Alignment:
        """The predictor begins anew, as it did at the start of every utterance in training."""
        return Alignment()

    def advance(self, runner: Runner, hypotheses: Sequence[Alignment], rows: Sequence[Array]) -> list[Alignment]:
        predictions = self._predictions(runner, hypotheses)
        streams = _Streams(rows, predictions, self._max_symbols)
        while streams.have_steps:
            log_probs = runner.run("joint", streams.next_pairs())["log_probs"]
            writing, tokens = streams.move(require_finite(log_probs, "probabilities"))
            if writing.size:
                state = {name: values[:, writing] for name, values in streams.state.items()}
                streams.predict(writing, self._outputs(runner, tokens, state))
        return [
            Alignment(
                before.tokens + tuple(token._replace(step=token.step + before.num_steps) for token in written),
                before.num_steps + len(row),
                streams.prediction_of(index) if written else prediction,
            )
            for index, (before, row, prediction, written) in enumerate(
                zip(hypotheses, rows, predictions, streams.written, strict=True)
            )
        ]

    def _predictions(self, runner: Runner, hypotheses: Sequence[Alignment]) -> list[Prediction]:
        """The prediction of each stream; one run for all that begin, which are alike."""
        found = [each.prediction for each in hypotheses]
        if None not in found:
            return [each for each in found if each is not None]
        zeros = {spec.name: np.zeros((spec.layers, 1, spec.width), np.float32) for spec in self._specs}
        predicted, state = self._outputs(runner, np.array([BOS]), zeros)
        first = Prediction(predicted[0], {name: values[:, 0] for name, values in state.items()})
        return [first if each is None else each for each in found]

    def _outputs(self, runner: Runner, tokens: IntArray, state: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """One step of the predictor: `predicted` `[batch, width]`, and the next state by the names of its inputs."""
        outputs = runner.run("predictor", {"token": tokens, **state})
        after = {spec.name: require_finite(outputs[spec.next_name], "states") for spec in self._specs}
        return outputs["predicted"], after

    def best(self, hypotheses: Alignment, is_final: bool) -> Decoded:
        return Decoded(hypotheses.tokens, hypotheses.num_quiet)

    def to_bytes(self, hypotheses: Alignment) -> bytes:
        """Number of steps, whether there is a prediction, its vector and its state in float32, then the tokens."""
        found = hypotheses.prediction
        arrays = [] if found is None else [found.predicted, *(found.state[spec.name] for spec in self._specs)]
        counts = _COUNTS.pack(hypotheses.num_steps, found is not None)
        return b"".join(
            [counts, *(array.astype(_FLOAT).tobytes() for array in arrays), tokens_to_bytes(hypotheses.tokens)]
        )

    def from_bytes(self, data: bytes, max_steps: int) -> Alignment:
        if len(data) < _COUNTS.size:
            raise malformed(f"its alignment has {len(data)} bytes, at least {_COUNTS.size} belong")
        num_steps, has_prediction = _COUNTS.unpack_from(data)
        if num_steps > max_steps or has_prediction != (num_steps > 0):
            raise malformed(f"no alignment has {num_steps} steps and {has_prediction} predictions")
        end = _COUNTS.size + has_prediction * self._num_floats * _FLOAT.itemsize
        prediction = self._prediction_from(data[_COUNTS.size : end]) if has_prediction else None
        return Alignment(tokens_from_bytes(data[end:], self._vocabulary_size, num_steps), num_steps, prediction)

    @property
    def _num_floats(self) -> int:
        return self._width + sum(spec.layers * spec.width for spec in self._specs)

    def _prediction_from(self, data: bytes) -> Prediction:
        if len(data) != self._num_floats * _FLOAT.itemsize:
            raise malformed(f"its prediction has {len(data)} bytes, {self._num_floats} numbers belong")
        values = np.frombuffer(data, _FLOAT)
        if not np.isfinite(values).all():
            raise malformed("its prediction has numbers that are not finite")
        state, offset = {}, self._width
        for spec in self._specs:
            size = spec.layers * spec.width
            state[spec.name] = values[offset : offset + size].reshape(spec.layers, spec.width)
            offset += size
        return Prediction(values[: self._width], state)


def predictor_state(predictor: GraphSpec) -> tuple[StateSpec, ...]:
    """The state of the predictor: its inputs that have an output with their next value, in order."""
    outputs = {output.name for output in predictor.outputs}
    shapes = {tensor.name: tensor.shape for tensor in predictor.inputs if f"next_{tensor.name}" in outputs}
    return tuple(
        StateSpec(name=name, next_name=f"next_{name}", layers=int(shape[0]), width=int(shape[2]))
        for name, shape in shapes.items()
    )


class _Streams:
    """The streams of one `advance`: where each is in its row, what it wrote, and its last prediction.

    Attributes:
        written: the tokens of each stream in this `advance`; their steps are counted from the start of its row.
        state: of the predictor, `[layers, streams, width]` by name.
    """

    def __init__(self, rows: Sequence[Array], predictions: Sequence[Prediction], max_symbols: int) -> None:
        self._encoded = np.concatenate(rows)
        self._ends = np.cumsum([len(row) for row in rows])
        self._starts = self._ends - [len(row) for row in rows]
        self._places = self._starts.copy()
        self._num_here = np.zeros(len(rows), dtype=np.int64)
        self._max_symbols = max_symbols
        self._predicted = np.stack([each.predicted for each in predictions])
        self.state = {
            name: np.stack([each.state[name] for each in predictions], axis=1) for name in predictions[0].state
        }
        self.written: list[list[Token]] = [[] for _ in rows]
        self._asked = _Asked(np.arange(len(rows)), self._places, self._ends)

    @property
    def have_steps(self) -> bool:
        """Whether any stream has steps that are not decoded yet."""
        return self._asked.streams.size > 0

    def next_pairs(self) -> dict[str, Array]:
        """The feeds of `joint`: the next steps of each stream, each with the stream's last prediction."""
        asked = self._asked
        return {"encoded": self._encoded[asked.places], "predicted": self._predicted[asked.stream_of_place]}

    def move(self, log_probs: Array) -> tuple[IntArray, IntArray]:
        """Move each stream past its blanks, and write its first token. Returns the streams that wrote, and what."""
        asked = self._asked
        ids = log_probs.argmax(axis=1)
        firsts = np.minimum.reduceat(np.where(ids == BLANK, len(ids), np.arange(len(ids))), asked.firsts)
        is_writing = firsts < len(ids)
        writing, quiet, at = asked.streams[is_writing], asked.streams[~is_writing], firsts[is_writing]
        self._places[quiet] += asked.counts[~is_writing]
        self._num_here[quiet] = 0
        self._write(writing, asked.places[at], ids[at], np.minimum(log_probs[at, ids[at]], 0.0))
        left = asked.streams[self._places[asked.streams] < self._ends[asked.streams]]
        self._asked = _Asked(left, self._places[left], self._ends[left])
        return writing, ids[at]

    def _write(self, writing: IntArray, places: IntArray, ids: IntArray, log_probs: Array) -> None:
        """A stream stays at the step of its token, as more may follow there, unless it wrote as many as are allowed."""
        self._num_here[writing] = np.where(places == self._places[writing], self._num_here[writing], 0) + 1
        is_full = self._num_here[writing] >= self._max_symbols
        self._places[writing] = places + is_full
        self._num_here[writing[is_full]] = 0
        steps = places - self._starts[writing]
        for stream, *token in zip(writing.tolist(), ids.tolist(), steps.tolist(), log_probs.tolist(), strict=True):
            self.written[stream].append(Token(*token))

    def predict(self, writing: IntArray, outputs: tuple[Array, Mapping[str, Array]]) -> None:
        """Set what the predictor gave for the streams that wrote a token."""
        predicted, state = outputs
        self._predicted[writing] = predicted
        for name, values in state.items():
            self.state[name][:, writing] = values

    def prediction_of(self, stream: int) -> Prediction:
        """The last prediction of one stream, in arrays of its own."""
        state = {name: values[:, stream].copy() for name, values in self.state.items()}
        return Prediction(self._predicted[stream].copy(), state)


class _Asked:
    """The steps that `joint` is asked for: of each of `streams` the next few, one stream after the other."""

    def __init__(self, streams: IntArray, places: IntArray, ends: IntArray) -> None:
        self.streams = streams
        self.counts = np.minimum(ends - places, LOOK_AHEAD)
        self.firsts = np.cumsum(self.counts) - self.counts
        self.stream_of_place = np.repeat(streams, self.counts)
        self.places = np.arange(len(self.stream_of_place)) + np.repeat(places - self.firsts, self.counts)
