"""The client, sync and async behind one interface, on a service with the tiny models that all tests here share."""

from __future__ import annotations

import asyncio
import io
import threading
import wave
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from service.client import AsyncClient, Client, Retries
from tests.api.streaming.tiny_speech import write_tiny_speech_bundle
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, live_server
from tests.tiny_bundles import write_all_tiny_bundles, write_tiny_bundle
from tests.tiny_signals import CONFIGS, RATE_HZ, STEPWISE, sounds, write_tiny_signal_bundle

#: Pauses so short that tests do not wait.
QUICK = Retries(times=3, first_pause_s=0.001, longest_pause_s=0.001)
KEY = "a secret of more than sixteen characters"
#: A classifier of rows of three numbers that reads forward only, and one of sounds.
MOTION, SOUND = "tiny-motion", "tiny-sound"
#: Recognisers of speech: one answers while it reads, one reads in both directions.
SPEECH, SPEECH_WHOLE = "tiny-speech", "tiny-speech-whole"


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The tiny models, and some that read in chunks, rows of numbers, and sound."""
    models = write_all_tiny_bundles(tmp_path_factory.mktemp("client") / "models")
    write_tiny_bundle(models, "tagging", reads_chunks=True)
    write_tiny_signal_bundle(models, STEPWISE, MOTION, reads_chunks=True)
    write_tiny_signal_bundle(models, CONFIGS["waveform"], SOUND)
    write_tiny_speech_bundle(models, SPEECH)
    write_tiny_speech_bundle(models, SPEECH_WHOLE, bidirectional=True)
    with live_server(models, state_keys=KEY) as started:
        yield started


class Loop:
    """An event loop in a thread, for the asynchronous client in plain tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="client-loop")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking:
    """An asynchronous client, stream or iterator whose methods are waited for: used like a synchronous one."""

    def __init__(self, wrapped: Any, loop: Loop) -> None:
        self._wrapped, self._loop = wrapped, loop

    def __getattr__(self, name: str) -> Any:
        name = {"close": "aclose"}.get(name, name)
        found = getattr(self._wrapped, name)
        return self._called(found) if callable(found) else found

    def __enter__(self) -> Blocking:
        self._loop.run(self._wrapped.__aenter__())
        return self

    def __exit__(self, *about: object) -> None:
        self._loop.run(self._wrapped.__aexit__(*about))

    def __iter__(self) -> Iterator[Any]:
        return self._each(self._wrapped)

    def __next__(self) -> Any:
        try:
            return self._loop.run(_next(self._wrapped))
        except StopAsyncIteration:
            raise StopIteration from None

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            found = self._loop.run(_started(method, *arguments, **named))
            return Blocking(found, self._loop) if hasattr(found, "__aiter__") else found

        return call

    def _each(self, found: Any) -> Iterator[Any]:
        events = self._loop.run(_iterated(found))
        try:
            while True:
                try:
                    yield self._loop.run(_next(events))
                except StopAsyncIteration:
                    return
        finally:
            if hasattr(events, "aclose"):
                self._loop.run(events.aclose())


async def _started(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    found = method(*arguments, **named)
    return await found if asyncio.iscoroutine(found) else found


async def _iterated(found: Any) -> AsyncIterator[Any]:
    return aiter(found)


async def _next(events: AsyncIterator[Any]) -> Any:
    return await anext(events)


#: Opens a client of either kind at an address.
Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """`connect(url, **options)` opens a client, which the test's end closes: once synchronous, once asynchronous."""
    loop = Loop() if request.param == "async" else None
    opened: list[Any] = []

    def open_client(url: str, **options: Any) -> Any:
        given = {"retries": QUICK, "timeout": PATIENCE_S, **options}
        opened.append(Client(url, **given) if loop is None else Blocking(AsyncClient(url, **given), loop))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()
    if loop is not None:
        loop.close()


@pytest.fixture
def client(connect: Connect, service: LiveServer) -> Any:
    """A client of the shared service."""
    return connect(address(service))


def address(service: LiveServer) -> str:
    return f"http://127.0.0.1:{service.port}"


@contextmanager
def noted_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The pauses that clients of both kinds would make, without making them."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    with monkeypatch.context() as patch:
        patch.setattr("service.client.retries.sleep", pauses.append)
        patch.setattr("service.client.retries.sleep_async", note)
        yield pauses


def wav_of() -> bytes:
    """A short sound as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((sounds()[3].values * 2.0**15).astype("<i2").tobytes())
    return content.getvalue()


def words_of(answers: Iterable[Any]) -> list[str]:
    return [token.text for answer in answers for found in answer.predictions for token in found.tokens]
