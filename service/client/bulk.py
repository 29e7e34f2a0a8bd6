"""Predictions for any number of inputs: in batches, several at once, in order, in bounded memory.

An input that is refused has its error at its place: its batch is repeated in halves, down to the input.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic

from service.client.answers.predictions import P, PredictResponse
from service.client.errors import ClientError, ForeignAnswer, InferenceFailed, InvalidInput, ServiceError
from service.client.inputs import Input, each_input, each_of
from service.client.retries import Retries

#: Characters of inputs in one request, about; a batch is sent when it has so many.
BATCH_CHARACTERS = 1 << 20
_INTERNAL, _TOO_LARGE = 500, 413


@dataclass(frozen=True)
class BulkAnswer(Generic[P]):
    """One input with its prediction, or with the error why there is none. `index` counts from 0."""

    index: int
    input: Any
    prediction: P | None
    error: ClientError | None = None


@dataclass(frozen=True)
class BulkProgress:
    """Inputs that were answered so far, and how many of them with an error."""

    done: int
    failed: int


@dataclass(frozen=True)
class BulkOptions:
    """How a bulk call works.

    Attributes:
        batch_size: inputs in one request.
        concurrency: requests at once. At most twice as many batches are in memory.
        patience_s: how long a batch is repeated, in seconds, while the service is busy, starts or cannot be reached.
        progress: called after each answer that was given out.
    """

    batch_size: int = 32
    concurrency: int = 4
    patience_s: float | None = 600.0
    progress: Callable[[BulkProgress], None] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.concurrency < 1:
            raise ValueError("batch_size and concurrency are 1 or more")


@dataclass(frozen=True)
class Batch:
    """Neighbouring inputs, the first of which has this index."""

    first: int
    inputs: list[Any]

    def halves(self) -> tuple[Batch, Batch]:
        """The two halves of a batch of two inputs or more."""
        middle = len(self.inputs) // 2
        return Batch(self.first, self.inputs[:middle]), Batch(self.first + middle, self.inputs[middle:])


def patient(retries: Retries) -> Retries:
    """The same pauses without a limit on their number: the patience of a bulk call ends them."""
    return replace(retries, times=10**9)


def batches(inputs: Iterable[Input], batch_size: int) -> Iterator[Batch]:
    """Inputs in order, so many at once, fewer if they are long."""
    gathered = _Gathering(batch_size)
    for each in each_input(inputs):
        yield from gathered.add(each)
    yield from gathered.rest()


async def batches_async(inputs: Iterable[Input] | AsyncIterable[Input], batch_size: int) -> AsyncIterator[Batch]:
    """The same from either kind of iterable."""
    gathered = _Gathering(batch_size)
    async for each in each_of(inputs if isinstance(inputs, AsyncIterable) else each_input(inputs)):
        for batch in gathered.add(each):
            yield batch
    for batch in gathered.rest():
        yield batch


def answered(batch: Batch, send: Callable[[list[Any]], PredictResponse[P]]) -> list[BulkAnswer[P]]:
    """An answer for each input of a batch. Raises the errors that all inputs would meet."""
    try:
        return _with_predictions(batch, send(batch.inputs))
    except ClientError as error:
        if len(batch.inputs) == 1 or not _concerns_inputs(error):
            return [_failed(batch, error)]
    return [each for half in batch.halves() for each in answered(half, send)]


async def answered_async(
    batch: Batch, send: Callable[[list[Any]], Awaitable[PredictResponse[P]]]
) -> list[BulkAnswer[P]]:
    """The same for asyncio."""
    try:
        return _with_predictions(batch, await send(batch.inputs))
    except ClientError as error:
        if len(batch.inputs) == 1 or not _concerns_inputs(error):
            return [_failed(batch, error)]
    return [each for half in batch.halves() for each in await answered_async(half, send)]


def in_threads(
    inputs: Iterable[Input], options: BulkOptions, send: Callable[[list[Any]], PredictResponse[P]]
) -> Iterator[BulkAnswer[P]]:
    """Answers in order, from so many threads. An iterator that is left early begins no further request."""
    pending: deque[Future[list[BulkAnswer[P]]]] = deque()
    report = _Report(options.progress)
    pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="predict-many")
    try:
        for batch in batches(inputs, options.batch_size):
            pending.append(pool.submit(answered, batch, send))
            if len(pending) >= 2 * options.concurrency or pending[0].done():
                yield from report.each(pending.popleft().result())
        while pending:
            yield from report.each(pending.popleft().result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def in_tasks(
    inputs: Iterable[Input] | AsyncIterable[Input],
    options: BulkOptions,
    send: Callable[[list[Any]], Awaitable[PredictResponse[P]]],
) -> AsyncIterator[BulkAnswer[P]]:
    """Answers in order, from so many tasks."""
    pending: deque[asyncio.Task[list[BulkAnswer[P]]]] = deque()
    report = _Report(options.progress)
    room = asyncio.Semaphore(options.concurrency)

    async def answer(batch: Batch) -> list[BulkAnswer[P]]:
        async with room:
            return await answered_async(batch, send)

    try:
        async for batch in batches_async(inputs, options.batch_size):
            pending.append(asyncio.create_task(answer(batch)))
            if len(pending) >= 2 * options.concurrency or pending[0].done():
                for each in report.each(await pending.popleft()):
                    yield each
        while pending:
            for each in report.each(await pending.popleft()):
                yield each
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


class _Gathering:
    """Collects inputs until they are a batch."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._first, self._size = 0, 0
        self._inputs: list[Any] = []

    def add(self, value: Any) -> Iterator[Batch]:
        size = _size_of(value)
        if self._inputs and self._size + size > BATCH_CHARACTERS:
            yield from self.rest()
        self._inputs.append(value)
        self._size += size
        if len(self._inputs) == self._batch_size:
            yield from self.rest()

    def rest(self) -> Iterator[Batch]:
        if self._inputs:
            yield Batch(self._first, self._inputs)
        self._first, self._size, self._inputs = self._first + len(self._inputs), 0, []


