"""The chunks of a streamed completion."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from service.api.call import Call
from service.api.protocols.openai.answer import LAST_FRAME, frame, usage_of, written_choice
from service.api.protocols.openai.choice_text import Piece, StreamedText
from service.api.protocols.openai.error_form import openai_body
from service.api.protocols.openai.merged import merged
from service.api.protocols.openai.request_body import StreamOptions
from service.errors import UnrollError
from service.inference.scheduling.stream import Stream
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.result import TokenEvent


class Ending(NamedTuple):
    """What the last chunk of a choice has besides its text: fields of the choice, and fields of the chunk."""

    of_choice: Mapping[str, Any]
    of_chunk: Mapping[str, Any]


class StreamedChoice:
    """One choice of a stream: its tokens as they come, and what they add to the answer."""

    def __init__(
        self,
        index: int,
        stream: Stream[GenerationRequest],
        stop: Sequence[str],
        echo: Callable[[], list[Piece]],
        ending: Callable[[], Awaitable[Ending]],
        *,
        is_scored: bool,
    ) -> None:
        """`echo` gives what comes before the text, once the prompt has been read; `ending` is called at the end."""
        self.stream = stream
        self.is_done = False
        self._index = index
        self._stop = stop
        self._echo = echo
        self._ending = ending
        self._is_scored = is_scored
        self._text: StreamedText | None = None

    async def chunks(self, events: Sequence[TokenEvent]) -> list[dict[str, Any]]:
        """What these tokens add: for each chunk its `choices`, and its further fields if it is the last."""
        chunks = []
        for event in events:
            pieces = self._pieces(event)
            self.is_done = event.finish_reason is not None
            if pieces:
                choice = written_choice(self._index, pieces, is_scored=self._is_scored)
                chunks.append({"choices": [choice]})
        if self.is_done:
            of_choice, of_chunk = await self._ending()
            chunks[-1]["choices"][0].update(of_choice)
            chunks[-1].update(of_chunk)
        return chunks

    def _pieces(self, event: TokenEvent) -> list[Piece]:
        pieces = []
        if self._text is None:
            pieces = self._echo()
            self._text = StreamedText(self._stop, sum(len(piece.text) for piece in pieces), is_scored=self._is_scored)
        # The end token has no text of its own; what was held back until then comes with it.
        is_end = event.token.is_special and event.finish_reason is not None
        ending = self.stream.request.text[self._text.num_characters :] if is_end else ""
        piece = self._text.take(event, ending)
        return pieces if piece is None else [*pieces, piece]


async def completion_frames(
    call: Call,
    head: Mapping[str, Any],
    choices: Sequence[StreamedChoice],
    texts_per_prompt: int,
    wanted: StreamOptions | None,
) -> AsyncIterator[bytes]:
    """Server-sent events. Those that are ready at the same time are written together."""
    record = call.record
    record.outcome = "cancelled"  # until the last event has been handed over
    streams = [choice.stream for choice in choices]
    has_usage = wanted is not None and bool(wanted.include_usage)
    counts_on = wanted is not None and bool(wanted.continuous_usage_stats)

    def usage() -> dict[str, int]:
        return usage_of([stream.request for stream in streams], texts_per_prompt)

    try:
        async for number, events in merged(streams):
            chunks = await choices[number].chunks(events)
            if has_usage:
                chunks = [chunk | {"usage": usage() if counts_on else None} for chunk in chunks]
            if chunks:
                yield b"".join([frame({**head, **chunk}) for chunk in chunks])
    except UnrollError as error:
        yield frame(openai_body(call.failure_in_stream(error))) + LAST_FRAME
        return
    if all(choice.is_done for choice in choices):
        yield (frame({**head, "choices": [], "usage": usage()}) if has_usage else b"") + LAST_FRAME
        record.outcome = "ok"
