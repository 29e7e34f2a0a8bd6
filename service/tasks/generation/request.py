"""One request for generated text: what was asked, and the sequences that answer it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import TextTokenizer
from service.errors import UnrollError
from service.tasks.core.probabilities import log_softmax, require_finite
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, InputStatistics, input_statistics_of
from service.tasks.generation.detokenizer import START, TextPosition
from service.tasks.generation.options import MAX_SEED, SamplingOptions
from service.tasks.generation.result import GenerationResult, PromptToken
from service.tasks.generation.sequence import GeneratedSequence, SequenceCheckpoint, text_of
from service.tasks.generation.stream_state import StreamState

#: Seeds that we choose fit into the numbers of JavaScript, so that a client can send them back unharmed.
_CHOSEN_SEED_BITS = 53


@dataclass(frozen=True)
class Delivery:
    """How a text is wanted, apart from what it shall be.

    Attributes:
        is_streamed: every token makes an event.
        num_continuations: texts that follow the same prompt, read once; number i draws with `seed + i`, modulo 2**64.
        returns_state: each text ends with a state to go on from.
        state_every: a streamed text also has a state after every so many tokens; 0 for none.
    """

    is_streamed: bool = False
    num_continuations: int = 1
    returns_state: bool = False
    state_every: int = 0


class GenerationRequest:
    """A prompt and what follows it. A row of a batch belongs to each of its sequences.

    It may go on from a `StreamState`: then the network reads the state's newest token and the prompt, which may be
    empty, and everything goes on as if there had been no break. The state's seed and its place in the random numbers
    hold unless the caller names another seed.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        prompt_ids: Sequence[int],
        options: SamplingOptions,
        max_new_tokens: int,
        delivery: Delivery | None = None,
        start: StreamState | None = None,
    ) -> None:
        delivery = delivery or Delivery()
        self.prompt_ids = list(prompt_ids)
        self.options = options
        self.max_new_tokens = max_new_tokens
        self.is_streamed = delivery.is_streamed
        self.seed = _seed(options, start) if options.samples else None
        self._tokenizer = tokenizer
        self._start = start
        self._prompt_log_probabilities: list[float] = []
        self.sequences = [self._branch(number, delivery) for number in range(delivery.num_continuations)]

    @property
    def num_rows(self) -> int:
        return len(self.sequences)

    @property
    def length(self) -> int:
        """How many tokens the network has to read before the first step, if it knows no prefix of them."""
        return len(self.ids_to_read)

    @property
    def ids_to_read(self) -> list[int]:
        """The prompt; where the text goes on from a state, after the token that had not been read yet."""
        return self.prompt_ids if self._start is None else [self._start.pending_token_id, *self.prompt_ids]

    @property
    def input_statistics(self) -> InputStatistics:
        """How much of the prompt the vocabulary knows."""
        return input_statistics_of(self.prompt_ids)

    @property
    def state_before(self) -> RecurrentState | None:
        """One row: what the network knows before it reads; None for a text that begins here."""
        if self._start is None:
            return None
        return RecurrentState({name: array[:, None, :] for name, array in self._start.arrays.items()})

    @property
    def reports_prompt(self) -> bool:
        """Whether the answer says how likely the prompt was, so that all of it must be read."""
        return self.options.lists_prompt

    @property
    def text(self) -> str:
        """What the first sequence has written, without the prompt; see `GeneratedSequence.text`."""
        return self.sequences[0].text

    @property
    def finished(self) -> bool:
        return all(sequence.is_done for sequence in self.sequences)

    @property
    def error(self) -> UnrollError | None:
        """Why a sequence, and with it the whole request, has failed."""
        return next((sequence.error for sequence in self.sequences if sequence.error is not None), None)

    @property
    def num_produced(self) -> int:
        """How many tokens were chosen in all sequences, end tokens counted."""
        return sum(len(sequence.produced_ids) for sequence in self.sequences)

    def read_prompt(self, start: int, logits: Array) -> None:
        """Note how likely a part of the prompt was.

        Args:
            start: how many of `ids_to_read` came before the part.
            logits: `[tokens of the part, vocab]`, the scores after each of them.
        """
        following = self.ids_to_read[start + 1 : start + 1 + len(logits)]
        if following:
            log_probabilities = log_softmax(require_finite(logits[: len(following)], "token scores"))
            self._prompt_log_probabilities += log_probabilities[np.arange(len(following)), following].tolist()

    def result(self) -> GenerationResult:
        """All texts, once every one has ended. Raises ValueError before that."""
        prompt_tokens = self._prompt_tokens() if self.reports_prompt else []
        return GenerationResult([sequence.result for sequence in self.sequences], prompt_tokens)

    def states(self) -> list[StreamState]:
        """For each sequence the state to go on from, once every text has ended. Only if they were asked for."""
        return [self._state(sequence, sequence.checkpoint_at_end()) for sequence in self.sequences]

    def state_after(self, num_tokens: int) -> StreamState | None:
        """Of a streamed text: the state after so many tokens, if one was asked for there. It is handed out once."""
        sequence = self.sequences[0]
        checkpoint = sequence.checkpoint_after(num_tokens)
        return None if checkpoint is None else self._state(sequence, checkpoint)

    def _branch(self, number: int, delivery: Delivery) -> GeneratedSequence:
        start = self._start
        seed = None if self.seed is None else (self.seed + number) % (MAX_SEED + 1)
        goes_on = start is not None and self.seed == start.seed
        return GeneratedSequence(
            self._tokenizer,
            self.options,
            self._position(),
            self.max_new_tokens,
            seed=seed,
            num_drawn=start.num_drawn if start is not None and goes_on else 0,
            counts=self._counts() if self.options.has_penalty else None,
            is_streamed=delivery.is_streamed,
            keeps_state=delivery.returns_state,
            state_every=delivery.state_every,
        )

    def _position(self) -> TextPosition:
        start = self._start
        before = START if start is None else TextPosition(start.context_ids, start.held_ids, start.text_tail)
        return before.after_prompt(self.prompt_ids)

    def _counts(self) -> IntArray:
        counts = np.zeros((2, self._tokenizer.vocabulary_size), dtype=np.int64)
        if self._start is not None:
            for row, known in zip(counts, (self._start.num_read, self._start.num_produced), strict=True):
                row[list(known)] = list(known.values())
        counts[0] += np.bincount(self.prompt_ids, minlength=counts.shape[1])
        return counts

    def _prompt_tokens(self) -> list[PromptToken]:
        known: list[float | None] = [*self._prompt_log_probabilities]
        if self._start is None:
            known.insert(0, None)
        return [
            PromptToken(token_id, text_of(self._tokenizer, token_id), log_probability)
            for token_id, log_probability in zip(self.prompt_ids, known, strict=True)
        ]

    def _state(self, sequence: GeneratedSequence, checkpoint: SequenceCheckpoint) -> StreamState:
        start, produced_ids = self._start, sequence.produced_ids[: checkpoint.num_produced]
        produced = Counter(produced_ids)
        context_ids, held_ids, tail = checkpoint.position
        # What was not drawn from stays as it came, for whoever draws from it later.
        num_drawn, seed = checkpoint.num_drawn, sequence.seed
        if start is not None and seed is None:
            num_drawn, seed = start.num_drawn, start.seed
        return StreamState(
            arrays={name: array[:, 0] for name, array in checkpoint.row.arrays.items()},
            pending_token_id=produced_ids[-1],
            num_read=Counter(start.num_read if start else ()) + Counter(self.prompt_ids) + produced,
            num_produced=Counter(start.num_produced if start else ()) + produced,
            num_drawn=num_drawn,
            seed=seed,
            context_ids=context_ids,
            held_ids=held_ids,
            text_tail=tail,
        )


def _seed(options: SamplingOptions, start: StreamState | None) -> int:
    if options.seed is not None:
        return options.seed
    if start is not None and start.seed is not None:
        return start.seed
    return secrets.randbits(_CHOSEN_SEED_BITS)