class _Report:
    """Counts what is given out."""

    def __init__(self, progress: Callable[[BulkProgress], None] | None) -> None:
        self._progress = progress
        self._done = self._failed = 0

    def each(self, answers: list[BulkAnswer[P]]) -> Iterator[BulkAnswer[P]]:
        for answer in answers:
            self._done += 1
            self._failed += answer.error is not None
            if self._progress is not None:
                self._progress(BulkProgress(self._done, self._failed))
            yield answer


def _size_of(value: Any) -> int:
    """Characters in a request, about."""
    if isinstance(value, str | bytes):
        return len(value)
    rows = getattr(value, "rows", value)
    if isinstance(rows, list | tuple):
        return sum(12 * len(row) if isinstance(row, list | tuple) else len(str(row)) + 3 for row in rows)
    return int(12 * getattr(rows, "size", 100))


def _with_predictions(batch: Batch, response: PredictResponse[P]) -> list[BulkAnswer[P]]:
    numbered = zip(itertools.count(batch.first), batch.inputs, response.predictions, strict=False)
    return [BulkAnswer(index, value, prediction) for index, value, prediction in numbered]


def _failed(batch: Batch, error: ClientError) -> BulkAnswer[Any]:
    """The error as the answer to the only input of a batch. Raises it where other inputs would meet it too."""
    if not _concerns_inputs(error):
        raise error
    return BulkAnswer(batch.first, batch.inputs[0], None, error)


def _concerns_inputs(error: ClientError) -> bool:
    """Whether other inputs may pass: this is neither about parameters, nor the key, nor the model, nor the network."""
    if isinstance(error, InvalidInput):
        return not error.is_about_parameters
    if isinstance(error, ForeignAnswer):
        return error.status == _TOO_LARGE  # of a proxy, with its page
    return isinstance(error, InferenceFailed) or (type(error) is ServiceError and error.status == _INTERNAL)
