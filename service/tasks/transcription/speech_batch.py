"""The step batch of speech: inputs that are read a few seconds at a time, in runs that all share.

A chunk of a stream mostly takes one run, a long recording many; inputs with near numbers of steps share a run, and the
others take turns, so that no recording delays the streams by more than a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from service.bundle.padding import FloatArray, lengths_of, pad_floats
from service.errors import InferenceFailed, UnrollError
from service.tasks.core.reading_order import ReadingOrder
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Array, Runner
from service.tasks.transcription.decoder import Decoder
from service.tasks.transcription.sound_chunks import SignalForm, SignalReader, SignalState
from service.tasks.transcription.speech_state import SpeechState, StateLayout
from service.tasks.transcription.utterances import EndpointRule, Hearing, Utterance, ended, listen

#: Steps of one input that a run reads at most, where the input can be read in pieces, and of all inputs together.
#: They bound how long streams wait for a run, and the memory of one.
PIECE_STEPS = 64
_MAX_RUN_STEPS = 2048
#: Inputs share a run if none has less than this share of the steps of the longest, minus a few.
_NEAR_SHARE = 0.5
_NEAR_STEPS = 4


@dataclass(eq=False, slots=True)
class SpeechExample:
    """A whole input, or a chunk of one, and how to decode it. Compared by identity.

    Attributes:
        values: samples at the rate `rate_hz`, or frames.
        length: steps that are read for it, silence at the end included; estimated from the values.
        before: the state after the chunk before it; None at the start of an input.
        is_chunk: whether it is answered with utterances, not with one text for all of it.
        is_last: whether the input ends with it.
    """

    values: FloatArray
    rate_hz: int
    length: int
    decoder: Decoder[Any]
    rule: EndpointRule
    has_words: bool = False
    has_keywords: bool = False
    before: SpeechState | None = None
    is_chunk: bool = False
    is_last: bool = True
    num_rows: int = 1


class SpeechOutput(NamedTuple):
    """What was heard in one example.

    Attributes:
        finished: utterances that have ended.
        partial: the utterance under way, if something was heard of it.
        num_read: samples or frames that have come, those of earlier chunks too.
        after: the state to continue from, unless the input has ended.
    """

    finished: tuple[Utterance, ...]
    partial: Utterance | None
    num_read: int
    after: SpeechState | None


class SpeechModel(NamedTuple):
    """What a batch knows of its bundle."""

    form: SignalForm
    layout: StateLayout
    output_name: str
    num_flush_steps: int
    vocabulary_size: int


@dataclass(eq=False, slots=True)
class _Row:
    """An example that is being read."""

    example: SpeechExample
    reader: SignalReader
    recurrent: FloatArray
    hearing: Hearing
    finished: list[Utterance] = field(default_factory=list)
    piece: FloatArray | None = None
    num_steps: int = 0


class SpeechBatch:
    """A `StepBatch`. The product of an example is its `SpeechOutput`, once, at its end."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model
        self._rows: dict[SpeechExample, _Row] = {}
        self._order = ReadingOrder()
        self._max_steps = PIECE_STEPS if model.layout.specs else _UNBOUNDED

    @property
    def num_rows(self) -> int:
        return len(self._rows)

    @property
    def is_idle(self) -> bool:
        return not self._rows

    def join(self, requests: Sequence[SpeechExample]) -> None:
        for example in requests:
            self._rows[example] = _row(self._model, example)

    def leave(self, requests: Iterable[SpeechExample]) -> None:
        for example in requests:
            self._rows.pop(example, None)

    def clear(self) -> list[SpeechExample]:
        cleared = list(self._rows)
        self._rows = {}
        return cleared

    def advance(self, runner: Runner) -> list[Outcome[SpeechExample]]:
        """One run of the encoder, and the decoding of its steps; see `StepBatch.advance`."""
        outcomes = [self._finish(row) for row in list(self._rows.values()) if not self._has_piece(row)]
        if not self._rows:
            return outcomes
        rows = self._sharing_a_run()
        try:
            failed = self._run(runner, rows)
        except UnrollError as error:
            failed = dict.fromkeys(rows, error)
        for row in rows:
            row.piece = None
            del self._rows[row.example]
            if row in failed:
                outcomes.append(Outcome(row.example, error=failed[row], finished=True))
            elif self._has_piece(row):
                self._rows[row.example] = row  # behind the others: they have their turn first
            else:
                outcomes.append(self._outcome(row))
        return outcomes

    def _has_piece(self, row: _Row) -> bool:
        """Whether there is more of it to read, which then is at hand."""
        if row.piece is None:
            row.piece = row.reader.next_steps(self._max_steps)
            row.num_steps = 0 if row.piece is None else -(-len(row.piece) // self._model.form.per_step)
        return row.piece is not None

    def _sharing_a_run(self) -> list[_Row]:
        waiting = list(self._rows.values())
        lead = self._order.lead(waiting, lambda row: row.num_steps)
        shortest = lead.num_steps * _NEAR_SHARE - _NEAR_STEPS
        longest = (lead.num_steps + _NEAR_STEPS) / _NEAR_SHARE
        others = [row for row in waiting if row is not lead and shortest <= row.num_steps <= longest]
        rows, width = [lead], lead.num_steps
        for row in others:
            width = max(width, row.num_steps)
            if width * (len(rows) + 1) > _MAX_RUN_STEPS:
                break
            rows.append(row)
        return rows

    def _run(self, runner: Runner, rows: list[_Row]) -> dict[_Row, UnrollError]:
        """Run the encoder and decode. Returns the errors of rows that failed alone."""
        model, pieces = self._model, [row.piece for row in rows if row.piece is not None]
        feeds: dict[str, Array] = {model.form.input_name: pad_floats(pieces), "lengths": lengths_of(pieces)}
        outputs = runner.run("encoder", feeds | model.layout.feeds([row.recurrent for row in rows]))
        encoded = outputs[model.output_name]
        recurrent = model.layout.rows(outputs, len(rows))
        is_finite: list[bool] = np.asarray(np.isfinite(recurrent).all(axis=1)).tolist()
        failed: dict[_Row, UnrollError] = {}
        steps: dict[_Row, Array] = {}
        for number, row in enumerate(rows):
            row.recurrent = recurrent[number].copy()
            steps[row] = encoded[number, : row.num_steps]
            if not (is_finite[number] and np.isfinite(steps[row]).all()):
                failed[row] = InferenceFailed("the model computed scores of tokens that are not finite numbers")
        self._decode(runner, {row: steps[row] for row in rows if row not in failed})
        return failed

    def _decode(self, runner: Runner, steps: dict[_Row, Array]) -> None:
        """Continue the utterances under way; inputs that are decoded alike are decoded together."""
        groups: dict[tuple[int, EndpointRule], list[_Row]] = {}
        for row in steps:
            groups.setdefault((id(row.example.decoder), row.example.rule), []).append(row)
        for (_, rule), rows in groups.items():
            decoder, hearings = rows[0].example.decoder, [row.hearing for row in rows]
            for row, heard in zip(
                rows, listen(decoder, runner, hearings, [steps[row] for row in rows], rule), strict=True
            ):
                row.hearing = heard.hearing
                row.finished += heard.finished

    def _finish(self, row: _Row) -> Outcome[SpeechExample]:
        """An example of which nothing is left to read."""
        del self._rows[row.example]
        return self._outcome(row)

    def _outcome(self, row: _Row) -> Outcome[SpeechExample]:
        example, decoder, signal = row.example, row.example.decoder, row.reader.state
        if example.is_last:
            finished = (*row.finished, *ended(decoder, row.hearing))
            return Outcome(example, SpeechOutput(finished, None, signal.num_read, None), finished=True)
        decoded = decoder.best(row.hearing.hypotheses, is_final=False)
        partial = None if decoded.is_empty else row.hearing.utterance(decoded)
        kept = SignalState(signal.rate_hz, signal.num_read, signal.tail, signal.rest.copy())  # not all of the chunk
        after = SpeechState(self._model.layout, decoder, row.recurrent, kept, row.hearing)
        return Outcome(example, SpeechOutput(tuple(row.finished), partial, signal.num_read, after), finished=True)


#: A bundle that reads both ways reads an input at once.
_UNBOUNDED = 1 << 40


def _row(model: SpeechModel, example: SpeechExample) -> _Row:
    before = example.before
    signal = model.form.start(example.rate_hz) if before is None else before.signal
    reader = SignalReader(model.form, signal, example.values, model.num_flush_steps if example.is_last else None)
    if before is None:
        return _Row(example, reader, model.layout.zeros(), Hearing(example.decoder.start()))
    return _Row(example, reader, before.recurrent, before.hearing)
