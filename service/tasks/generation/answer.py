"""What a caller gets from generation: text-generation-inference's shapes, and what goes beyond them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.tasks.core.task import Answer

FinishReason = Literal["length", "eos_token", "stop_sequence"]


class PromptToken(Answer):
    """A token of the prompt; the first of a text has no log-probability, nothing came before it."""

    id: int
    text: str
    logprob: float | None


class Token(Answer):
    """A token that was chosen, or could have been. `logprob` is natural, after penalties, temperature and filters."""

    id: int
    text: str
    logprob: float
    special: bool = Field(description="true for the end token, which is no part of the text")


class TokenEvent(Answer):
    """One step of a stream. `finish_reason` is there at the last step."""

    index: int = Field(description="1 for the first token")
    token: Token
    top_tokens: list[Token] | None = None
    finish_reason: FinishReason | None = None


class GenerationDetails(Answer):
    """How the text came about. `seed` is null if nothing was drawn at random."""

    finish_reason: FinishReason
    generated_tokens: int = Field(description="the end token counted")
    seed: int | None
    prefill: list[PromptToken] = Field(description="the prompt; empty unless decoder_input_details is set")
    tokens: list[Token]
    top_tokens: list[list[Token]] | None = Field(default=None, exclude_if=lambda tokens: tokens is None)


class ContinuationAnswer(Answer):
    """One text. A stop string is part of it; an end token is not."""

    generated_text: str
    details: GenerationDetails | None = Field(default=None, exclude_if=lambda details: details is None)
    state: str | None = Field(
        default=None, exclude_if=lambda state: state is None, description="send it back to go on from here"
    )


class GenerationAnswer(ContinuationAnswer):
    """The whole text. Where several were asked for, this is the first of them, and `continuations` has them all."""

    continuations: list[ContinuationAnswer] | None = Field(default=None, exclude_if=lambda answers: answers is None)
