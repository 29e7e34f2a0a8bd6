"""One sequence: a continuation of a prompt, with the tokens it has produced and the options of its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS, TextTokenizer
from service.errors import UnrollError
from service.tasks.core.probabilities import DoubleArray
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.generation.constraints.constraint import ConstrainedText
from service.tasks.generation.detokenizer import Detokenizer, TextPosition
from service.tasks.generation.options import MAX_STOP_CHARACTERS, SamplingOptions
from service.tasks.generation.result import FinishReason, GeneratedText, Token, TokenEvent
from service.tasks.generation.sampling import RowOptions, most_likely, uniforms


class SequenceCheckpoint(NamedTuple):
    """A sequence after one of its tokens: the parts of a state to continue from."""

    #: One row of state that has read all but the newest token.
    row: RecurrentState
    position: TextPosition
    num_produced: int
    num_drawn: int
    #: The state of the constraint; None without one, or once the text is complete.
    constraint_state: int | None


class GeneratedSequence:
    """A sequence that is being generated. Its recurrent state is kept by the batch while it runs.

    A `followed` sequence processes each token when it is chosen: because it is streamed, because its tokens are listed
    in the result, or because a stop string may end it. All others get their tokens in bulk, and are decoded at the end.

    Attributes:
        seed: of the random numbers, one for each token; None for greedy decoding.
        counts: `[2, vocab]`: how often each token was read, and produced; None without a penalty.
        constrained: the place of the text in its constraint; None without one.
        final_state: the row of recurrent state that has read all but the newest token, if it was asked for.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        options: SamplingOptions,
        position: TextPosition,
        max_new_tokens: int,
        *,
        seed: int | None,
        num_drawn: int,
        counts: IntArray | None,
        constrained: ConstrainedText | None = None,
        is_streamed: bool,
        keeps_state: bool,
        state_every: int,
    ) -> None:
        self.seed = seed
        self.num_drawn_before = num_drawn
        self.numbers: Iterator[float] | None = None if seed is None else uniforms(seed, num_drawn)
        self.counts = counts
        self.constrained = constrained
        self.max_new_tokens = max_new_tokens
        self.keeps_state = keeps_state
        self.final_state: RecurrentState | None = None
        self._state_every = state_every
        self._checkpoints: dict[int, SequenceCheckpoint] = {}
        self.produced_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.error: UnrollError | None = None
        self.tokens: list[Token] = []
        self.top_tokens: list[list[Token]] = []
        reports = is_streamed or options.lists_tokens
        self.row_options = RowOptions(
            options, draws=seed is not None, reports=reports, is_constrained=constrained is not None
        )
        self.is_followed = reports or bool(options.stop)
        self._is_streamed = is_streamed
        self._lists_tokens = options.lists_tokens
        self._num_top_tokens = options.num_top_tokens
        self._tokenizer = tokenizer
        self._stream = Detokenizer(tokenizer, position, options.stop)
        self._has_text = self.is_followed

    @property
    def is_done(self) -> bool:
        """Whether the sequence has ended or failed."""
        return self.finish_reason is not None or self.error is not None

    @property
    def num_left(self) -> int:
        """Number of tokens that may follow."""
        return self.max_new_tokens - len(self.produced_ids)

    @property
    def num_drawn(self) -> int:
        """Number of random numbers used."""
        return self.num_drawn_before + (0 if self.seed is None else len(self.produced_ids))

    @property
    def text(self) -> str:
        """The text without the prompt; of a sequence that is not followed, only once it is done."""
        self._decode_bulk()
        return self._stream.text

    @property
    def result(self) -> GeneratedText:
        """The finished sequence. Raises ValueError while it is still running."""
        if self.finish_reason is None:
            raise ValueError("this text has not ended yet")
        return GeneratedText(self.text, self.produced_ids, self.finish_reason, self.seed, self.tokens, self.top_tokens)

    @property
    def has_states_on_the_way(self) -> bool:
        """Whether states before the end are asked for."""
        return self._state_every > 0

    @property
    def wants_state(self) -> bool:
        """Whether the state after the newest token is asked for."""
        if self.finish_reason is not None:
            return self.keeps_state
        return self._state_every > 0 and len(self.produced_ids) % self._state_every == 0 and self.error is None

    def keep_state(self, row: RecurrentState) -> None:
        """Keep the row that has read all but the newest token. A sequence with intermediate states is followed."""
        if self.finish_reason is not None:
            self.final_state = row
        else:
            self._checkpoints[len(self.produced_ids)] = self._checkpoint(row)

    def checkpoint_after(self, num_tokens: int) -> SequenceCheckpoint | None:
        """The checkpoint after `num_tokens`, if it was kept. It is returned once."""
        return self._checkpoints.pop(num_tokens, None)

    def checkpoint_at_end(self) -> SequenceCheckpoint:
        """The checkpoint of a finished sequence. Raises ValueError if it was not kept."""
        if self.final_state is None:
            raise ValueError("this text has no state yet, or none was asked for")
        self._decode_bulk()
        return self._checkpoint(self.final_state)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Add the tokens of several steps; only the last may end the sequence."""
        self.produced_ids += token_ids
        if self.produced_ids[-1] == EOS:
            self.finish_reason = "eos_token"
        elif self.num_left <= 0:
            self.finish_reason = "length"

    def follow(self, token_id: int, scores: tuple[float, DoubleArray] | None) -> TokenEvent | None:
        """Add one token. Returns its event if the sequence is streamed.

        `scores` has its log-probability, and all that it was chosen by, `[vocab]`.
        """
        self.produced_ids.append(token_id)
        piece = self._append_text(token_id)
        if scores is None:
            return None
        token = self._token(token_id, scores[0], piece)
        top = self._list_top_tokens(scores[1]) if self._num_top_tokens else []
        if self._lists_tokens:
            self.tokens.append(token)
            self.top_tokens += [top] if top else []
        if not self._is_streamed:
            return None
        return TokenEvent(len(self.produced_ids), token, top, self.finish_reason)

    def _checkpoint(self, row: RecurrentState) -> SequenceCheckpoint:
        position = self._stream.position(MAX_STOP_CHARACTERS - 1)
        is_complete = self.constrained is None or self.finish_reason == "eos_token"
        constraint_state = None if is_complete or self.constrained is None else self.constrained.state
        return SequenceCheckpoint(row, position, len(self.produced_ids), self.num_drawn, constraint_state)

    def _decode_bulk(self) -> None:
        """Decode tokens that came in bulk: when the text is first read, in the reader's thread, to keep steps short."""
        if not self._has_text and self.is_done:
            self._has_text = True
            ends = self.finish_reason == "eos_token"
            self._stream.extend(self.produced_ids[:-1] if ends else self.produced_ids)
            self._flush()

    def _append_text(self, token_id: int) -> str:
        """The text that this token completes. Sets `finish_reason` if it is the last."""
        piece = "" if token_id == EOS else self._stream.append(token_id)
        if token_id == EOS:
            self.finish_reason = "eos_token"
        elif self._stream.stopped:
            self.finish_reason = "stop_sequence"
        elif self.num_left <= 0:
            self.finish_reason = "length"
        return piece + self._flush() if self.finish_reason else piece

    def _flush(self) -> str:
        """Text held back until the end. It stays in the state of a text that can be continued."""
        continues = self.keeps_state and self.finish_reason == "length"
        return "" if continues else self._stream.flush()

    def _list_top_tokens(self, log_probabilities: DoubleArray) -> list[Token]:
        listed = most_likely(log_probabilities, self._num_top_tokens)
        return [self._token(i, float(log_probabilities[i]), text_of(self._tokenizer, i)) for i in listed]

    def _token(self, token_id: int, log_probability: float, text: str) -> Token:
        special = token_id <= EOS
        text = text_of(self._tokenizer, token_id) if special else text
        return Token(token_id, text, log_probability, special)


def text_of(tokenizer: TextTokenizer, token_id: int) -> str:
    """The text of one token; the name of a special one."""
    return tokenizer.token(token_id) if token_id <= EOS else tokenizer.decode([token_id])


def count_matrix(sequences: Sequence[GeneratedSequence]) -> IntArray | None:
    """The counts as one array `[sequences, 2, vocab]`. The sequences' own counts become views of it."""
    if not sequences:
        return None
    matrix: IntArray = np.stack([sequence.counts for sequence in sequences if sequence.counts is not None])
    for sequence, counts in zip(sequences, matrix, strict=True):
        sequence.counts = counts
    return matrix
