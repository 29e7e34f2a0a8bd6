"""The step batch of generation: prefill in padded parts of prompts, and decode steps of all live sequences."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from service.errors import InferenceFailed, UnrollError
from service.tasks.core.reading_order import ReadingOrder
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Runner
from service.tasks.generation.language_model import LanguageModel
from service.tasks.generation.prompt_reader import PrefixCheckpoints, PromptReader, next_part
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.rows import RowEvent, StepRows

logger = logging.getLogger(__name__)

#: Tokens of one prompt that one prefill run reads. Running sequences wait for it, so it bounds their stall.
PREFILL_CHUNK_TOKENS = 128
#: Tokens of all prompts that one prefill run reads, padding included. It bounds the memory of a run, and how long the
#: running sequences and all other requests wait for it.
_MAX_PADDED_TOKENS = 2048

#: A prompt is read along with decode steps if at least this many rows are live, this many per prompt to be read, and if
#: it has at most this many tokens. A step of 32 rows takes 7 times as long as one of a single row, so that reading a
#: prompt alone costs 4 to 5 times as much.
_MIN_LIVE_ROWS = 8
_LIVE_ROWS_PER_PROMPT = 2
_MAX_STEPPED_TOKENS = 64


class GenerationBatch:
    """A `StepBatch` of generation requests.

    The text of a request depends on the request alone, its seed included, as long as the graphs compute a row alike in
    every batch. onnxruntime's CPU provider does in float32, except that some graphs compute a single row differently in
    the last bit; elsewhere the last bits may depend on the batch size. A token whose choice depends on such a bit may
    differ. Everything after the logits is computed row by row in float64, independently of the batch.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        prefill_chunk_tokens: int = PREFILL_CHUNK_TOKENS,
        checkpoints: PrefixCheckpoints | None = None,
    ) -> None:
        self._model = model
        self._prefill_chunk_tokens = prefill_chunk_tokens
        self._checkpoints = checkpoints
        self._before_all = RecurrentState.zeros(model.state_specs, 1)
        #: In the order in which they were last read; those that have not been read are in order of arrival.
        self._readers: list[PromptReader[GenerationRequest]] = []
        self._reading_order = ReadingOrder()
        self._rows = self._no_rows()
        #: Those that write nothing and have been read; the next `advance` says so.
        self._ended: list[GenerationRequest] = []
        self._has_just_read = False

    @property
    def num_rows(self) -> int:
        """Rows that are stepped, and those that will be after prefill."""
        return self._rows.num_rows + sum(reader.request.num_rows for reader in self._readers)

    @property
    def is_idle(self) -> bool:
        return not self._rows.num_rows and not self._readers and not self._ended

    def join(self, requests: Sequence[GenerationRequest]) -> None:
        """Add requests. Each prompt is read from its longest cached prefix on, by prefill runs or along with steps.

        A step costs little more with one more row, so a few short prompts that meet many live rows are read along with
        their steps. Prefill would read them faster, but all live rows would wait for it.
        """
        readers = [
            PromptReader(request, self._before_all, self._prefill_chunk_tokens, self._checkpoints)
            for request in requests
        ]
        num_waiting = len(self._readers) + sum(reader.num_before_last > 0 for reader in readers)
        is_crowded = self._rows.num_live >= max(_MIN_LIVE_ROWS, _LIVE_ROWS_PER_PROMPT * num_waiting)
        stepped = [reader for reader in readers if _may_be_stepped(reader, is_crowded)]
        self._begin_steps(stepped)
        self._readers += [reader for reader in readers if reader not in stepped]

    def advance(self, runner: Runner) -> list[Outcome[GenerationRequest]]:
        """Prefill a part of the prompts, or step all live rows; in turns if both are due.

        A streamed request has a `TokenEvent` as product for each token, others have no product.
        """
        outcomes = self._run(runner)
        if self._ended:
            outcomes += [Outcome(request, finished=True) for request in self._ended]
            self._ended = []
        return outcomes

    def leave(self, requests: Iterable[GenerationRequest]) -> None:
        """Remove requests, joining or live."""
        gone = set(map(id, requests))
        self._readers = [reader for reader in self._readers if id(reader.request) not in gone]
        self._ended = [request for request in self._ended if id(request) not in gone]
        self._rows.remove(lambda request: id(request) in gone)

    def clear(self) -> list[GenerationRequest]:
        """Remove all requests, and return them."""
        requests = [*(reader.request for reader in self._readers), *self._rows.requests, *self._ended]
        self._readers, self._rows, self._ended = [], self._no_rows(), []
        return requests

    def _no_rows(self) -> StepRows:
        return StepRows(RecurrentState.zeros(self._model.state_specs, 0))

    def _run(self, runner: Runner) -> list[Outcome[GenerationRequest]]:
        if self._readers and (self._rows.num_rows == 0 or not self._has_just_read):
            self._has_just_read = True
            return self._read(runner)
        self._has_just_read = False
        return self._step(runner) if self._rows.num_rows else []

    def _begin_steps(self, readers: Sequence[PromptReader[GenerationRequest]]) -> None:
        """Give rows to prompts that need no more prefill; those that write nothing need none, and have ended."""
        read = [reader for reader in readers if reader.request.writes_nothing]
        for reader in read:
            reader.request.end_unwritten(reader.state)
            self._ended.append(reader.request)
        stepped = [reader for reader in readers if reader not in read] if read else readers
        if stepped:
            self._rows.add(stepped)

    def _step(self, runner: Runner) -> list[Outcome[GenerationRequest]]:
        rows = self._rows
        try:
            logits, state = self._model.step(runner, rows.token_ids, rows.state)
        except Exception as error:
            rows.settle()
            self._rows = self._no_rows()
            return _failures(rows.requests, error)
        return _outcomes(rows.take(logits, state))

    def _read(self, runner: Runner) -> list[Outcome[GenerationRequest]]:
        """One prefill run over a part of some prompts."""
        lead = self._reading_order.lead(self._readers, lambda reader: reader.chunk_tokens)
        group, time = next_part(lead, self._readers, _MAX_PADDED_TOKENS)
        parts = [reader.ids[reader.num_read : reader.num_read + min(time, reader.chunk_tokens)] for reader in group]
        try:
            logits, state = self._model.read(runner, parts, RecurrentState.joined([reader.state for reader in group]))
        except Exception as error:
            self._readers = [reader for reader in self._readers if reader not in group]
            return _failures([reader.request for reader in group], error)
        for number, (reader, part) in enumerate(zip(group, parts, strict=True)):
            reader.take(logits[number, : len(part)], state.rows([number]))
        ready = [reader for reader in group if reader.num_before_last == 0]
        others = [reader for reader in self._readers if reader not in group]
        self._readers = [*others, *(reader for reader in group if reader not in ready)]  # others have their turn first
        self._begin_steps(ready)
        return []


