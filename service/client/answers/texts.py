"""Answers with generated text, its tokens and scores, and embeddings, as typed values."""

from __future__ import annotations

from pydantic import Field

from service.client.answers.predictions import Answer


class PromptToken(Answer):
    """A token of the prompt; the first of a text has no log-probability, nothing came before it."""

    id: int
    text: str
    logprob: float | None = None


class Token(Answer):
    """A token of a text. `logprob` is natural; `special` is the end token, which is no part of the text."""

    id: int
    text: str
    logprob: float
    special: bool = False


class TextDetails(Answer):
    """How a text came about. `finish_reason`: length, eos_token, stop_sequence; `seed` is None if nothing was drawn."""

    finish_reason: str
    generated_tokens: int
    seed: int | None = None
    prefill: list[PromptToken] = Field(default_factory=list)
    perplexity: float | None = None
    bits_per_character: float | None = None
    tokens: list[Token] = Field(default_factory=list)
    top_tokens: list[list[Token]] | None = None


class OtherText(TextDetails):
    """A text that was made with `best_of` and is not the best."""

    generated_text: str


class GenerationDetails(TextDetails):
    """How a text came about, and with `best_of` the others, the better first."""

    best_of_sequences: list[OtherText] | None = None


class Continuation(Answer):
    """One text, with details and state if they were asked for."""

    generated_text: str
    details: GenerationDetails | None = None
    state: str | None = None


class GenerateResponse(Continuation):
    """The text; with `n` above 1 the first of `continuations`. Continue a session with `session` of the answer.

    `session_kept` is False if there was no room for the session: continue with `state`, which is then there.
    """

    continuations: list[Continuation] | None = None
    session: str | None = None
    session_kept: bool = True


class Embedding(Answer):
    """The hidden state of one input as a vector."""

    index: int
    embedding: list[float]


class Embeddings(Answer):
    """One vector for each input, in order."""

    model: str
    data: list[Embedding]

    @property
    def vectors(self) -> list[list[float]]:
        """Numbers `[inputs, width]`, for `numpy.array`."""
        return [each.embedding for each in self.data]


class TokenEvent(Answer):
    """One token of a streamed text; `index` counts from 1. The last has `generated_text`, and details on request."""

    index: int
    token: Token
    top_tokens: list[Token] | None = None
    generated_text: str | None = None
    details: GenerationDetails | None = None
    state: str | None = None
    tokens_left: int | None = None
    session: str | None = None
    session_kept: bool = True

    @property
    def text(self) -> str:
        """What the token adds to the text: nothing if it is special, as the end of a text is."""
        return "" if self.token.special else self.token.text


class TextScore(Answer):
    """How well a language model predicts a text: lower is better, None for a text of one token.

    `perplexity` is per token; `bits_per_character` compares models with different tokens.
    """

    perplexity: float | None = None
    bits_per_character: float | None = None
    tokens: list[PromptToken]


class TextToken(Answer):
    """A token of a text: `text[start:stop]`, in code points."""

    id: int
    text: str
    start: int
    stop: int
