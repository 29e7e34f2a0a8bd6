"""The answers of `POST /v1/completions`: whole, and as chunks of a stream."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic_core import to_json

from service.api.protocols.openai.choice_text import Piece, written_logprobs
from service.bundle.manifest import Manifest
from service.tasks.generation.request import GenerationRequest

LAST_FRAME = b"data: [DONE]\n\n"


class LogProbs(BaseModel):
    """Tokens of a choice. Log-probabilities are natural, after penalties and temperature; those of a prompt are raw."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One text. It ends before a stop string."""

    index: int = Field(description="number of the prompt times n, plus the number of the text")
    text: str
    logprobs: LogProbs | None
    finish_reason: Literal["stop", "length"]
    state: str | None = Field(None, exclude_if=lambda state: state is None, description="if requested")


class Usage(BaseModel):
    """Tokens read and written. Each prompt counts once, and texts that `best_of` leaves out count too."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionResponse(BaseModel):
    """Every text of every prompt, in order."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[Choice]
    usage: Usage
    session: str | None = Field(None, exclude_if=lambda session: session is None)
    session_kept: bool = Field(True, exclude_if=bool)


def answer_head(request_id: str, manifest: Manifest) -> dict[str, Any]:
    """What an answer and all chunks of a stream begin with. The fingerprint changes with the weights of the model."""
    return {
        "id": f"cmpl-{request_id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": manifest.name,
        "system_fingerprint": f"fp_{manifest.digest[:12]}" if manifest.digest else None,
    }


def written_choice(index: int, pieces: Iterable[Piece], *, is_scored: bool) -> dict[str, Any]:
    """A choice, or what a chunk adds to it, as JSON values."""
    parts = list(pieces)
    tokens = [token for part in parts for token in part.tokens]
    return {
        "index": index,
        "text": "".join(part.text for part in parts),
        "logprobs": written_logprobs(tokens) if is_scored else None,
        "finish_reason": parts[-1].finish_reason,
    }


def usage_of(requests: Sequence[GenerationRequest], texts_per_prompt: int = 1) -> dict[str, int]:
    """A `Usage`. Where each text of a prompt is a request of its own, there are `texts_per_prompt` of them in a row."""
    num_read = sum(len(request.prompt_ids) for request in requests[::texts_per_prompt])
    num_written = sum(request.num_produced for request in requests)
    return {"prompt_tokens": num_read, "completion_tokens": num_written, "total_tokens": num_read + num_written}


def frame(body: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + to_json(body) + b"\n\n"
