"""Callers that want to stop the service. Each runs in a process of its own, so that it cannot delay the measurement.

    python -m tests.load.abuse.attacks refusing 8000

Prints one line of JSON: how often what happened.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import resource
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine

import numpy as np

from tests.load.soak.callers.caller import encoded, http_request
from tests.server.websocket.raw_socket import BINARY, CONTINUATION, PING, frame, offer
from tests.tasks.inputs.clips.tiny_clips import as_json, gif_of
from tests.tiny_pictures import png_of

TEXT_MODEL, PICTURE_MODEL, CLIP_MODEL = "ner-en", "captions-emoji", "video-emoji"
#: The service's limit of a body.
_BODY_BYTES = 2 * 1024 * 1024
_ANSWER_S = 60.0
#: Longer than the service allows a head or a body to take.
_HOLD_S = 15.0
_LEAVE_AFTER_S = 5.0

Happened = Counter[str]
Attack = Callable[[int], Coroutine[None, None, Happened]]


async def costly_refusals(port: int) -> Happened:
    """Bodies of 2 MB with as many faults as fit, of several kinds."""
    bodies = [
        b'{"model":"%s","inputs":[[%s]]}' % (TEXT_MODEL.encode(), b",".join([b"1"] * 1_040_000)),
        b'{"model":"%s","inputs":[%s]}' % (TEXT_MODEL.encode(), b",".join([b"{}"] * 690_000)),
        b'{"model":"%s","inputs":[%s]}' % (TEXT_MODEL.encode(), b",".join([b'{"frames":1}'] * 150_000)),
        b"{%s}" % b",".join(b'"f%d":1' % number for number in range(180_000)),
        b"[" * (_BODY_BYTES - 1),
    ]
    happened: Happened = Counter()
    for body in bodies * 2:
        head, size = await _answer(port, http_request("POST", "/predict", body))
        happened[head] += 1
        happened["largest answer, KB"] = max(happened["largest answer, KB"], size // 1024)
    return happened


async def pipelining(port: int) -> Happened:
    """Five times 100,000 small requests on one connection; no answer is read."""
    payload = http_request("POST", "/predict", b"{}") * 100_000
    happened: Happened = Counter()
    for _ in range(5):
        with await _connected(port) as link:
            happened[await _sent(link, payload, _LEAVE_AFTER_S)] += 1
    return happened


async def unfinished_bodies(port: int) -> Happened:
    """1,200 connections that send 1.9 MB of 2 MB and wait."""
    content = b" " * int(1.9 * 1024 * 1024)
    payload = http_request("POST", "/predict", content, {"Content-Length": str(_BODY_BYTES)})
    return await _many(port, 1_200, lambda link: _sent(link, payload, _HOLD_S))


async def unfinished_heads(port: int) -> Happened:
    """1,000 connections that send a header one byte a second."""

    async def trickle(link: socket.socket) -> str:
        happened = await _sent(link, b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-", 1.0)
        for _ in range(int(_HOLD_S)):
            await asyncio.sleep(1)
            happened = await _sent(link, b"x", 1.0)
            if happened != "sent":
                break
        return happened

    return await _many(port, 1_000, trickle)


async def silent_connections(port: int) -> Happened:
    """5,000 connections on which nothing is sent."""
    return await _many(port, 5_000, lambda link: _sent(link, b"", 0.1))


async def declared_length(port: int) -> Happened:
    """120 MB whose declared length has zeros in front."""
    headers = {"Content-Length": "0" * 22 + "120000000"}
    happened: Happened = Counter()
    with await _connected(port) as link:
        await _sent(link, http_request("POST", "/predict", b"", headers), _LEAVE_AFTER_S)
        for _ in range(120):
            happened[await _sent(link, b" " * 1_000_000, _LEAVE_AFTER_S)] += 1
    return happened


async def large_requests(port: int) -> Happened:
    """Four requests at once, each with 128 inputs of 512 words."""
    body = {"model": TEXT_MODEL, "inputs": [["word"] * 512] * 128}
    payload = http_request("POST", "/predict", encoded(body))
    return Counter([head for head, _ in await asyncio.gather(*(_answer(port, payload) for _ in range(4)))])


async def many_pictures(port: int) -> Happened:
    """Two requests, each with 80 blank pictures of 2048 by 2048 pixels."""
    png = base64.b64encode(png_of(np.full((2048, 2048, 3), 255, dtype=np.uint8))).decode()
    payload = http_request("POST", "/predict", encoded({"model": PICTURE_MODEL, "inputs": [{"png": png}] * 80}))
    return Counter([head for head, _ in await asyncio.gather(*(_answer(port, payload) for _ in range(2)))])


async def many_clips(port: int) -> Happened:
    """Eight requests with GIF files of 1,000 frames of 128 by 128 pixels: two, as many as one may have, and 2 MB full.

    One such file is as large as a clip may be.
    """
    frames = np.zeros((1000, 128, 128, 3), dtype=np.uint8)
    frames[::2] = 255  # equal frames would be joined
    clip = as_json(gif_of(frames))
    numbers = 2, (_BODY_BYTES - 100) // (len(encoded(clip)) + 1)
    bodies = [encoded({"model": CLIP_MODEL, "inputs": [clip] * number}) for number in numbers]
    asked = (_answer(port, http_request("POST", "/predict", body)) for body in bodies * 4)
    return Counter([head for head, _ in await asyncio.gather(*asked)])


async def unread_streams(port: int) -> Happened:
    """200 streams that nobody reads."""
    body = {"inputs": "ROMEO:", "parameters": {"max_new_tokens": 500}, "state_every": 8}
    payload = http_request("POST", "/generate_stream", encoded(body))
    return await _many(port, 200, lambda link: _sent(link, payload, 1.0))


async def many_requests(port: int) -> Happened:
    """3,000 requests, each of which writes a line into the log."""
    happened: Happened = Counter()
    for _ in range(3_000):
        happened[(await _answer(port, http_request("POST", "/predict", b"{}")))[0]] += 1
    return happened


#: `unread log` differs by how the server is started: see run.py.
async def websocket_floods(port: int) -> Happened:
    """1,000 WebSockets with a message that never ends, and 200 each that flood pings or tiny parts and read nothing."""
    unfinished = offer() + frame(BINARY, b"x" * 250_000, fin=False)
    pings = offer() + frame(PING, b"x" * 125) * 20_000
    parts = offer() + frame(BINARY, b"x", fin=False) + frame(CONTINUATION, fin=False) * 50_000
    happened: Happened = Counter()
    for number, payload in ((1_000, unfinished), (200, pings), (200, parts)):
        happened += await _many(port, number, lambda link, sent=payload: _sent(link, sent, _HOLD_S))
    return happened


ATTACKS: dict[str, Attack] = {
    "cost of refusing": costly_refusals,
    "pipelining": pipelining,
    "unfinished bodies": unfinished_bodies,
    "unfinished heads": unfinished_heads,
    "silent connections": silent_connections,
    "declared length": declared_length,
    "large requests": large_requests,
    "many pictures": many_pictures,
    "many clips": many_clips,
    "unread streams": unread_streams,
    "WebSocket floods": websocket_floods,
    "unread log": many_requests,
}


async def _connected(port: int) -> socket.socket:
    """A socket instead of a transport, because a transport copies what it cannot send yet. Raises OSError."""
    link = socket.socket()
    link.setblocking(False)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", port)), _ANSWER_S)
    except BaseException:
        link.close()
        raise
    return link


async def _sent(link: socket.socket, payload: bytes, within_s: float) -> str:
    """Send without reading; returns what came of it."""
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(link, payload), within_s)
    except TimeoutError:
        return "not taken"
    except OSError:
        return "cut"
    return "sent"


async def _answer(port: int, payload: bytes) -> tuple[str, int]:
    """The status of an answer on a connection of its own, and the bytes of the answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return "no connection", 0
    try:
        writer.write(payload.replace(b"Content-Type", b"Connection: close\r\nContent-Type", 1))
        content = await asyncio.wait_for(reader.read(-1), _ANSWER_S)
    except OSError:
        return "cut", 0
    finally:
        writer.close()
    return content[9:12].decode("ascii", "replace") or "cut", len(content)


async def _many(port: int, number: int, begin: Callable[[socket.socket], Awaitable[str]]) -> Happened:
    """Open connections one after another, begin something on each, and see after a while what came of them."""
    happened: Happened = Counter()
    with contextlib.ExitStack() as stack:
        links: list[socket.socket] = []
        begun: list[asyncio.Task[str]] = []
        for _ in range(number):
            try:
                links.append(stack.enter_context(await _connected(port)))
            except OSError:
                happened["no connection"] += 1
                continue
            begun.append(asyncio.ensure_future(begin(links[-1])))
        await asyncio.sleep(_HOLD_S)
        await asyncio.gather(*begun)
        happened.update(map(_what_came, links))
    return happened


def _what_came(link: socket.socket) -> str:
    """The status of an answer that was not read so far, or what became of the connection."""
    try:
        return link.recv(4096)[9:12].decode("ascii", "replace") or "closed"
    except BlockingIOError:
        return "left open"
    except OSError:
        return "cut"


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asyncio.run(ATTACKS[sys.argv[1]](int(sys.argv[2])))))
