"""Speech as text while it arrives, by both clients: a live service with a tiny model, and scripted ones that stop."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from service.client import AsyncClient, Client, Transcript, UnexpectedTask, transcribe, transcribe_async
from tests.client.conftest import QUICK, SPEECH, SPEECH_WHOLE, Loop, address
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer

STARTED = {"type": "started", "model": "m", "version": "1", "task": "transcription", "reads": "chunks"}
PIECES = [bytes([number]) * 2 for number in range(6)]


def noise() -> list[bytes]:
    """A second at 8 kHz, in pieces of no particular length."""
    samples = (3000 * np.random.default_rng(1).standard_normal(8000)).clip(-9000, 9000).astype("<i2").tobytes()
    return [samples[start : start + 999] for start in range(0, len(samples), 999)]


async def slowly(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.fixture(params=["sync", "async"])
def hear(request: pytest.FixtureRequest) -> Iterator[Any]:
    """`hear(url, pieces, **arguments)` gives all transcripts, by the function for either client."""
    if request.param == "sync":

        def with_threads(url: str, pieces: list[bytes], **arguments: Any) -> list[Transcript]:
            with Client(url, retries=QUICK, timeout=PATIENCE_S) as client:
                return list(transcribe(client, pieces, **arguments))

        yield with_threads
        return

    async def gather(url: str, pieces: list[bytes], **arguments: Any) -> list[Transcript]:
        async with AsyncClient(url, retries=QUICK, timeout=PATIENCE_S) as client:
            return [heard async for heard in transcribe_async(client, slowly(pieces), **arguments)]

    loop = Loop()
    yield lambda url, pieces, **arguments: loop.run(gather(url, pieces, **arguments))
    loop.close()


def test_partial_texts_come_before_the_finished_one(hear: Any, service: LiveServer) -> None:
    """However it is cut, the finished text is that of the whole sound."""
    found = hear(address(service), noise(), model=SPEECH, sample_rate_hz=8000, words=True)
    whole = hear(address(service), [b"".join(noise())], model=SPEECH, sample_rate_hz=8000)
    assert found[-1].is_final
    assert not found[0].is_final
    assert " ".join(each.text for each in found if each.is_final) == " ".join(e.text for e in whole if e.is_final)
    assert [word.word for word in found[-1].words or []] == found[-1].text.split()


def test_a_model_that_reads_both_ways_answers_once(hear: Any, service: LiveServer) -> None:
    (only,) = hear(address(service), noise(), model=SPEECH_WHOLE, sample_rate_hz=8000)
    assert only.is_final


def test_another_model_is_refused_by_name(hear: Any, service: LiveServer) -> None:
    with pytest.raises(UnexpectedTask, match="tiny-sound is a model for classification"):
        hear(address(service), noise(), model="tiny-sound")


class StoppingService:
    """Answers two pieces of a stream, and stops; what it had not answered is to be sent to the next."""

    def __init__(self, held: str = "") -> None:
        """`held`: of the last piece that it has answered, in base64."""
        self._held = held
        self.answered: list[bytes] = []
        self.states: list[Any] = []

    def talk(self, socket: ServerConnection) -> None:
        self.states.append(json.loads(socket.recv()).get("state"))
        socket.send(json.dumps(STARTED))
        for index, message in enumerate(socket, start=1):
            if isinstance(message, str):
                socket.send(json.dumps({"type": "final", "index": index, "predictions": []}))
            elif index == 3:
                state = f"after {len(self.answered)}"
                socket.send(json.dumps({"type": "closing", "index": 2, "state": state, "held": self._held}))
                return
            else:
                self.answered.append(message)
                heard = {"text": str(message[0]), "is_final": False}
                socket.send(json.dumps({"type": "result", "index": index, "predictions": [heard]}))


def heard_from(service: StoppingService, hear: Any) -> list[Transcript]:
    with serve(service.talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found: list[Transcript] = hear(f"http://127.0.0.1:{server.socket.getsockname()[1]}", PIECES, model="m")
        server.shutdown()
        thread.join()
    return found


def test_a_stream_goes_on_where_a_service_stops(hear: Any) -> None:
    """Each piece is answered once, and those without an answer are sent again with the state that was handed out."""
    service = StoppingService()
    found = heard_from(service, hear)
    assert service.answered == PIECES
    assert [each.text for each in found] == [str(number) for number in range(6)]
    assert service.states == [None, "after 2", "after 4"]


def test_the_part_of_a_sample_that_was_held_is_sent_before_the_next_piece(hear: Any) -> None:
    service = StoppingService(base64.b64encode(b"?").decode())
    assert len(heard_from(service, hear)) == len(PIECES)
    first_of_others = (PIECES[2], PIECES[4])
    assert service.answered == [b"?" + piece if piece in first_of_others else piece for piece in PIECES]
