"""Callers over plain sockets: one thread that waits for all of them, so that the client costs as little as possible."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Sequence
from itertools import cycle
from statistics import median
from typing import NamedTuple

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Answered(NamedTuple):
    """Answers a second, and the median of their latencies."""

    rate: float
    p50_ms: float
    num_errors: int


def predictions(model: str, texts: Sequence[str]) -> list[bytes]:
    """A `POST /predict` for each text."""
    bodies = [json.dumps({"model": model, "inputs": text}).encode() for text in texts]
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [head % len(body) + body for body in bodies]


def load(port: int, requests: Sequence[bytes], num_callers: int, seconds: float, warm_s: float = 0.5) -> Answered:
    """Each caller sends its next request when it has its answer. Counted after `warm_s` of the same load."""
    callers = [_Caller(port) for _ in range(num_callers)]
    poll, left = select.epoll(), cycle(requests)
    by_number = {caller.number: caller for caller in callers}
    for caller in callers:
        poll.register(caller.number, select.EPOLLIN)
        caller.send(next(left))
    started_s = time.perf_counter() + warm_s
    latencies, num_errors, now_s = [], 0, 0.0
    while now_s < started_s + seconds:
        for number, _ in poll.poll():
            caller = by_number[number]
            status = caller.receive()
            if not status:
                continue
            now_s = time.perf_counter()
            if now_s >= started_s:
                latencies.append(now_s - caller.sent_s)
                num_errors += status != b"200"
            caller.send(next(left))
    for caller in callers:
        caller.close()
    return Answered(len(latencies) / (now_s - started_s), 1000 * median(latencies), num_errors)


class _Caller:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.number = self._socket.fileno()
        self.sent_s = 0.0

    def send(self, request: bytes) -> None:
        self.sent_s = time.perf_counter()
        self._socket.sendall(request)

    def receive(self) -> bytes:
        """The status once the answer is complete, else b""."""
        received = self._socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the service has closed a connection")
        self._received += received
        head, found, body = self._received.partition(_HEAD_END)
        if not found:
            return b""
        place = head.lower().find(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[place : place + 12].split(b"\r\n", 1)[0]):
            return b""
        self._received = b""
        return head[9:12]

    def close(self) -> None:
        self._socket.close()
