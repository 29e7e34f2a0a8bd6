"""The step batch of encoder-decoder tasks: sources are encoded in padded batches, and decoded together step by step.

Sources join and leave at any step, and all their beams share every run of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from service.bundle.manifest import StateSpec
from service.bundle.padding import IntArray
from service.errors import InferenceFailed, UnrollError
from service.tasks.core.reading_order import ReadingOrder
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Array, Runner
from service.tasks.seq2seq.beam_search import BeamSearch, RowReordering
from service.tasks.seq2seq.copying import CopyStep, readable_ids
from service.tasks.seq2seq.encoder_memory import COPY_IDS, EncoderMemory
from service.tasks.seq2seq.hypotheses import Hypothesis, HypothesisSearch, SearchOptions

#: Sources are encoded together if none is shorter than this share of the longest, minus a few tokens.
_NEAR_SHARE = 0.75
_NEAR_TOKENS = 3

#: Tokens that one run of the encoder reads at most, padding included: decoder steps wait for it.
_MAX_ENCODER_TOKENS = 2048

#: While fewer sentences wait than this share of the live ones, the encoder runs only once in this many steps: encoding
#: one sentence alone takes more than twice as long as its share of a batch of four.
_WORTH_ENCODING = 1 / 8
_MAX_STEPS_BETWEEN = 2


class DecoderExample(Protocol):
    """One preprocessed source and its search options. Examples are compared by identity."""

    @property
    def plan(self) -> SearchOptions: ...
    @property
    def length(self) -> int:
        """Positions that the decoder attends to: what batching sorts by, and what bounds a run of the encoder."""
        ...

    @property
    def num_rows(self) -> int: ...


ExampleT = TypeVar("ExampleT", bound=DecoderExample)

#: The feeds of the encoder for some examples, and their lengths.
EncoderFeeds = Callable[[Sequence[ExampleT]], tuple[dict[str, Array], IntArray]]
#: The extended ids of their source positions, `[examples, time]`; see `copying`.
CopyIds = Callable[[Sequence[ExampleT]], IntArray]


class DecoderBatch(Generic[ExampleT]):
    """A `StepBatch`. The product of an example is its best `Hypothesis`, once, at its end.

    Sources that join are encoded in padded batches of similar lengths, in turns with decoder steps of the live ones.
    With `copy_ids` their words can be copied.
    """

    def __init__(
        self,
        encoder_feeds: EncoderFeeds[ExampleT],
        state_specs: Sequence[StateSpec],
        vocabulary_size: int,
        copy_ids: CopyIds[ExampleT] | None = None,
        told_outputs: Sequence[str] = (),
    ) -> None:
        """`told_outputs`: outputs of the encoder `[batch, time, ...]` that go into the hypothesis of each source."""
        self._encoder_feeds = encoder_feeds
        self._copy_ids = copy_ids
        self._told_outputs = told_outputs
        self._state_specs = state_specs
        self._vocabulary_size = vocabulary_size
        self._joining: list[ExampleT] = []
        self._encoding_order = ReadingOrder()
        self._steps_since_encoding = 0
        self._forget_live()

    def _forget_live(self) -> None:
        self._live: dict[HypothesisSearch, ExampleT] = {}
        self._search = BeamSearch()
        self._memory = EncoderMemory(has_copy_ids=self._copy_ids is not None)
        self._state = RecurrentState.zeros(self._state_specs, 0)

    @property
    def num_rows(self) -> int:
        """A sentence counts with all its beams, although its first step needs only one row."""
        return sum(example.num_rows for example in (*self._joining, *self._live.values()))

    @property
    def is_idle(self) -> bool:
        return not self._joining and not self._live

    def join(self, requests: Sequence[ExampleT]) -> None:
        self._joining += requests

    def leave(self, requests: Iterable[ExampleT]) -> None:
        gone = set(requests)
        self._joining = [example for example in self._joining if example not in gone]
        leaving = [search for search, example in self._live.items() if example in gone]
        for search in leaving:
            del self._live[search]
        if leaving:
            self._rearrange(self._search.leave(leaving))

    def clear(self) -> list[ExampleT]:
        cleared = [*self._joining, *self._live.values()]
        self._joining = []
        self._forget_live()
        return cleared

    def advance(self, runner: Runner) -> list[Outcome[ExampleT]]:
        """One run of the encoder or one step of the decoder; see `StepBatch.advance`."""
        if self._joining and self._is_time_to_encode():
            self._steps_since_encoding = 0
            return self._encode(runner, self._take_joining())
        self._steps_since_encoding += 1
        return self._step(runner) if self._live else []

    def _is_time_to_encode(self) -> bool:
        if not self._live:
            return True
        is_worth_it = len(self._joining) >= _WORTH_ENCODING * len(self._live)
        return self._steps_since_encoding >= (1 if is_worth_it else _MAX_STEPS_BETWEEN)

    def _take_joining(self) -> list[ExampleT]:
        """The sentence whose turn it is, and others of similar length."""
        lead = self._encoding_order.lead(self._joining, lambda example: example.length)
        shortest, longest = lead.length * _NEAR_SHARE - _NEAR_TOKENS, (lead.length + _NEAR_TOKENS) / _NEAR_SHARE
        others = [example for example in self._joining if example is not lead and shortest <= example.length <= longest]
        near = [lead, *others][: max(1, int(_MAX_ENCODER_TOKENS / longest))]
        taken = set(near)
        self._joining = [example for example in self._joining if example not in taken]
        return near

    def _encode(self, runner: Runner, examples: list[ExampleT]) -> list[Outcome[ExampleT]]:
        feeds, lengths = self._encoder_feeds(examples)
        try:
            encoded = runner.run("encoder", feeds)
        except UnrollError as error:
            return _failures(examples, error)
        if self._copy_ids is not None:
            encoded = {**encoded, COPY_IDS: self._copy_ids(examples)}
        told = [
            {name: encoded[name][row, :length] for name in self._told_outputs} for row, length in enumerate(lengths)
        ]
        searches = [
            HypothesisSearch(example.plan, int(length), said)
            for example, length, said in zip(examples, lengths, told, strict=True)
        ]
        self._search.join(searches)
        self._memory.join(encoded, lengths)
        self._state = RecurrentState.joined([self._state, RecurrentState.from_outputs(self._state_specs, encoded)])
        self._live |= zip(searches, examples, strict=True)
        return []

    def _step(self, runner: Runner) -> list[Outcome[ExampleT]]:
        token = readable_ids(self._search.tokens, self._vocabulary_size)
        feeds = {"token": token, **self._memory.feeds, **self._state.arrays}
        try:
            outputs = runner.run("decoder_step", feeds)
            self._check_vocabulary(outputs["logits"].shape[1])
        except UnrollError as error:
            failed = list(self._live.values())
            self._forget_live()
            return _failures(failed, error)
        self._state = RecurrentState.from_outputs(self._state_specs, outputs)
        logits, attention, copying = outputs["logits"], outputs["attention"], None
        if self._copy_ids is not None:
            copying = CopyStep.of(logits, outputs["generate_logit"], attention, self._memory.copy_ids)
            logits = copying.scores
        finished, rearrangement = self._search.advance(logits, attention, copying)
        self._rearrange(rearrangement)
        return [_outcome(self._live.pop(search), search.best) for search in finished]

    def _rearrange(self, rearrangement: RowReordering | None) -> None:
        """Reorder the state and the encoder memory for the rows of the next step."""
        if rearrangement is not None:
            self._state = self._state.rows(rearrangement.parents)
            self._memory.rearrange(*rearrangement)

    def _check_vocabulary(self, num_scores: int) -> None:
        if num_scores != self._vocabulary_size:
            raise InferenceFailed(f"decoder_step scores {num_scores} tokens, the tokenizer has {self._vocabulary_size}")


def _outcome(example: ExampleT, best: Hypothesis | None) -> Outcome[ExampleT]:
    error = None if best else InferenceFailed("the model computed token scores that are not finite numbers")
    return Outcome(example, product=best, error=error, finished=True)


def _failures(examples: Iterable[ExampleT], error: UnrollError) -> list[Outcome[ExampleT]]:
    return [Outcome(example, error=error, finished=True) for example in examples]
