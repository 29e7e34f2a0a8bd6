"""Speech recognition while the sound arrives: bytes of samples in, partial and finished transcripts out.

The stream goes on by itself when the service stops: at another replica, or at the same one when it is back.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Unpack

from service.client.answers.predictions import Transcript
from service.client.errors import StreamClosing
from service.client.inputs import each_of
from service.client.parameters import PredictParameters
from service.client.streaming.messages import StreamAnswer, StreamResult

if TYPE_CHECKING:
    from service.client.async_client import AsyncClient
    from service.client.client import Client

#: Services in a row that stop before they have answered one piece, at most.
_MAX_MOVES = 5


def transcribe(
    client: Client,
    pieces: Iterable[bytes],
    *,
    model: str | None = None,
    version: str | None = None,
    encoding: str | None = None,
    sample_rate_hz: int | None = None,
    max_unanswered: int = 1,
    **parameters: Unpack[PredictParameters],
) -> Iterator[Transcript]:
    """The text of speech while it arrives: an utterance under way (`is_final` False) is replaced by the next answer.

    with Client("http://127.0.0.1:8000") as client, open("speech.raw", "rb") as sound:
        pieces = iter(lambda: sound.read(3200), b"")  # 100 ms of 16 bits at 16 kHz
        for heard in transcribe(client, pieces, model="speech-en", sample_rate_hz=16000):
            print(heard.text, end="\\n" if heard.is_final else "\\r")

    A model that reads its input in both directions answers once, at the end.

    Args:
        pieces: of any length, such as those of a microphone; also without end.
        encoding: pcm_s16le (default), pcm_f32le, or wav for the parts of a file.
        sample_rate_hz: of samples; default: that of the model.
        max_unanswered: 1 gives the answers to a piece before the next is taken, as a microphone needs it; more is
            faster where the pieces are there already.
        parameters: such as `words=True`.

    Raises:
        UnexpectedTask: the model is not for transcription.
        StreamClosing: the service stopped, and no other took over.
        ClientError: the service answers an error, or the connection is lost.
    """
    sent = _Sent(parameters, model=model, version=version, encoding=encoding, sample_rate_hz=sample_rate_hz)
    coming = iter(pieces)
    while True:
        try:
            with client.stream(answer=Transcript, **sent.start) as stream:
                for answer in stream.answers_to(sent.noted(coming), max_unanswered=max_unanswered):
                    yield from sent.heard(answer)
                yield from stream.end().predictions
            return
        except StreamClosing as closing:
            sent.move(closing)


async def transcribe_async(
    client: AsyncClient,
    pieces: Iterable[bytes] | AsyncIterable[bytes],
    *,
    model: str | None = None,
    version: str | None = None,
    encoding: str | None = None,
    sample_rate_hz: int | None = None,
    max_unanswered: int = 8,
    **parameters: Unpack[PredictParameters],
) -> AsyncIterator[Transcript]:
    """As `transcribe`, for asyncio; answers also come while an asynchronous iterable waits for its next piece.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        async for heard in transcribe_async(client, microphone(), model="speech-en", sample_rate_hz=16000):
            print(heard.text, heard.is_final)
    """
    sent = _Sent(parameters, model=model, version=version, encoding=encoding, sample_rate_hz=sample_rate_hz)
    async with _Reader(pieces, max_unanswered) as coming:
        while True:
            try:
                async with client.stream(answer=Transcript, **sent.start) as stream:
                    async for answer in stream.answers_to(sent.noted_async(coming), max_unanswered=max_unanswered):
                        for heard in sent.heard(answer):
                            yield heard
                    for heard in (await stream.end()).predictions:
                        yield heard
                return
            except StreamClosing as closing:
                sent.move(closing)


class _Reader:
    """Pieces of either kind of iterable, read by a task of its own: a stream that ends may be cut off from it."""

    def __init__(self, pieces: Iterable[bytes] | AsyncIterable[bytes], num_ahead: int) -> None:
        self._pieces = pieces
        self._read: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(num_ahead)

    async def __aenter__(self) -> _Reader:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *about: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._read.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        self._read.put_nowait(None)  # for the stream that comes after this one

    async def _run(self) -> None:
        try:
            async for piece in each_of(self._pieces):
                await self._read.put(piece)
            await self._read.put(None)
        except Exception as error:  # raised where the pieces are taken
            await self._read.put(error)


class _Sent:
    """What was sent and has no answer yet: it is sent again where the stream goes on."""

    def __init__(self, parameters: PredictParameters, **start: Any) -> None:
        self.start: dict[str, Any] = {**start, "parameters": dict(parameters) or None}
        self._unanswered: deque[bytes] = deque()
        self._again: list[bytes] = []
        #: The part of a sample that was answered for and is not in the state.
        self._held = b""
        self._num_moves = 0

    def noted(self, coming: Iterator[bytes]) -> Iterator[bytes]:
        """What is sent again, then what comes."""
        held = self._held
        for piece in self._again:
            yield held + piece
            held = b""
        for piece in coming:
            self._unanswered.append(piece)
            yield held + piece if held else piece
            held = b""

    async def noted_async(self, coming: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        held = self._held
        for piece in self._again:
            yield held + piece
            held = b""
        async for piece in coming:
            self._unanswered.append(piece)
            yield held + piece if held else piece
            held = b""

    def heard(self, answer: StreamAnswer) -> list[Transcript]:
        """The transcripts of one answer. Each answers the oldest piece."""
        if not isinstance(answer, StreamResult):
            return []
        if self._unanswered:
            self._unanswered.popleft()
        self._num_moves, self._held = 0, b""
        return list(answer.predictions)

    def move(self, closing: StreamClosing) -> None:
        """Begin where the service that stops has ended. Raises the error again where none takes over."""
        self._num_moves += 1
        if self._num_moves > _MAX_MOVES:
            raise closing
        self.start["state"] = closing.state or self.start.get("state")
        self._held = base64.b64decode(closing.held) or self._held
        self._again = list(self._unanswered)
