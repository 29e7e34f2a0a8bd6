"""A streamed text as an iterator of its tokens, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from types import TracebackType

from service.client.answers.texts import TokenEvent
from service.client.connection import AsyncHttpConnection, HttpConnection
from service.client.errors import ClientError
from service.client.retries import Deadline
from service.client.streaming.token_events import EventDecoder, StreamPosition, is_event_stream, refusal


class TokenStream(Iterator[TokenEvent]):
    """The tokens of a text, one event each, as they are made. Leaving it, or `close`, ends the work for it.

    for event in client.generate_stream("ROMEO:", model="shakespeare"):
        print(event.text, end="", flush=True)
    """

    def __init__(self, connection: HttpConnection, position: StreamPosition, timeout_s: float | None) -> None:
        # A function of its own, that holds no reference to this object: dropping the object then closes it.
        self._events = _events(connection, position, timeout_s)

    def __next__(self) -> TokenEvent:
        return next(self._events)

    def __enter__(self) -> TokenStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the service then stops generating."""
        self._events.close()


class AsyncTokenStream(AsyncIterator[TokenEvent]):
    """As `TokenStream`, with `async for`. Close it with `aclose` or `async with` where it is left early."""

    def __init__(self, connection: AsyncHttpConnection, position: StreamPosition, timeout_s: float | None) -> None:
        self._events = _events_async(connection, position, timeout_s)

    async def __anext__(self) -> TokenEvent:
        return await anext(self._events)

    async def __aenter__(self) -> AsyncTokenStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; the service then stops generating."""
        await self._events.aclose()


def _events(
    connection: HttpConnection, position: StreamPosition, timeout_s: float | None
) -> Generator[TokenEvent, None, None]:
    attempts = connection.options.attempts(timeout_s)
    while True:
        try:
            with closing(_one_connection(connection, position, timeout_s)) as events:
                for event in events:
                    attempts.progressed(Deadline(timeout_s))
                    yield event
            return
        except ClientError as error:
            attempts.wait(error, position.is_repeatable)


def _one_connection(
    connection: HttpConnection, position: StreamPosition, timeout_s: float | None
) -> Generator[TokenEvent, None, None]:
    with connection.stream(position.connect(), timeout_s) as response:
        if not is_event_stream(response.status_code, response.headers):
            raise refusal(connection.whole(response, Deadline(timeout_s)))
        decoder = EventDecoder(connection.options.max_answer_bytes)
        for part in response.iter_bytes():
            for data in decoder.feed(part):
                event = position.next_event(data)
                if event is not None:
                    yield event
                if position.is_complete:
                    return
    raise position.broken()


async def _events_async(
    connection: AsyncHttpConnection, position: StreamPosition, timeout_s: float | None
) -> AsyncGenerator[TokenEvent, None]:
    attempts = connection.options.attempts(timeout_s)
    while True:
        try:
            async with aclosing(_one_connection_async(connection, position, timeout_s)) as events:
                async for event in events:
                    attempts.progressed(Deadline(timeout_s))
                    yield event
            return
        except ClientError as error:
            await attempts.wait_async(error, position.is_repeatable)


async def _one_connection_async(
    connection: AsyncHttpConnection, position: StreamPosition, timeout_s: float | None
) -> AsyncGenerator[TokenEvent, None]:
    async with connection.stream(position.connect(), timeout_s) as response:
        if not is_event_stream(response.status_code, response.headers):
            raise refusal(await connection.whole(response, Deadline(timeout_s)))
        decoder = EventDecoder(connection.options.max_answer_bytes)
        async for part in response.aiter_bytes():
            for data in decoder.feed(part):
                event = position.next_event(data)
                if event is not None:
                    yield event
                if position.is_complete:
                    return
    raise position.broken()
