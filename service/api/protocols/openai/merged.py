"""Several streams read as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from service.errors import UnrollError
from service.inference.scheduling.stream import Stream
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.result import TokenEvent

_Given = tuple[int, list[TokenEvent] | UnrollError | None]


async def merged(
    streams: Sequence[Stream[GenerationRequest]], at_once: Callable[[list[TokenEvent]], bool] | None = None
) -> AsyncIterator[tuple[int, list[TokenEvent]]]:
    """The events of all streams as they come, each with the number of its stream. Raises the first error of any.

    Of a single stream, `at_once` may take events: see `Stream.batches`.
    """
    if len(streams) == 1:  # nearly always, and it needs no further task
        async for events in streams[0].batches(at_once):
            yield 0, events
        return
    given: asyncio.Queue[_Given] = asyncio.Queue(maxsize=1)  # a slow reader holds up all of them
    readers = [asyncio.create_task(_read(number, stream, given)) for number, stream in enumerate(streams)]
    num_open = len(streams)
    try:
        while num_open:
            number, next_events = await given.get()
            if next_events is None:
                num_open -= 1
            elif isinstance(next_events, UnrollError):
                raise next_events
            else:
                yield number, next_events
    finally:
        for reader in readers:
            reader.cancel()


async def _read(number: int, stream: Stream[GenerationRequest], given: asyncio.Queue[_Given]) -> None:
    try:
        async for events in stream.batches():
            await given.put((number, events))
        await given.put((number, None))
    except UnrollError as error:
        await given.put((number, error))
