"""Streaming text generation over a WebSocket: prompt chunks in, tokens out, recurrent state carried across turns."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from service.api.request_record import StreamTimes
from service.api.streaming.messages import Reads, Start
from service.api.streaming.reading import Body, Collected, Piece, StreamContext, TextPiece
from service.errors import InvalidInput
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.scheduling.stream import Stream
from service.tasks.core.parameters import check_parameters
from service.tasks.generation.recorded_form import GenerationParameters, written_answer, written_token
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import TokenEvent


class GenerationReading:
    """One text: what the client sends and what the model writes follow one another, with the state between them."""

    reads: Reads = "prompt"
    held = ""

    def __init__(self, context: StreamContext, engine: GenerationEngine, start: Start, before: bytes | None) -> None:
        """`before` is the state to continue from. Raises InvalidInput."""
        self._context, self._engine = context, engine
        self._parameters: GenerationParameters = (
            GenerationParameters.when_absent()
            if start.parameters is None
            else check_parameters(GenerationParameters, start.parameters)
        )
        self._state = before
        self._prompt = Collected(context)
        self._has_generated = False

    async def take(self, piece: Piece) -> Body:
        if not isinstance(piece, TextPiece):
            raise InvalidInput(f"{self._engine.opened.bundle.manifest.name} takes text")
        self._prompt.add(piece.text.encode("utf-8", "surrogatepass"))
        return {}

    async def generate(self, parameters: Any | None) -> AsyncIterator[Body]:
        chosen: GenerationParameters = parameters or self._parameters
        prompt = self._prompt.data.decode("utf-8", "surrogatepass")
        context = self._context
        begun_s = time.monotonic()
        delivery = Delivery(is_streamed=True, returns_state=True)
        sharer = context.call.sharer
        stream = await self._engine.stream(prompt, chosen.options, context.deadline_s(), delivery, self._state, sharer)
        try:
            async for events in stream.batches():
                for event in events:
                    yield _token(event)
        finally:
            stream.close()
            self._note_end(stream, begun_s)
        (self._state,) = self._engine.states(stream.request)
        self._prompt.clear()
        self._has_generated = True
        yield written_answer(stream.request.result(), chosen, prompt)

    def put_by(self, piece: bytes) -> bool:
        return False

    async def finish(self, *, goes_on: bool = False) -> Body:
        raise InvalidInput("a text ends by being continued")

    @property
    def is_continued(self) -> bool:
        """Whether nothing was sent since the last continuation."""
        return self._has_generated and not self._prompt.data

    def state(self) -> bytes | None:
        return self._state

    def close(self) -> None:
        self._prompt.close()

    def _note_end(self, stream: Stream[GenerationRequest], begun_s: float) -> None:
        """Keep the times for the metrics and the log line, as for a streamed request."""
        record = self._context.call.record
        self._engine.observe(stream, record.exemplar)
        record.stream_times = StreamTimes(
            begun_s, stream.enqueued_s, stream.started_s, stream.first_product_s, stream.ended_s,
            stream.request.num_produced,
        )  # fmt: skip


def _token(event: TokenEvent) -> Body:
    body: Body = {"number": event.index, "token": written_token(event.token)}
    if event.top_tokens:
        body["top_tokens"] = [written_token(token) for token in event.top_tokens]
    return body
