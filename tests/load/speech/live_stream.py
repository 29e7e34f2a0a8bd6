"""One microphone: pieces of sound sent as time goes by, whether or not the service keeps up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.load.speech.stream_socket import Message, StreamSocket


@dataclass
class Heard:
    """What all streams measured: seconds of latency of each result, and texts of inputs by the number of their sound.

    Latency counts from the moment at which the last sample of a piece was due, so that a client or a socket that is
    late counts against the service. `final_s` is that of the answers to `end`.
    """

    latency_s: list[float] = field(default_factory=list)
    final_s: list[float] = field(default_factory=list)
    lateness_s: list[float] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sound_s: float = 0.0


class LiveStream:
    """Streams sounds one after the other, each from its `start` to its `final`, until it is stopped."""

    def __init__(self, number: int, sounds: Sequence[bytes], heard: Heard, piece_bytes: int, piece_s: float) -> None:
        self._number, self._sounds, self._heard = number, sounds, heard
        self._piece_bytes, self._piece_s = piece_bytes, piece_s
        self._due: deque[float] = deque()
        self._said: list[str] = []
        self._final: asyncio.Future[None] | None = None
        self._is_over = False
        self.is_measured = False

    async def run(self, port: int, model: str, stop_s: float, first_s: float) -> None:
        """Stream from `first_s` to `stop_s` on the clock of the event loop, or until the service ends the stream."""
        socket = await StreamSocket.connect(port, self._take, self._lose)
        number, due_s = self._number % len(self._sounds), first_s
        try:
            while due_s < stop_s and not self._is_over:
                due_s = await self._stream(socket, model, number, due_s, stop_s)
                number = (number + 1) % len(self._sounds)
        finally:
            self._is_over = True
            socket.close()

    async def _stream(self, socket: StreamSocket, model: str, number: int, due_s: float, stop_s: float) -> float:
        """Stream one sound, or the part of it before the end. Returns when its last sample was due."""
        loop, sound, position = asyncio.get_running_loop(), self._sounds[number], 0
        self._said, self._final = [], loop.create_future()
        socket.say({"type": "start", "model": model})
        while position < len(sound) and due_s < stop_s and not self._is_over:
            due_s += self._piece_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            self._heard.lateness_s.append(loop.time() - due_s)
            self._due.append(due_s)
            socket.send_bytes(sound[position : position + self._piece_bytes])
            position += self._piece_bytes
            self._heard.sound_s += self._piece_s * self.is_measured
        if self._is_over:
            return due_s
        self._due.append(loop.time())
        socket.say({"type": "end"})
        await self._final
        if position >= len(sound) and not self._is_over:
            self._heard.texts.append((number, " ".join(self._said)))
        return loop.time()

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "error":
            self._heard.errors.append(message["error"])
            self._is_over = True  # the service closes: nothing that is sent from here on has an answer
            self._end()
        if kind not in ("result", "final"):
            return
        latency_s = asyncio.get_running_loop().time() - self._due.popleft()
        if self.is_measured:
            (self._heard.final_s if kind == "final" else self._heard.latency_s).append(latency_s)
        self._said += [one["text"] for one in message["predictions"] if one["is_final"]]
        if kind == "final":
            self._end()

    def _lose(self) -> None:
        """The connection is gone."""
        if not self._is_over:
            self._heard.errors.append("the connection was lost")
            self._is_over = True
        self._end()

    def _end(self) -> None:
        if self._final is not None and not self._final.done():
            self._final.set_result(None)
