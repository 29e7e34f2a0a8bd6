"""The two graphs of a language model: `prompt` for prefill reads sequences, `step` for decode one token per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.bundle.hidden_output import HIDDEN_STATES
from service.bundle.manifest import StateSpec
from service.bundle.padding import IntArray, lengths_of, pad_ids
from service.errors import InferenceFailed
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, Runner, run_with_hidden

#: Tokens of one run of the graph, whose logits are held in memory.
_MAX_PART_TOKENS = 2048


class LanguageModel:
    """Runs the graphs. It is stateless: states are inputs and outputs, and row i belongs to the i-th sequence."""

    def __init__(self, state_specs: Sequence[StateSpec], vocabulary_size: int) -> None:
        self.state_specs = tuple(state_specs)
        self.vocabulary_size = vocabulary_size

    def read(
        self, runner: Runner, sequences: Sequence[Sequence[int]], state: RecurrentState | None = None
    ) -> tuple[Array, RecurrentState]:
        """Read sequences, starting from `state`. Returns logits `[batch, time, vocab]` and the states at their ends.

        The logits at time t score the token at t + 1; beyond a sequence's length they are undefined.

        Raises:
            InferenceFailed: the graph failed, or scores another vocabulary.
        """
        feeds = {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)}
        before = RecurrentState.zeros(self.state_specs, len(sequences)) if state is None else state
        outputs = runner.run("prompt", {**feeds, **before.arrays})
        return self._checked(outputs["logits"]), RecurrentState.from_outputs(self.state_specs, outputs)

    def last_hidden(self, runner: Runner, sequences: Sequence[Sequence[int]]) -> list[Array]:
        """What the output layer reads after the last token of each sequence: one vector `[width]` each.

        Long sequences are read in parts, because each token of a part has its logits too. Raises InferenceFailed.
        """
        part = max(1, _MAX_PART_TOKENS // len(sequences))
        found: dict[int, Array] = {}
        live, state = list(range(len(sequences))), RecurrentState.zeros(self.state_specs, len(sequences))
        for start in range(0, max(map(len, sequences)), part):
            parts = [sequences[number][start : start + part] for number in live]
            feeds = {"tokens": pad_ids(parts), "lengths": lengths_of(parts)}
            outputs = run_with_hidden(runner, "prompt", {**feeds, **state.arrays})
            ends = [len(sequences[number]) <= start + part for number in live]
            for row, number in enumerate(live):
                if ends[row]:
                    found[number] = outputs[HIDDEN_STATES][row, len(parts[row]) - 1].copy()
            going = [row for row, is_end in enumerate(ends) if not is_end]
            state = RecurrentState.from_outputs(self.state_specs, outputs).rows(going)
            live = [live[row] for row in going]
        return [found[number] for number in range(len(sequences))]

    def step(self, runner: Runner, token_ids: IntArray, state: RecurrentState) -> tuple[Array, RecurrentState]:
        """Read one token per row. Returns logits `[batch, vocab]` of the next tokens, and the states.

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
