"""A closed loop of callers in one thread: each asks again as soon as it has its answer, over one kept connection."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence

from tests.live_server import post

_RECEIVE_BYTES = 65_536
_PATIENCE_S = 60.0


class ClosedLoop:
    """Callers with open connections. They take their texts in turn."""

    def __init__(self, port: int, model: str, texts: Sequence[str | Sequence[str]], num_callers: int) -> None:
        """Each of `texts` is for one request, one text or several."""
        self._requests = [post("/predict", {"model": model, "inputs": text}) for text in texts]
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._next = 0
        for _ in range(num_callers):
            self._connect()

    def run(self, seconds: float) -> int:
        """Ask for so long; the number of answers. Raises OSError for one that is none, or does not come."""
        callers = [_caller(key) for key in self._selector.get_map().values()]
        for caller in callers:
            self._ask(caller)
        num_waiting, num_answers, end_s = len(callers), 0, time.monotonic() + seconds
        while num_waiting:
            ready = self._selector.select(_PATIENCE_S)
            if not ready:
                raise OSError("no answer within a minute")
            for key, _ in ready:
                caller = self._read(_caller(key))
                num_answers += 1
                if time.monotonic() < end_s:
                    self._ask(caller)
                else:
                    num_waiting -= 1
        return num_answers

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            _caller(key).close()
        self._selector.close()

    def _connect(self) -> socket.socket:
        caller = socket.create_connection(("127.0.0.1", self._port), _PATIENCE_S)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(caller, selectors.EVENT_READ)
        return caller

    def _ask(self, caller: socket.socket) -> None:
        caller.sendall(self._requests[self._next % len(self._requests)])
        self._next += 1

    def _read(self, caller: socket.socket) -> socket.socket:
        """Read one answer, which mostly comes in one piece; the connection for the next request."""
        data = caller.recv(_RECEIVE_BYTES)
        if not data.startswith(b"HTTP/1.1 200"):
            raise OSError(f"this is no answer: {data[:200]!r}")
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += caller.recv(_RECEIVE_BYTES)
        if b"connection: close" not in head.lower():
            return caller
        self._selector.unregister(caller)  # another worker has fewer
        caller.close()
        return self._connect()


def _caller(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket), "only connections are registered"
    return key.fileobj
