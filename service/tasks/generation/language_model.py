"""The two graphs of a language model: `prompt` reads whole sequences, `step` reads one token in each row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.bundle.manifest import StateSpec
from service.bundle.padding import IntArray, lengths_of, pad_ids
from service.errors import InferenceFailed
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, Runner


class LanguageModel:
    """Runs the graphs. Stateless: recurrent states go in and come out; row i belongs to the i-th sequence."""

    def __init__(self, state_specs: Sequence[StateSpec], vocabulary_size: int) -> None:
        self.state_specs = tuple(state_specs)
        self.vocabulary_size = vocabulary_size

    def read(
        self, runner: Runner, sequences: Sequence[Sequence[int]], state: RecurrentState | None = None
    ) -> tuple[Array, RecurrentState]:
        """Prefill: read whole sequences, starting from `state`. Returns logits `[batch, time, vocab]` and final states.

        The logits at time t score the token at t + 1; beyond a sequence's length they are undefined.

        Raises:
            InferenceFailed: the graph failed, or scores another vocabulary.
        """
        feeds = {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)}
        before = RecurrentState.zeros(self.state_specs, len(sequences)) if state is None else state
        outputs = runner.run("prompt", {**feeds, **before.arrays})
        return self._checked(outputs["logits"]), RecurrentState.from_outputs(self.state_specs, outputs)

    def step(self, runner: Runner, token_ids: IntArray, state: RecurrentState) -> tuple[Array, RecurrentState]:
        """Decode step: read one token per row. Returns logits `[batch, vocab]` of the next tokens, and states.

        Raises:
            InferenceFailed: there are no rows, an id or the number of states is out of range, or the graph failed.
        """
        if token_ids.size == 0 or token_ids.size != state.num_rows:
            raise InferenceFailed(
                f"a step needs one state for each token: {token_ids.size} tokens, {state.num_rows} states"
            )
        if np.min(token_ids) < 0 or np.max(token_ids) >= self.vocabulary_size:
            raise InferenceFailed(f"token ids must be from 0 to {self.vocabulary_size - 1}")
        outputs = runner.run("step", {"token": token_ids, **state.arrays})
        return self._checked(outputs["logits"]), RecurrentState.from_outputs(self.state_specs, outputs)

    def _checked(self, logits: Array) -> Array:
        found = logits.shape[-1]
        if found != self.vocabulary_size:
            raise InferenceFailed(f"the model scores {found} tokens, its tokenizer has {self.vocabulary_size}")
        return logits
