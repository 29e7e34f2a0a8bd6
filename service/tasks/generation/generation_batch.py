"""Generation as a step batch: prompts are read in padded parts, and all live texts take each step together."""

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

#: Tokens that one run reads of one prompt: as long as the running texts have to wait for it.
PREFILL_CHUNK_TOKENS = 128
#: Tokens that one run reads of all prompts, padding counted: what bounds its memory.
_MAX_PADDED_TOKENS = 4096

#: A prompt is read along with steps if so many rows are live, so many for each prompt to be read, and if it has at
#: most so many tokens. A step of 32 rows takes 7 times as long as one of one row, so that a prompt which is read alone
#: costs 4 to 5 times as much.
_MIN_LIVE_ROWS = 8
_LIVE_ROWS_PER_PROMPT = 2
_MAX_STEPPED_TOKENS = 64


class GenerationBatch:
    """A `StepBatch` of continuations.

    What a request gets depends on the request alone, its seed included, as long as the graphs compute a row alike in
    any company. On onnxruntime's CPU provider in float32 they do, but that some graphs compute a row that is all alone
    in a run differently in the last bit; elsewhere the last bits may depend on the size of the batch. A token whose
    choice hangs on such a bit may differ. Everything after the scores is computed row by row in float64 and never does.
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
        """Rows that are stepped, and those that will be once their prompts are read."""
        return self._rows.num_rows + sum(reader.request.num_rows for reader in self._readers)

    @property
    def is_idle(self) -> bool:
        return not self._rows.num_rows and not self._readers

    def join(self, requests: Sequence[GenerationRequest]) -> None:
        """Take requests in; each prompt is read from its longest known prefix on, in the way that costs less.

        A step costs little more with one row more, so a few short prompts that meet many live rows are read along with
        their steps. A run of its own takes a prompt less time to read, but everybody else waits for it.
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
        """Read a part of the prompts, or step all live rows; in turns if both are due.

        The product of a streamed request is a `TokenEvent` for each token, others have none.
        """
        if self._readers and (self._rows.num_rows == 0 or not self._has_just_read):
            self._has_just_read = True
            return self._read(runner)
        self._has_just_read = False
        return self._step(runner) if self._rows.num_rows else []

    def leave(self, requests: Iterable[GenerationRequest]) -> None:
        """Forget requests at once, joining or live."""
        gone = set(map(id, requests))
        self._readers = [reader for reader in self._readers if id(reader.request) not in gone]
        self._rows.remove(lambda request: id(request) in gone)

    def clear(self) -> list[GenerationRequest]:
        """Forget everything, and say which requests that were."""
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
        """Read one part of some prompts by a run of its own."""
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
    """Whether a prompt joins the steps at once: with its last token, or with all of it. A report needs all scores."""
    if reader.num_before_last == 0:
        return True
    return is_crowded and reader.num_before_last <= _MAX_STEPPED_TOKENS and not reader.request.reports_prompt


def _outcomes(events: Sequence[RowEvent]) -> list[Outcome[GenerationRequest]]:
    """What rows events, as outcomes of requests; one with several sequences is finished with the last of them."""
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
    """The same end for each of the requests."""
    if not isinstance(error, UnrollError):
        logger.error("a run failed", exc_info=error)
        error = InferenceFailed(f"the model failed with {type(error).__name__}")
    distinct = {id(request): request for request in requests}
    return [Outcome(request, error=error, finished=True) for request in distinct.values()]
