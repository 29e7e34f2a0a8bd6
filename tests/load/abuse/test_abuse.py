"""The measurement of attacks: the memory limit kills, a probe notices failures, and one attack runs as a whole."""

from __future__ import annotations

import asyncio
import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.allowed_skips import NOT_ROOT, OTHER_SYSTEM
from tests.load.abuse.attacks import TEXT_MODEL
from tests.load.abuse.confinement import memory_limit
from tests.load.abuse.display import table
from tests.load.abuse.probes import Latency
from tests.load.abuse.run import Outcome, endure
from tests.load.places import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: it has no /proc")

_MB = 1024 * 1024


@pytest.mark.parametrize(("megabytes", "expected"), [(10, 0), (300, -signal.SIGKILL)])
def test_a_process_beyond_its_memory_limit_is_killed(megabytes: int, expected: int) -> None:
    with memory_limit(100 * _MB) as prefix:
        if not prefix:
            pytest.skip(f"{NOT_ROOT}: make a control group")
        command = [sys.executable, "-c", f"print(len(bytearray(b'x') * {megabytes * _MB}))"]
        done = subprocess.run([*prefix, *command], stdout=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == expected


@pytest.mark.parametrize(
    ("answers", "answered", "failed"),
    [([b"200", b"200"], 2, 0), ([b"503", b"200"], 1, 1), ([b"200", b""], 1, 1)],
    ids=["good", "refused", "cut"],
)
def test_a_probe_counts_answers_and_failures(answers: list[bytes], answered: int, failed: int) -> None:
    """Any other status than 200 is a failure, and so is a connection that is closed without an answer."""
    left = list(answers)
    over = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        status = left.pop(0)
        writer.write(b"HTTP/1.1 " + status + b" X\r\n\r\n" if status else b"")
        writer.close()
        if not left:
            over.set()

    async def probe() -> Latency:
        latency = Latency(b"GET / HTTP/1.1\r\n\r\n")
        async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
            await latency.repeat(server.sockets[0].getsockname()[1], over)
        return latency

    found = asyncio.run(probe())
    assert (found.answered, found.failed) == (answered, failed)
    assert found.worst_s > 0


def test_the_table_names_a_server_that_was_killed() -> None:
    lost = Latency(b"", worst_s=30.0, answered=4, failed=6)
    outcome = Outcome("pipelining", 280.0, 2040.0, None, lost, Latency(b""), {"cut": 3}, is_limited=True)
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(table([outcome], 2048))
    shown = console.export_text()
    assert all(text in shown for text in ("KILLED", "2,040", "30,000 (6 of 10 failed)", "3 cut", "2,048 MB"))


def test_an_attack_is_measured_from_start_to_end(tmp_path: Path) -> None:
    """The server refuses a body of 120 MB long before its end, and others notice nothing of it."""
    shutil.copytree(ROOT / "models" / TEXT_MODEL, tmp_path / "models" / TEXT_MODEL)
    outcome = endure("declared length", tmp_path / "models", tmp_path / "log", 2048 * _MB)
    assert outcome.after_mb is not None
    assert 0 < outcome.before_mb <= outcome.peak_mb < 1024
    assert (outcome.live.failed, outcome.small.failed) == (0, 0)
    assert outcome.happened.get("sent", 0) < 120
