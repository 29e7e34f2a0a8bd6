"""What one point of a cost curve is, and the process that was asked for it."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.load.machine import cpu_s
from tests.load.targets.server_process import ServerProcess


class Point(NamedTuple):
    """A measurement of one curve.

    Attributes:
        what: the curve, such as "predict".
        size: where on it: tokens, words of the vocabulary, bundles or sessions.
        seconds: of CPU time, over all threads of the process.
        memory_mb: resident memory of the process after it; 0 where that is not the question.
    """

    what: str
    size: int
    seconds: float
    memory_mb: float = 0.0


class Asked:
    """A server that is asked one request at a time; CPU time is what all its threads took meanwhile."""

    def __init__(self, server: ServerProcess) -> None:
        self._pid = server.pid
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def memory_mb(self) -> float:
        """Resident memory now."""
        return resident_mb(self._pid)

    @property
    def cpu_s(self) -> float:
        """CPU time since the start of the process."""
        return cpu_s([self._pid])

    def cost_of(self, path: str, body: Any = None, times: int = 1) -> float:
        """CPU seconds of one of these requests; a body is sent as JSON by POST. Raises OSError for an error."""
        before_s = self.cpu_s
        for _ in range(times):
            self.send(path, body)
        return (self.cpu_s - before_s) / times

    def send(self, path: str, body: Any = None) -> bytes:
        """The response to one request. Raises OSError for any status but 200."""
        content = None if body is None else json.dumps(body)
        self._connection.request("GET" if body is None else "POST", path, content, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise OSError(f"{path}: HTTP {response.status}: {answer[:300].decode('utf-8', 'replace')}")
        return answer

    def cost_of_waiting(self, seconds: float) -> float:
        """CPU seconds of a second without requests."""
        before_s = self.cpu_s
        time.sleep(seconds)
        return (self.cpu_s - before_s) / seconds


def resident_mb(pid: int | str) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    found = next(line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(found) / 1024
