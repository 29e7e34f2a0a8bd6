"""One generation request: its prompt, its options, and the sequences that answer it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS, UNK, TextTokenizer
from service.errors import UnrollError
from service.tasks.core.probabilities import DoubleArray, log_softmax, require_finite
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array, InputStatistics, input_statistics_of
from service.tasks.generation.constraints.constraint import ConstrainedText
from service.tasks.generation.constraints.token_automaton import TokenAutomaton
from service.tasks.generation.detokenizer import START, TextPosition
from service.tasks.generation.options import MAX_SEED, SamplingOptions
from service.tasks.generation.result import GenerationResult, PromptScore, PromptToken, Token
from service.tasks.generation.sequence import GeneratedSequence, SequenceCheckpoint, text_of
from service.tasks.generation.stream_state import StreamState

#: Random seeds fit into a JavaScript number, so that clients can send them back exactly.
_CHOSEN_SEED_BITS = 53


class Delivery(NamedTuple):
    """How results are delivered.

    Attributes:
        is_streamed: there is an event for every token.
        num_continuations: sequences for the same prompt, which is read once; number i has `seed + i`, modulo 2**64.
        returns_state: each sequence ends with a state to continue from.
        state_every: a stream also has a state after each multiple of this number of tokens; 0 for none.
        prompt_logprobs: the result has the tokens of the prompt with their log-probabilities.
        best_first: results and states are in the order of mean log-probability per token, the highest first, if the
            options list tokens. Those of equal texts keep the order of their seeds.
    """

    is_streamed: bool = False
    num_continuations: int = 1
    returns_state: bool = False
    state_every: int = 0
    prompt_logprobs: bool = False
    best_first: bool = False


class GenerationRequest:
    """A prompt and its sequences, each of which has a row in the batch.

    It may continue from a `StreamState`: then the network reads the pending token of the state and the prompt, which
    may be empty, and the text continues as if uninterrupted. Seed and position in the random numbers are those of the
    state, unless the options have another seed. A constraint goes on where it was if it is the same and no prompt is
    given; any other begins with the new text.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        prompt_ids: Sequence[int],
        options: SamplingOptions,
        max_new_tokens: int,
        delivery: Delivery | None = None,
        start: StreamState | None = None,
        automaton: TokenAutomaton | None = None,
    ) -> None:
        delivery = delivery or Delivery()
        self.prompt_ids = list(prompt_ids)
        self.options = options
        self.max_new_tokens = max_new_tokens
        self.is_streamed = delivery.is_streamed
        #: Whether the log-probabilities of the prompt are needed, so that no prefix can be skipped.
        self.reports_prompt = delivery.prompt_logprobs
        self.seed = _seed(options, start) if options.samples else None
        self._tokenizer = tokenizer
        self._start = start
        self._best_first = delivery.best_first
        self._automaton = automaton
        constraint = None if automaton is None else options.constraint
        self._constraint_key = b"" if constraint is None else constraint.key
        self._prompt_log_probabilities: list[float] = []
        self._prompt_tops: list[Sequence[Token]] = []
        self.sequences = [self._new_sequence(number, delivery) for number in range(delivery.num_continuations)]

    @property
    def num_rows(self) -> int:
        return len(self.sequences)

    @property
    def length(self) -> int:
        """Number of tokens to read before the first step, without a cached prefix."""
        return len(self.prompt_ids) + (self._start is not None)

    @property
    def ids_to_read(self) -> list[int]:
        """The prompt, preceded by the pending token of a state."""
        return self.prompt_ids if self._start is None else [self._start.pending_token_id, *self.prompt_ids]

    @property
    def input_statistics(self) -> InputStatistics:
        """Number of tokens of the prompt, and of unknown ones."""
        return input_statistics_of(self.prompt_ids)

    @property
    def state_before(self) -> RecurrentState | None:
        """The recurrent state to start from, one row; None for a new text."""
        if self._start is None:
            return None
        return RecurrentState({name: array[:, None, :] for name, array in self._start.arrays.items()})

    @property
    def writes_nothing(self) -> bool:
        """Whether the prompt is only read."""
        return self.max_new_tokens == 0

    @property
    def text(self) -> str:
        """The text of the first sequence, without the prompt; see `GeneratedSequence.text`."""
        return self.sequences[0].text

    @property
    def text_before(self) -> str:
        """The text of the last tokens before the sequences."""
        return self._tokenizer.decode(self._position().context_ids)

    @property
    def finished(self) -> bool:
        return all(sequence.is_done for sequence in self.sequences)

    @property
    def error(self) -> UnrollError | None:
        """The error of a sequence, which fails the whole request."""
        return next((sequence.error for sequence in self.sequences if sequence.error is not None), None)

    @property
    def num_produced(self) -> int:
        """Number of tokens chosen in all sequences, including end tokens."""
        return sum([len(sequence.produced_ids) for sequence in self.sequences])

    def read_prompt(self, start: int, logits: Array) -> None:
        """Keep the log-probabilities of a chunk of the prompt.

        Args:
            start: number of `ids_to_read` before the chunk.
            logits: `[tokens of the chunk, vocab]`, after each of them.
        """
        following = self.ids_to_read[start + 1 : start + 1 + len(logits)]
        if following:
            log_probabilities = log_softmax(require_finite(logits[: len(following)], "token scores"))
            self._prompt_log_probabilities += log_probabilities[np.arange(len(following)), following].tolist()
            if self.options.num_top_tokens:
                self._prompt_tops += self._tops(log_probabilities)

    def end_unwritten(self, state: RecurrentState) -> None:
        """End a request that writes nothing. `state` is the row that has read all but the last token."""
        for sequence in self.sequences:
            sequence.finish_reason = "length"
            if sequence.wants_state:
                sequence.keep_state(state)

    def result(self) -> GenerationResult:
        """The result, once every sequence has ended. Raises ValueError before that."""
        texts = [sequence.result for sequence in self._ranked()]
        score = self._prompt_score() if self.reports_prompt else None
        return GenerationResult(texts, self.prompt_tokens(), score)

    def prompt_tokens(self) -> list[PromptToken]:
        """The tokens of the prompt, once it has been read; empty unless they were asked for."""
        if not self.reports_prompt:
            return []
        unknown = [None] if self._start is None else []
        known: list[float | None] = [*unknown, *self._prompt_log_probabilities]
        tops = [*([()] * len(unknown)), *self._prompt_tops] if self._prompt_tops else [()] * len(known)
        return [
            PromptToken(token_id, text_of(self._tokenizer, token_id), log_probability, top)
            for token_id, log_probability, top in zip(self.prompt_ids, known, tops, strict=True)
        ]

    def states(self) -> list[StreamState]:
        """For each sequence of the result the state to continue from, once all have ended, if states were asked for."""
        return [self._state(sequence, sequence.checkpoint_at_end()) for sequence in self._ranked()]

    def state_after(self, num_tokens: int) -> StreamState | None:
        """The state of a stream after `num_tokens`, if one was asked for there. It is returned once."""
        sequence = self.sequences[0]
        checkpoint = sequence.checkpoint_after(num_tokens)
        return None if checkpoint is None else self._state(sequence, checkpoint)

    def _ranked(self) -> list[GeneratedSequence]:
        """The sequences in the order of the result, once all have ended."""
        if not self._best_first:
            return self.sequences
        return sorted(self.sequences, key=lambda sequence: sequence.result.mean_log_probability, reverse=True)

    def _new_sequence(self, number: int, delivery: Delivery) -> GeneratedSequence:
        start = self._start
        seed = None if self.seed is None else (self.seed + number) % (MAX_SEED + 1)
        continues = start is not None and self.seed == start.seed
        return GeneratedSequence(
            self._tokenizer,
            self.options,
            self._position(),
            self.max_new_tokens,
            seed=seed,
            num_drawn=start.num_drawn if start is not None and continues else 0,
            counts=self._counts() if self.options.has_penalty else None,
            constrained=self._constrained(),
            is_streamed=delivery.is_streamed,
            keeps_state=delivery.returns_state,
            state_every=delivery.state_every,
        )

    def _constrained(self) -> ConstrainedText | None:
        """The place in the constraint: that of the state if it has the same one and no prompt begins a new text."""
        if self._automaton is None:
            return None
        start = self._start
        continues = start is not None and not self.prompt_ids and start.constraint_key == self._constraint_key
        return ConstrainedText(self._automaton, start.constraint_state if start is not None and continues else None)

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

    def _tops(self, log_probabilities: DoubleArray) -> list[list[Token]]:
        """For each row `[vocab]` the most likely tokens, best first."""
        count = min(self.options.num_top_tokens, log_probabilities.shape[1])
        best = np.argpartition(-log_probabilities, count - 1, axis=1)[:, :count]
        return [self._listed(row, ids.tolist()) for row, ids in zip(log_probabilities, best, strict=True)]

    def _listed(self, row: DoubleArray, token_ids: list[int]) -> list[Token]:
        in_order = sorted(token_ids, key=lambda token_id: (-row[token_id], token_id))
        return [Token(one, text_of(self._tokenizer, one), float(row[one]), one <= EOS) for one in in_order]

    def _prompt_score(self) -> PromptScore | None:
        """How well the model predicts the prompt; None if no token of it has a log-probability."""
        known = self._prompt_log_probabilities[-len(self.prompt_ids) :] if self.prompt_ids else []
        if not known:
            return None
        before, scored = self.prompt_ids[: -len(known)], self.prompt_ids[-len(known) :]
        num_characters = len(self._tokenizer.decode(self.prompt_ids)) - len(self._tokenizer.decode(before))
        return PromptScore.of(known, num_characters + scored.count(UNK))

    def _state(self, sequence: GeneratedSequence, checkpoint: SequenceCheckpoint) -> StreamState:
        start, produced_ids = self._start, sequence.produced_ids[: checkpoint.num_produced]
        produced = Counter(produced_ids)
        context_ids, held_ids, tail = checkpoint.position
        # A greedy text passes on seed and position unchanged, for a later one that samples.
        num_drawn, seed = checkpoint.num_drawn, sequence.seed
        if start is not None and seed is None:
            num_drawn, seed = start.num_drawn, start.seed
        return StreamState(
            arrays={name: array[:, 0] for name, array in checkpoint.row.arrays.items()},
            pending_token_id=produced_ids[-1] if produced_ids else self.ids_to_read[-1],
            num_read=Counter(start.num_read if start else ()) + Counter(self.prompt_ids) + produced,
            num_produced=Counter(start.num_produced if start else ()) + produced,
            num_drawn=num_drawn,
            seed=seed,
            context_ids=context_ids,
            held_ids=held_ids,
            text_tail=tail,
            constraint_key=b"" if checkpoint.constraint_state is None else self._constraint_key,
            constraint_state=checkpoint.constraint_state or 0,
        )


def _seed(options: SamplingOptions, start: StreamState | None) -> int:
    if options.seed is not None:
        return options.seed
    if start is not None and start.seed is not None:
        return start.seed
    return secrets.randbits(_CHOSEN_SEED_BITS)
