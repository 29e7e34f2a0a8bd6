"""Continuous batching of generation: prefill in padded chunks, and decode steps of all live sequences together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from service.errors import InferenceFailed, UnrollError
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Runner
from service.tasks.generation.language_model import LanguageModel
from service.tasks.generation.prompt_reader import PrefixCheckpoints, PromptReader, next_part
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.rows import RowEvent, StepRows

logger = logging.getLogger(__name__)

#: Prefill chunk: tokens of one prompt that one run reads. Live sequences wait for that run.
PREFILL_CHUNK_TOKENS = 128
#: Tokens that one run reads of all prompts, including padding, which bounds its memory.
_MAX_PADDED_TOKENS = 4096

#: A prompt is read in the decode steps of others if there are this many live rows, and this many for each waiting
#: prompt, and if it has at most this many tokens. A step of 32 rows takes 7 times as long as a step of one row, so a
#: prompt that is read alone costs 4 to 5 times as much.
_MIN_LIVE_ROWS = 8
_LIVE_ROWS_PER_PROMPT = 2
_MAX_STEPPED_TOKENS = 64


class GenerationBatch:
    """A `StepBatch` of generation requests.

    A result depends only on its request, including the seed, if the graphs compute a row alike in every batch. On
    onnxruntime's CPU provider in float32 they do, except that some graphs differ in the last bit for a batch of one;
    elsewhere the last bits may depend on the batch size. A token whose choice depends on such a bit may differ.
    Everything after the logits is computed row by row in float64 and never differs.
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
        self._readers: list[PromptReader[GenerationRequest]] = []
        self._rows = self._no_rows()
        self._has_just_read = False

    @property
    def num_rows(self) -> int:
        """Rows in use, including those of prompts that are still being read."""
        return self._rows.num_rows + sum(reader.request.num_rows for reader in self._readers)

    @property
    def is_idle(self) -> bool:
        return not self._rows.num_rows and not self._readers

    def join(self, requests: Sequence[GenerationRequest]) -> None:
        """Add requests. Each prompt is read from its longest cached prefix on, in the cheaper of two ways.

        One more row makes a step little slower, so a few short prompts are read in the steps of many live rows. A run
        of its own reads a prompt faster, but all live rows wait for it.
        """
        readers = [
            PromptReader(request, self._before_all, self._prefill_chunk_tokens, self._checkpoints)
            for request in requests
        ]
        num_waiting = len(self._readers) + sum(reader.num_before_last > 0 for reader in readers)
        is_crowded = self._rows.num_live >= max(_MIN_LIVE_ROWS, _LIVE_ROWS_PER_PROMPT * num_waiting)
        stepped = [reader for reader in readers if _may_be_stepped(reader, is_crowded)]
        if stepped:
            self._rows.add(stepped)
        self._readers += [reader for reader in readers if reader not in stepped]

    def advance(self, runner: Runner) -> list[Outcome[GenerationRequest]]:
        """Run one prefill chunk or one decode step; in turns if both are due.

        A streamed request has a `TokenEvent` as product for each token, others have none.
        """
        if self._readers and (self._rows.num_rows == 0 or not self._has_just_read):
            self._has_just_read = True
            return self._read(runner)
        self._has_just_read = False
        return self._step(runner) if self._rows.num_rows else []

    def leave(self, requests: Iterable[GenerationRequest]) -> None:
        """Remove requests at once, in prefill or live."""
        gone = set(map(id, requests))
        self._readers = [reader for reader in self._readers if id(reader.request) not in gone]
        self._rows.remove(lambda request: id(request) in gone)

    def clear(self) -> list[GenerationRequest]:
        """Remove and return all requests."""
        requests = [*(reader.request for reader in self._readers), *self._rows.requests]
        self._readers, self._rows = [], self._no_rows()
        return requests

    def _no_rows(self) -> StepRows:
        return StepRows(RecurrentState.zeros(self._model.state_specs, 0))

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
        """Run one prefill chunk of some prompts."""
        group, time = next_part(self._readers, _MAX_PADDED_TOKENS)
        parts = [reader.ids[reader.num_read : reader.num_read + min(time, reader.chunk_tokens)] for reader in group]
        try:
            logits, state = self._model.read(runner, parts, RecurrentState.joined([reader.state for reader in group]))
        except Exception as error:
            self._readers = [reader for reader in self._readers if reader not in group]
            return _failures([reader.request for reader in group], error)
        for number, (reader, part) in enumerate(zip(group, parts, strict=True)):
            reader.take(logits[number, : len(part)], state.rows([number]))
        ready = [reader for reader in group if reader.num_before_last == 0]
        if ready:
            self._readers = [reader for reader in self._readers if reader not in ready]
            self._rows.add(ready)
        return []


def _may_be_stepped(reader: PromptReader[GenerationRequest], is_crowded: bool) -> bool:
    """Whether a prompt is read in decode steps: its last token, or all of it. Listing a prompt needs prefill."""
    if reader.num_before_last == 0:
        return True
    return is_crowded and reader.num_before_last <= _MAX_STEPPED_TOKENS and not reader.request.reports_prompt


def _outcomes(events: Sequence[RowEvent]) -> list[Outcome[GenerationRequest]]:
    """Events of rows as outcomes of requests. A request is finished with its last sequence."""
    outcomes = []
    ended: set[int] = set()
    for (request, _), event in events:
        error = request.error
        finished = error is not None or request.finished
        if id(request) in ended or (event is None and not finished):
            continue
        if finished:
            ended.add(id(request))
        outcomes.append(Outcome(request, event, error, finished))
    return outcomes


def _failures(requests: Sequence[GenerationRequest], error: Exception) -> list[Outcome[GenerationRequest]]:
    """A failed outcome for each of the requests."""
    if not isinstance(error, UnrollError):
        logger.error("Run of a graph failed", exc_info=error)
        error = InferenceFailed(f"the model failed with {type(error).__name__}")
    distinct = {id(request): request for request in requests}
    return [Outcome(request, error=error, finished=True) for request in distinct.values()]
