"""One stream of generated text: what was asked, what was produced, and the choice of the next token."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from service.bundle.tokenizer import EOS, TextTokenizer
from service.errors import InferenceFailed
from service.tasks.base import Array
from service.tasks.decoding import draw, most_likely, next_token_log_probabilities
from service.tasks.generation_answer import (
    FinishReason,
    GenerationAnswer,
    GenerationDetails,
    PromptToken,
    Token,
    TokenEvent,
)
from service.tasks.generation_parameters import GenerationParameters
from service.tasks.probabilities import DoubleArray, log_softmax, require_finite
from service.tasks.text_stream import TextStream

#: Seeds that we choose fit into the numbers of JavaScript, so that a client can send them back unharmed.
_CHOSEN_SEED_BITS = 53


class Continuation:
    """A prompt and what has followed so far. It holds no recurrent state: that travels through `Generation.step`.

    Each stream draws one number of its own generator for each token, so the same seed gives the same text whatever
    else is in the batch. `seed` is None if nothing is drawn.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        prompt: str,
        prompt_ids: Sequence[int],
        parameters: GenerationParameters,
        max_new_tokens: int,
    ) -> None:
        self.prompt = prompt
        self.prompt_ids = list(prompt_ids)
        self.parameters = parameters
        self.max_new_tokens = max_new_tokens
        self.seed = _seed(parameters) if parameters.samples else None
        self.produced_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._tokenizer = tokenizer
        self._vocab = tokenizer.vocabulary_size
        self._random = None if self.seed is None else np.random.Generator(np.random.Philox(key=self.seed))
        self._num_read = np.bincount(self.prompt_ids, minlength=self._vocab)
        self._num_produced = np.zeros(self._vocab, dtype=np.int64)
        self._stream = TextStream(tokenizer, self.prompt_ids, parameters.stop)
        self._prefill: list[PromptToken] = []
        self._tokens: list[Token] = []
        self._top_tokens: list[list[Token]] = []

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def num_produced(self) -> int:
        """How many tokens were chosen, an end token counted."""
        return len(self.produced_ids)

    @property
    def text(self) -> str:
        """The text produced so far, without the prompt."""
        return self._stream.text

    @property
    def last_token_id(self) -> int:
        """What the next step reads."""
        return self.produced_ids[-1]

    def accept(self, logits: Array) -> TokenEvent:
        """Choose the next token by `logits` `[vocab]`, append it, and see whether the text ends with it.

        Raises:
            InferenceFailed: if the logits are not finite or not of this vocabulary.
        """
        if self.finished:
            raise ValueError("this text has ended")
        log_probabilities = self._next_token_log_probabilities(logits)
        token_id = self._choose(log_probabilities)
        self.produced_ids.append(token_id)
        self._num_read[token_id] += 1
        self._num_produced[token_id] += 1
        token = self._token(token_id, log_probabilities, self._append_text(token_id))
        self._tokens.append(token)
        top_tokens = self._list_top_tokens(log_probabilities)
        return TokenEvent(index=self.num_produced, token=token, top_tokens=top_tokens, finish_reason=self.finish_reason)

    def read_prompt(self, logits: Array) -> None:
        """Note how likely the prompt was, by the `logits` `[prompt length, vocab]` after each of its tokens."""
        log_probabilities = log_softmax(require_finite(logits, "token scores"))
        following = enumerate(self.prompt_ids[1:])
        known = [None, *(float(log_probabilities[time, token_id]) for time, token_id in following)]
        self._prefill = [
            PromptToken(id=token_id, text=self._text_of(token_id), logprob=logprob)
            for token_id, logprob in zip(self.prompt_ids, known, strict=True)
        ]

    def answer(self) -> GenerationAnswer:
        """The whole answer, once the text has ended."""
        if self.finish_reason is None:
            raise ValueError("this text has not ended yet")
        before = self.prompt if self.parameters.return_full_text else ""
        details = self._details(self.finish_reason) if self.parameters.details else None
        return GenerationAnswer(generated_text=before + self.text, details=details)

    def _next_token_log_probabilities(self, logits: Array) -> DoubleArray:
        if logits.shape != (self._vocab,):
            raise InferenceFailed(f"the model scores {logits.shape[-1]} tokens, its tokenizer has {self._vocab}")
        require_finite(logits, "token scores")
        return next_token_log_probabilities(logits, self.parameters.rules, self._num_read, self._num_produced)

    def _choose(self, log_probabilities: DoubleArray) -> int:
        if self._random is None:
            return int(log_probabilities.argmax())
        return draw(log_probabilities, float(self._random.random()))

    def _append_text(self, token_id: int) -> str:
        """The text that became whole with this token. Sets `finish_reason` if it was the last."""
        piece = "" if token_id == EOS else self._stream.append(token_id)
        if token_id == EOS:
            self.finish_reason = "eos_token"
        elif self._stream.stopped:
            self.finish_reason = "stop_sequence"
        elif self.num_produced >= self.max_new_tokens:
            self.finish_reason = "length"
        return piece + self._stream.flush() if self.finished else piece

    def _list_top_tokens(self, log_probabilities: DoubleArray) -> list[Token] | None:
        count = self.parameters.top_n_tokens
        if not count:
            return None
        listed = most_likely(log_probabilities, count)
        self._top_tokens.append([self._token(i, log_probabilities, self._text_of(i)) for i in listed])
        return self._top_tokens[-1]

    def _token(self, token_id: int, log_probabilities: DoubleArray, text: str) -> Token:
        special = token_id <= EOS
        text = self._text_of(token_id) if special else text
        return Token(id=token_id, text=text, logprob=float(log_probabilities[token_id]), special=special)

    def _text_of(self, token_id: int) -> str:
        return self._tokenizer.token(token_id) if token_id <= EOS else self._tokenizer.decode([token_id])

    def _details(self, finish_reason: FinishReason) -> GenerationDetails:
        return GenerationDetails(
            finish_reason=finish_reason,
            generated_tokens=self.num_produced,
            seed=self.seed,
            prefill=self._prefill,
            tokens=self._tokens,
            top_tokens=self._top_tokens or None,
        )


def _seed(parameters: GenerationParameters) -> int:
    return secrets.randbits(_CHOSEN_SEED_BITS) if parameters.seed is None else parameters.seed
