"""A real Redis server for one test, on a free port and without persistence."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import redis

from tests.conftest import wait_until
from tests.ports import free_port
from tests.programs import find_program


class RedisServer:
    """A running server that can be restarted or paused; a paused one accepts connections but never answers."""

    def __init__(self, folder: Path) -> None:
        program = find_program("redis-server")
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def clear(self) -> None:
        with self._client() as client:
            client.flushall()

    def execute(self, *words: str | bytes | int) -> Any:
        """The reply to any command."""
        with self._client() as client:
            return client.execute_command(*words)

    def names(self) -> set[str]:
        """All keys and values."""
        with self._client() as client:
            return {name.decode() for name in client.scan_iter()}

    def let_time_pass(self, seconds: float) -> None:
        """Reduce every time to live by `seconds`."""
        with self._client() as client:
            for name in client.scan_iter():
                left_ms = client.pttl(name)
                if left_ms >= 0:
                    client.pexpire(name, max(left_ms - round(seconds * 1000), 0))

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)