def _may_be_stepped(reader: PromptReader[GenerationRequest], is_crowded: bool) -> bool:
    """Whether a prompt is read along with steps. A report of its log-probabilities needs prefill, for all logits."""
    if reader.num_before_last == 0:
        return True
    needs_prefill = reader.request.reports_prompt or reader.request.writes_nothing
    return is_crowded and reader.num_before_last <= _MAX_STEPPED_TOKENS and not needs_prefill


def _outcomes(events: Sequence[RowEvent]) -> list[Outcome[GenerationRequest]]:
    """The events of rows as outcomes of requests. A request with several sequences finishes with the last of them."""
    outcomes = []
    ended: set[int] = set()
    for (request, _), event in events:
        if event is not None and event.finish_reason is None and request.num_rows == 1:
            outcomes.append(Outcome(request, event))
            continue
        error = request.error
        finished = error is not None or request.finished
        if id(request) in ended or (event is None and not finished):
            continue
        if finished:
            ended.add(id(request))
        outcomes.append(Outcome(request, event, error, finished))
    return outcomes


def _failures(requests: Sequence[GenerationRequest], error: Exception) -> list[Outcome[GenerationRequest]]:
    """The failure of a run as the outcome of each of its requests."""
    if not isinstance(error, UnrollError):
        logger.error("Run of a graph failed", exc_info=error)
        error = InferenceFailed(f"the model failed with {type(error).__name__}")
    distinct = {id(request): request for request in requests}
    return [Outcome(request, error=error, finished=True) for request in distinct.values()]
