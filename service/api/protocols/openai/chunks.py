"""The chunks of a streamed completion."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from service.api.call import Call
from service.api.event_stream import Outlet, json_text
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

    def adds_text_alone(self, events: Sequence[TokenEvent]) -> bool:
        """Whether `texts` has all that these tokens add."""
        return events[-1].finish_reason is None and self._text is not None and not self._is_scored

    def texts(self, events: Sequence[TokenEvent]) -> list[str]:
        """The texts that tokens add to a choice without log-probabilities; none of those that are held back."""
        assert self._text is not None, "an earlier token began it"
        return [piece.text for event in events if (piece := self._text.take(event)) is not None]

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
    outlet: Outlet,
) -> AsyncIterator[bytes]:
    """Server-sent events. Those that are ready at the same time are written together."""
    record = call.record
    record.outcome = "cancelled"  # until the last event has been handed over
    streams = [choice.stream for choice in choices]
    has_usage = wanted is not None and bool(wanted.include_usage)
    counts_on = wanted is not None and bool(wanted.continuous_usage_stats)

    def usage() -> dict[str, int]:
        return usage_of([stream.request for stream in streams], texts_per_prompt)

    around_text = _around_text(head, has_usage=has_usage)

    def at_once(events: Sequence[TokenEvent]) -> bool:
        (choice,) = choices
        is_written = choice.adds_text_alone(events) and outlet.is_ready
        if is_written and (texts := choice.texts(events)):
            outlet.write(b"".join([json_text(text).join(around_text) for text in texts]))
        return is_written

    try:
        async for number, events in merged(streams, None if counts_on else at_once):
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


def _around_text(head: Mapping[str, Any], *, has_usage: bool) -> list[bytes]:
    """A frame that adds a text to the only choice of a stream: what comes before the JSON of the text, and after it."""
    chunk = {**head, "choices": [written_choice(0, [Piece("", ())], is_scored=False)]}
    before, _, after = frame(chunk | {"usage": None} if has_usage else chunk).rpartition(b'"text":""')
    return [before + b'"text":', after]
