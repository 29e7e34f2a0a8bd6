"""A server under test: starts it on its cores, waits until it answers, and stops its whole process tree."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.load.machine import process_fields

_STARTED_FIELD = 19
_PARENT_FIELD = 1
_STOP_S = 12.0
_REASON_CHARACTERS = 250
#: The service's cause for a bundle that cannot be loaded.
_FOR_EVER = " failed: "


class StartFailed(Exception):
    """A server did not start; the message has the end of its output."""


class ServerProcess:
    """One server with its whole process tree."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        self._known: dict[int, str] = {}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=folder, env=dict(environ), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_it_answers(self, path: str, content: bytes, limit_s: float) -> None:
        """Repeat the same request until it is answered with 200. Raises StartFailed."""
        give_up_s = time.monotonic() + limit_s
        last = "it was not asked"
        while time.monotonic() < give_up_s:
            if self._process.poll() is not None:
                raise StartFailed(f"it ended with {self._process.returncode}: {self._written()}")
            try:
                self.post(path, content, timeout_s=20)
                return
            except OSError as error:
                last = _reason(error)
                if _FOR_EVER in last:
                    break
                time.sleep(0.2)
        raise StartFailed(f"no answer: {last}")

    def post(self, path: str, content: bytes, timeout_s: float = 60) -> bytes:
        """Send one request from this process. Raises OSError for any status but 200."""
        url = f"http://127.0.0.1:{self.port}{path}"
        asked = urllib.request.Request(url, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
            return bytes(answer.read())

    @property
    def pid(self) -> int:
        """The process that was started, without those that it has started."""
        return self._process.pid

    def send_signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def pids(self) -> list[int]:
        """Return every live process of the tree, also those whose parent has ended since the last call."""
        self._known |= {pid: _started(pid) for pid in _tree(self._process.pid) if pid not in self._known}
        return [pid for pid, started in self._known.items() if started and _started(pid) == started]

    def stop(self) -> None:
        """Send SIGTERM, then kill the rest of the tree: known process IDs only, verified by start time."""
        self.pids()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(_STOP_S)

    def _written(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[-_REASON_CHARACTERS:]


def _reason(error: OSError) -> str:
    """Return why the server does not start: the service names the bundle that failed to load, peers return any text."""
    if not isinstance(error, urllib.error.HTTPError):
        return str(error)
    content = error.read(2_000).decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        reasons = json.loads(content).get("reasons") or [content]
        content = next((reason for reason in reasons if _FOR_EVER in reason), reasons[0])
    return f"HTTP {error.code}: {content[:_REASON_CHARACTERS]}"


def _tree(root: int) -> Iterator[int]:
    """Return the process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := process_fields(int(entry.name))):
            children.setdefault(int(fields[_PARENT_FIELD]), []).append(int(entry.name))
    to_visit = [root]
    while to_visit:
        pid = to_visit.pop()
        yield pid
        to_visit += children.get(pid, [])


def _started(pid: int) -> str:
    fields = process_fields(pid)
    return fields[_STARTED_FIELD] if fields else ""
