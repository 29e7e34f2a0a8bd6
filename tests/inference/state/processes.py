"""Other processes for tests of what processes share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def worker(script: str, *arguments: str | Path | int) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs a script, once it has printed `ready`. It is killed at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line == "ready\n", f"the process ended with {process.wait()}"
            yield process
        finally:
            process.kill()


def tell(*processes: subprocess.Popen[str]) -> list[str]:
    """Let processes go on that wait for a line, at once; a line that each of them prints."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.stdout.readline() for process in processes if process.stdout is not None]
