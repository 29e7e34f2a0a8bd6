"""A live service with models of every kind, and a WebSocket client that answers in lockstep."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.api.streaming.speech.tiny_speech import FRAMES, write_tiny_speech_bundle
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, live_server
from tests.tiny_bundles import write_all_tiny_bundles, write_tiny_bundle
from tests.tiny_signals import CONFIGS, STEPWISE, write_tiny_signal_bundle

Message = dict[str, Any]


@pytest.fixture(scope="session")
def stream_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of input, read in chunks and as a whole."""
    models = write_all_tiny_bundles(tmp_path_factory.mktemp("streams") / "models")
    write_tiny_bundle(models, "tagging", reads_chunks=True)
    write_tiny_bundle(models, "classification", reads_chunks=True)
    write_tiny_signal_bundle(models, STEPWISE, "tiny-motion-chunks", reads_chunks=True)
    write_tiny_signal_bundle(models, CONFIGS["frames"], "tiny-motion")
    write_tiny_signal_bundle(models, CONFIGS["waveform"], "tiny-sound")
    write_tiny_speech_bundle(models, "tiny-speech")
    write_tiny_speech_bundle(models, "tiny-speech-frames", FRAMES)
    write_tiny_speech_bundle(models, "tiny-speech-both-ways", FRAMES, bidirectional=True)
    return models


@pytest.fixture(scope="package")
def server(stream_models: Path) -> Iterator[LiveServer]:
    with live_server(stream_models, grpc_port=0) as started:
        yield started


class Client:
    """A WebSocket of `/stream`, whose every message has an answer."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, message: Message | bytes) -> Message:
        """Send a message, and return the next one of the service."""
        self.socket.send(message if isinstance(message, bytes) else json.dumps(message))
        return self.hear()

    def hear(self) -> Message:
        received: Message = json.loads(self.socket.recv(timeout=PATIENCE_S))
        return received

    def start(self, model: str, **fields: Any) -> Message:
        answer = self.say({"type": "start", "model": model, **fields})
        assert answer["type"] == "started", answer
        return answer

    def text(self, text: str, **fields: Any) -> Message:
        return self.say({"type": "text", "text": text, **fields})

    def end(self, **fields: Any) -> Message:
        return self.say({"type": "end", **fields})

    def until(self, kind: str) -> list[Message]:
        """All messages up to one of this type."""
        heard = [self.hear()]
        while heard[-1]["type"] not in (kind, "error"):
            heard.append(self.hear())
        return heard

    def close_code(self) -> int:
        """The code with which the service closes."""
        with pytest.raises(ConnectionClosed) as closed:
            self.socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None
        return int(closed.value.rcvd.code)


Open = Callable[..., Any]


@contextmanager
def stream_of(server: LiveServer, **options: Any) -> Iterator[Client]:
    """A connection of the `websockets` library."""
    with connect(f"ws://127.0.0.1:{server.port}/stream", **options) as socket:
        yield Client(socket)


@pytest.fixture
def stream(server: LiveServer) -> Iterator[Client]:
    with stream_of(server) as client:
        yield client


@pytest.fixture(scope="package")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="package")
def stream_factory(server: LiveServer) -> Open:
    """Opens connections, for tests that need many."""
    return lambda **options: stream_of(server, **options)
