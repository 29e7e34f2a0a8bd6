"""Streams of speech without a network: real inbox, session, engine and lanes, and an encoder of numpy."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry
from starlette.types import Message

from service.api.request_record import RequestRecord
from service.api.streaming.channel import Channel, Left
from service.api.streaming.reading import StreamContext
from service.api.streaming.report import StreamReports
from service.api.streaming.session import StreamSession
from service.inference.engines.engine import OpenBundle
from service.inference.engines.engine_context import EngineContext, EngineOptions
from service.inference.engines.predict_engine import PredictEngine
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.preparation import Preparation
from service.observability.metrics import Metrics
from service.server.websocket.inbox import Inbox
from service.settings import Settings
from service.tasks.core.task import Array
from service.tasks.transcription.transcription import Transcription
from tests.conftest import PATIENCE_S
from tests.tasks.transcription.builders import LevelRunner, speech_bundle

#: More than any test sends at once.
_ROOMY = 1 << 16


class GatedRunner(LevelRunner):
    """Makes a run only when the test has allowed one, if it is gated. `num_begun` counts runs that wait or have run."""

    precision = "fp32"

    def __init__(self) -> None:
        super().__init__()
        self.is_gated = False
        self.num_begun = 0
        self.permits = threading.Semaphore(0)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.num_begun += 1
        if self.is_gated:
            assert self.permits.acquire(timeout=PATIENCE_S)
        return super().run(graph, feeds)

    def open_gate(self) -> None:
        """Let all further runs pass."""
        self.is_gated = False
        self.permits.release(_ROOMY)


class Service:
    """One model of speech, `engine`, with the runner that counts its runs."""

    def __init__(self, num_lanes: int, max_steps: int = 40_000) -> None:
        self.runner = GatedRunner()
        self.metrics = Metrics(CollectorRegistry())
        self._lanes, self._preparation = Lanes(num_lanes), Preparation(1)
        bundle = speech_bundle(max_steps=max_steps)
        opened = OpenBundle(bundle, cast(Any, self.runner), Transcription(bundle))
        context = EngineContext(self._lanes, self._preparation, EngineOptions(), self.metrics)
        self.engine = PredictEngine(opened, cast(Any, opened.task), context)

    @property
    def num_streams(self) -> float:
        return self.metrics.registry.get_sample_value("unroll_speech_streams", {"model": "levels"}) or 0.0

    @property
    def num_unread(self) -> int:
        """Pieces that wait for a run or take part in one: exact between runs, whatever the event loop has yet to do."""
        values = (
            self.metrics.registry.get_sample_value(name, {"model": "levels"})
            for name in ("unroll_queue_depth", "unroll_live_streams")
        )
        return round(sum(value or 0.0 for value in values))

    async def close(self) -> None:
        self.runner.open_gate()
        await self.engine.close()
        self._preparation.close()
        self._lanes.close()


class SpeechClient:
    """A client of one connection. `heard` is what it was sent; one that `never_reads` is stuck at the first answer."""

    def __init__(self, service: Service, name: str, *, never_reads: bool = False) -> None:
        self.inbox, self.heard = Inbox(_ROOMY), list[dict[str, Any]]()
        self.close_code: int | None = None
        self._never_reads = never_reads
        record = RequestRecord.of("/stream", [])
        call = SimpleNamespace(
            record=record,
            sharer=name,
            settings=Settings(),
            state_storage=None,
            predict_engine=lambda *_: service.engine,
            owner_of_states=lambda _: None,
        )
        registry = SimpleNamespace(entries=[SimpleNamespace(name="levels")])
        reports = StreamReports(service.metrics, lambda: True)
        channel = Channel(self._receive, self._send, reports.count_message)
        context = StreamContext(cast(Any, call), cast(Any, None), timeout_s=10 * PATIENCE_S)
        self._session = StreamSession(cast(Any, registry), context, channel, reports)

    async def run(self) -> None:
        """Until the client has left, or the service has closed."""
        try:
            await self._session.run()
        except Left:
            pass

    def say(self, messages: Iterable[dict[str, Any] | bytes]) -> None:
        for message in messages:
            if isinstance(message, bytes):
                self.inbox.put({"type": "websocket.receive", "bytes": message}, len(message))
            else:
                self.inbox.put({"type": "websocket.receive", "text": json.dumps(message)})

    def leave(self) -> None:
        self.inbox.put({"type": "websocket.disconnect", "code": 1000})

    def answers(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["type"] == kind]

    @property
    def text(self) -> str:
        """All utterances that have ended."""
        answered = [message for message in self.heard if message["type"] in ("result", "final")]
        return " ".join(one["text"] for message in answered for one in message["predictions"] if one["is_final"])

    async def _receive(self) -> Message:
        while (event := self.inbox.take()) is None:
            await self.inbox.wait()
        event["more_bytes_wait"] = self.inbox.has_bytes
        return event

    async def _send(self, message: Message) -> None:
        if message["type"] == "websocket.close":
            self.close_code = message["code"]
            return
        self.heard.append(json.loads(message["text"]))
        if self._never_reads and len(self.heard) > 1:
            await asyncio.Event().wait()
