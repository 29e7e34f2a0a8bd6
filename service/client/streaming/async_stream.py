"""Streams over a WebSocket for asyncio: input that arrives in pieces, answers while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Generic, NoReturn, Unpack

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from service.client.answers.predictions import P
from service.client.connection import Options
from service.client.errors import ClientError, StreamClosing, TimedOut
from service.client.inputs import each_of
from service.client.parameters import GenerationParameters
from service.client.streaming.conversation import Conversation, Piece
from service.client.streaming.handshake import connect_async
from service.client.streaming.messages import StreamAnswer, StreamFinal, StreamStarted, StreamState
from service.client.streaming.stream import MAX_UNANSWERED, close_of


class AsyncStream(Generic[P]):
    """As `Stream`; it is opened by `async with`. One task uses it at a time; `answers_to` sends while it receives."""

    def __init__(self, options: Options, conversation: Conversation, timeout_s: float | None) -> None:
        self._options, self._talk, self._timeout_s = options, conversation, timeout_s
        self._opened: ClientConnection | None = None

    async def __aenter__(self) -> AsyncStream[P]:
        self._opened = await self._connected()
        try:
            await self._put(self._talk.start)
            while self._talk.started is None:
                await self._take()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def started(self) -> StreamStarted:
        """Model, version and task, and how inputs are read."""
        if self._talk.started is None:
            raise RuntimeError("open the stream first: async with client.stream(...) as stream")
        return self._talk.started

    async def send(self, piece: Piece, *, flush: bool = False) -> None:
        """Send the next piece: text, bytes of samples or of a file, rows or arrays. `flush`: it ends with a whole word.

        Raises:
            ClientError: the service answers an error, or the connection is lost.
        """
        while self._talk.num_unanswered >= MAX_UNANSWERED:
            await self._take()
        await self._put(self._talk.piece(piece, flush))

    async def generate(self, **parameters: Unpack[GenerationParameters]) -> None:
        """Have a language model continue the text so far; the tokens and a result are iterated over."""
        await self._put(self._talk.request("generate", **({"parameters": parameters} if parameters else {})))

    async def __aiter__(self) -> AsyncIterator[StreamAnswer]:
        """The answers to all that was sent so far, in order, as they come."""
        while self._talk.unread or self._talk.num_unanswered:
            if self._talk.unread:
                yield self._talk.unread.popleft()
            else:
                await self._take()

    async def answers_to(
        self, pieces: Iterable[Piece] | AsyncIterable[Piece], *, max_unanswered: int = MAX_UNANSWERED
    ) -> AsyncIterator[StreamAnswer]:
        """Send pieces as they come, also without end, and give the answers. 1 waits for each before the next piece.

        Answers also come while an asynchronous iterable, such as a microphone, waits for its next piece.
        """
        coming = aiter(each_of(pieces))
        waiting: asyncio.Task[Piece] | None = asyncio.ensure_future(anext(coming))
        try:
            while waiting is not None:
                if await self._is_there(waiting):
                    waiting = await self._send_next(coming, waiting, max_unanswered)
                while self._talk.unread:
                    yield self._talk.unread.popleft()
        except StreamClosing:  # the answers that came before it count
            while self._talk.unread:
                yield self._talk.unread.popleft()
            raise
        finally:
            if waiting is not None:
                waiting.cancel()
        async for answer in self:
            yield answer

    async def state(self) -> StreamState:
        """The state after all that is complete, to continue with `state=`. Other answers stay to be iterated over."""
        await self._put(self._talk.request("state"))
        found: StreamState = await self._awaited(StreamState)
        return found

    async def end(self, *, return_state: bool = False) -> StreamFinal[P]:
        """Say that the input is complete, and give the last answer. Others stay to be iterated over."""
        await self._put(self._talk.request("end", **({"return_state": True} if return_state else {})))
        found: StreamFinal[P] = await self._awaited(StreamFinal)
        return found

    async def aclose(self) -> None:
        """Close the connection, whatever is still to be answered."""
        self._talk.leave()
        if self._opened is not None:
            await self._opened.close()

    @property
    def _socket(self) -> ClientConnection:
        if self._opened is None:
            raise RuntimeError("open the stream first: async with client.stream(...) as stream")
        return self._opened

    async def _connected(self) -> ClientConnection:
        attempts = self._options.attempts(self._timeout_s)
        while True:
            try:
                return await connect_async(self._options, self._options.timeout_of(attempts))
            except ClientError as error:
                await attempts.wait_async(error, repeatable=True)

    async def _is_there(self, waiting: asyncio.Task[Piece]) -> bool:
        """Whether the next piece came, or else an answer."""
        if waiting.done() or not self._talk.num_unanswered:
            await asyncio.wait([waiting])
            return True
        taking = asyncio.ensure_future(self._take())
        await asyncio.wait([waiting, taking], return_when=asyncio.FIRST_COMPLETED)
        if not taking.done():
            taking.cancel()  # receiving may be cancelled: no message is lost
        await asyncio.wait([taking])
        if not taking.cancelled():
            taking.result()
        return waiting.done()

    async def _send_next(
        self, coming: AsyncIterator[Piece], waiting: asyncio.Task[Piece], max_unanswered: int
    ) -> asyncio.Task[Piece] | None:
        """Send the piece that came and wait for room; the next one, None at the end."""
        try:
            piece = waiting.result()
        except StopAsyncIteration:
            return None
        await self._put(self._talk.piece(piece, flush=False))
        while self._talk.num_unanswered >= max_unanswered:
            await self._take()
        return asyncio.ensure_future(anext(coming))

    async def _awaited(self, kind: type[Any]) -> Any:
        while True:
            await self._take()
            if self._talk.unread and isinstance(self._talk.unread[-1], kind):
                return self._talk.unread.pop()

    async def _put(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            await self._raise_why()

    async def _take(self) -> None:
        """Receive one message. Raises ClientError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await self._socket.recv()
        except TimeoutError as error:
            raise TimedOut("no answer of the stream within the timeout") from error
        except ConnectionClosed as error:
            raise self._talk.closed(*close_of(error)) from error
        answer = self._talk.receive(message)
        if answer is not None:
            self._talk.unread.append(answer)

    async def _raise_why(self) -> NoReturn:
        """What the service said before it closed the connection is still there to be read."""
        while True:
            await self._take()
