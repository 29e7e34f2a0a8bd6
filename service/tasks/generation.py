"""Generation: a language model reads a prompt as one sequence, then goes on one token at a time.

The pieces are apart so that many streams can share each step: `start` checks and encodes, `prefill` reads prompts,
`step` moves states on, and every `Continuation` chooses its own next token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.bundle.load import Bundle
from service.bundle.padding import lengths_of, pad_ids
from service.errors import InferenceFailed, InvalidInput
from service.tasks.base import (
    MAX_CHARACTERS_PER_TOKEN,
    Array,
    Runner,
    require_at_most,
    require_at_most_new_tokens,
    require_short_text,
    require_text,
)
from service.tasks.continuation import Continuation
from service.tasks.generation_answer import GenerationAnswer
from service.tasks.generation_parameters import DEFAULT_NEW_TOKENS, GenerationParameters
from service.tasks.recurrent_state import RecurrentState


class Generation:
    """Text goes on. States and logits of many streams lie side by side; row i belongs to the i-th of them."""

    parameters_type = GenerationParameters

    def __init__(self, bundle: Bundle) -> None:
        self._limits = bundle.manifest.limits
        self._state_specs = bundle.manifest.state
        self._tokenizer = bundle.tokenizers["text"]
        self._vocab = self._tokenizer.vocabulary_size

    def start(self, prompt: str, parameters: GenerationParameters) -> Continuation:
        """Check and encode one request.

        Raises:
            InvalidInput: with a path that starts with "inputs" or "parameters".
        """
        limit = self._limits.max_new_tokens
        if parameters.max_new_tokens is not None:
            require_at_most_new_tokens(parameters.max_new_tokens, limit)
        max_new_tokens = parameters.max_new_tokens or min(DEFAULT_NEW_TOKENS, limit)
        prompt_ids = self._encode(prompt, parameters.truncate)
        return Continuation(self._tokenizer, prompt, prompt_ids, parameters, max_new_tokens)

    def prefill(self, runner: Runner, continuations: Sequence[Continuation]) -> tuple[Array, RecurrentState]:
        """Read the prompts as one padded batch: logits `[batch, vocab]` of the tokens after them, and the states."""
        sequences = [continuation.prompt_ids for continuation in continuations]
        logits, state = self.read(runner, sequences)
        last = lengths_of(sequences) - 1
        for row, continuation in enumerate(continuations):
            if continuation.parameters.decoder_input_details:
                continuation.read_prompt(logits[row, : last[row] + 1])
        return logits[np.arange(len(sequences)), last], state

    def step(self, runner: Runner, token_ids: Sequence[int], state: RecurrentState) -> tuple[Array, RecurrentState]:
        """Read one token in every row: logits `[batch, vocab]` of the tokens after them, and the states.

        Raises:
            InferenceFailed: if there are no rows, or an id or the number of states is out of range.
        """
        token = np.asarray(token_ids, dtype=np.int64)
        if token.size == 0 or token.size != state.num_rows:
            raise InferenceFailed(
                f"a step needs one state for each token: {token.size} tokens, {state.num_rows} states"
            )
        if token.min() < 0 or token.max() >= self._vocab:
            raise InferenceFailed(f"token ids must be from 0 to {self._vocab - 1}")
        outputs = runner.run("step", {"token": token, **state.arrays})
        return outputs["logits"], RecurrentState.from_outputs(self._state_specs, outputs)

    def read(
        self, runner: Runner, sequences: Sequence[Sequence[int]], state: RecurrentState | None = None
    ) -> tuple[Array, RecurrentState]:
        """Read whole sequences, from `state` on: logits `[batch, time, vocab]`, and the states at their ends.

        The logits at time t score the token at t + 1; beyond a sequence's length they mean nothing.
        """
        feeds = {"tokens": pad_ids(sequences), "lengths": lengths_of(sequences)}
        before = RecurrentState.zeros(self._state_specs, len(sequences)) if state is None else state
        outputs = runner.run("prompt", {**feeds, **before.arrays})
        return outputs["logits"], RecurrentState.from_outputs(self._state_specs, outputs)

    def generate(self, runner: Runner, prompt: str, parameters: GenerationParameters) -> GenerationAnswer:
        """One text from start to end, on its own. Raises InvalidInput and InferenceFailed."""
        continuation = self.start(prompt, parameters)
        logits, state = self.prefill(runner, [continuation])
        while not continuation.accept(logits[0]).finish_reason:
            logits, state = self.step(runner, [continuation.last_token_id], state)
        return continuation.answer()

    def _encode(self, prompt: str, truncate: int | None) -> list[int]:
        """The prompt's ids; of a longer one only the last, if `truncate` asks for that."""
        limit = self._limits.max_input_tokens
        if truncate is None:
            prompt_ids = self._tokenizer.encode(require_short_text(prompt, limit, ("inputs",)))
            require_at_most(len(prompt_ids), limit, "tokens", ("inputs",))
        elif truncate > limit:
            raise InvalidInput(f"this model reads at most {limit} tokens", ("parameters", "truncate"))
        else:
            ending = require_text(prompt, ("inputs",))[-truncate * MAX_CHARACTERS_PER_TOKEN :]
            prompt_ids = self._tokenizer.encode(ending)[-truncate:]
        if not prompt_ids:
            raise InvalidInput("the prompt holds nothing that this model can read", ("inputs",))
        return prompt_ids
