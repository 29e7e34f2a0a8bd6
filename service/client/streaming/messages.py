"""Answers of the WebSocket `/stream` as typed values. `index` is the number of the last input that is answered."""

from __future__ import annotations

from typing import Any, Generic

from pydantic import Field

from service.client.answers.predictions import Answer, P
from service.client.answers.texts import GenerationDetails, Token


class StreamStarted(Answer):
    """The input has begun.

    `reads`: `chunks` if each input is answered with what could be read so far; `whole` if inputs are collected and
    answered at the end; `prompt` if they are collected, and continued on `generate` or at the end.
    """

    model: str
    version: str
    task: str
    reads: str
    encoding: str | None = None
    sample_rate_hz: int | None = None
    session: str | None = None
    request_id: str = ""


class StreamSpan(Answer):
    """The place of what an answer read: in characters of the unit `offsets` of a text, else in rows."""

    start: int
    end: int


class StreamResult(Answer, Generic[P]):
    """The answer to one input, or to `generate`. `predictions` has one entry, none if nothing could be read yet.

    `session_kept` is False if there was no room for the session: continue with the state. Of speech, `audio_s` is the
    sound that was read so far, and `processing_ms` the time from a piece to its answer.
    """

    index: int
    predictions: list[P] = Field(default_factory=list)
    span: StreamSpan | None = None
    generated_text: str | None = None
    session_kept: bool = True
    details: GenerationDetails | None = None
    audio_s: float | None = None
    processing_ms: float | None = None
    real_time_factor: float | None = None


class StreamFinal(StreamResult[P], Generic[P]):
    """The answer to the rest of the input, or to all of it where inputs are collected; the state on request."""

    state: str | None = None


class StreamToken(Answer):
    """One generated token; `number` counts from 1."""

    index: int
    number: int
    token: Token
    top_tokens: list[Token] | None = None

    @property
    def text(self) -> str:
        """What the token adds to the text: nothing if it is special, as the end of a text is."""
        return "" if self.token.special else self.token.text


class StreamState(Answer):
    """The state after all that is complete; None as long as nothing was read.

    `held` is text of a word that is not in it yet: send it again, before what follows, to continue from the state.
    """

    index: int
    state: str | None = None
    held: str = ""


class OtherMessage(Answer):
    """A message that this version does not know."""

    type: str


StreamAnswer = StreamResult[Any] | StreamFinal[Any] | StreamToken | StreamState | OtherMessage
