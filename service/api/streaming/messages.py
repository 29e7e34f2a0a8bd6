"""The messages of `/stream`: JSON objects with a `type`. Messages of bytes are pieces of sound, rows or a file."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.json_schema import models_json_schema

from service.api.schemas import FieldError, ModelName, SessionName, State, Version
from service.api.validation.input_forms import FrameList, NamedArrays
from service.tasks.generation.recorded_form import GenerationDetails, GenerationParameters, Token

#: How the messages of bytes of a stream are read: samples or rows as little-endian numbers, or the parts of a file.
Encoding = Literal["pcm_s16le", "pcm_f32le", "f32le", "wav", "png", "clip"]
#: Whether a model answers each piece, collects them for one answer, or continues them as a prompt.
Reads = Literal["chunks", "whole", "prompt"]


class ClientMessage(BaseModel):
    """Base of what clients send: a misspelt field is an error, never a default."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Start(ClientMessage):
    """Begin an input. The answer is `started`."""

    type: Literal["start"]
    model: ModelName | None = None
    version: Version | None = None
    parameters: dict[str, Any] | None = Field(None, description="as for POST /predict or POST /generate")
    state: State | None = Field(None, description="continue where the input with this state ended")
    session: SessionName | None = Field(
        None, description="keep the state here under this name, after each answer, and continue from it, as in /predict"
    )
    encoding: Encoding | None = Field(
        None, description="of messages of bytes; default: pcm_s16le for sound, f32le for rows, png for pictures"
    )
    sample_rate_hz: int | None = Field(
        None, ge=1, le=192_000, description="of pcm_s16le and pcm_f32le; default: the rate of the model"
    )


class Text(ClientMessage):
    """The next piece of a text. The answer is `result`."""

    type: Literal["text"]
    text: str
    flush: bool = Field(False, description="the piece ends with a whole word: read it now")


class Frames(ClientMessage):
    """The next rows of numbers, as JSON. The answer is `result`."""

    type: Literal["frames"]
    frames: FrameList


class Arrays(ClientMessage):
    """Named arrays: the next chunk of an input, or all of it. The answer is `result`."""

    type: Literal["tensors"]
    tensors: NamedArrays


class Generate(ClientMessage):
    """Continue the text so far. The answers are `token`, as many as there are, then `result`."""

    type: Literal["generate"]
    parameters: GenerationParameters | None = Field(None, description="default: those of `start`")


class GetState(ClientMessage):
    """Hand out the state after what was read so far. The answer is `state`."""

    type: Literal["state"]


class End(ClientMessage):
    """The input is complete. The answer is `final`, after which another `start` may follow."""

    type: Literal["end"]
    return_state: bool = Field(False, description="also return the state, to continue later")


AnyClientMessage = Annotated[Start | Text | Frames | Arrays | Generate | GetState | End, Field(discriminator="type")]


class ReceivedMessage(RootModel[AnyClientMessage]):
    """Any message of a client."""


class ServerMessage(BaseModel):
    """Base of what the service sends. `index` is the number of the last input that is answered, from 1."""

    model_config = ConfigDict(extra="forbid")


class Started(ServerMessage):
    """The input has begun."""

    type: Literal["started"]
    model: str
    version: str
    task: str
    reads: Reads = Field(
        description="chunks: each input is answered with what could be read so far; whole: inputs are collected, and "
        "answered at the end; prompt: inputs are collected, and continued on `generate` or `end`"
    )
    encoding: Encoding | None = Field(description="of messages of bytes; null if the model takes none")
    sample_rate_hz: int | None = Field(description="of these, if they are sound")
    request_id: str
    session: str | None = Field(None, description="the name to continue with, if there is a session")


class Span(ServerMessage):
    """What an answer read: its place in the whole input."""

    start: int
    end: int


class Result(ServerMessage):
    """The answer to one input: a text, rows or bytes; or to `generate`."""

    type: Literal["result"]
    index: int
    predictions: list[dict[str, Any]] = Field(
        [], description="as in POST /predict: one answer for what was read, none if nothing could be read yet"
    )
    span: Span | None = Field(
        None, description="place of what was read: in characters of the unit `offsets` of a text, else in rows"
    )
    audio_s: float | None = Field(None, description="sound that was read so far, for speech recognition")
    processing_ms: float | None = Field(None, description="from the arrival of the piece to its answer, for speech")
    real_time_factor: float | None = Field(None, description="time of processing over sound, of the input so far")
    generated_text: str | None = None
    session_kept: bool = Field(True, description="false if there was no room for the session: ask for the `state`")
    details: GenerationDetails | None = None


class StreamedToken(ServerMessage):
    """One generated token. `number` counts from 1."""

    type: Literal["token"]
    index: int
    number: int
    token: Token
    top_tokens: list[Token] | None = None


class StateHandedOut(ServerMessage):
    """The state after all words and rows that are complete; `held` is the part of a word or number that is not."""

    type: Literal["state"]
    index: int
    state: str | None = Field(description="null as long as nothing was read")
    held: str = Field("", description="send it again, before what follows, when you continue from the state")


class Final(Result):
    """The answer to the rest of the input; for a classifier, and for inputs that were collected, to all of it."""

    type: Literal["final"]  # type: ignore[assignment]  # the same fields, said once more
    state: str | None = None


class Closing(ServerMessage):
    """The service stops: connect again, to another replica, and continue from the state."""

    type: Literal["closing"]
    index: int
    state: str | None = None
    held: str = ""


class Error(ServerMessage):
    """The last message before the connection is closed. `index` is the last input that was answered."""

    type: Literal["error"]
    error: str
    error_type: str
    detail: list[FieldError] | None = None
    reason: str | None = Field(None, description="why a state was refused")
    retry_after_s: float | None = Field(None, description="when to try again, where waiting helps")
    reasons: list[str] | None = Field(None, description="why the service or a model is not ready")
    available: list[str] | None = Field(None, description="the models or versions that there are")
    request_id: str
    index: int
    state: str | None = Field(None, description="after the last input that was answered, if there is one")
    held: str = ""


class SentMessage(
    RootModel[
        Annotated[
            Started | Result | StreamedToken | StateHandedOut | Final | Closing | Error, Field(discriminator="type")
        ]
    ]
):
    """Any message of the service."""


def message_schema() -> dict[str, Any]:
    """The JSON schema of all messages, in both directions."""
    sides = [(ReceivedMessage, "validation"), (SentMessage, "serialization")]
    by_model, definitions = models_json_schema(sides, title="Messages of /stream")  # type: ignore[arg-type]
    refs = {model.__name__: schema for (model, _), schema in by_model.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **definitions,
        "oneOf": [
            {"title": "sent by the client", **refs["ReceivedMessage"]},
            {"title": "sent by the service", **refs["SentMessage"]},
        ],
    }


if __name__ == "__main__":
    print(json.dumps(message_schema(), indent=2))
