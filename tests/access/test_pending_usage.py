"""What a killed worker has counted is written once by another: not lost, not twice, not half."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from service.access.pending_usage import PendingUsage
from service.access.usage import UsageLedger
from service.access.usage_log import UsageLog
from tests.inference.state.processes import tell, worker

#: Counts requests; `noted`: notes them and waits, else writes some, and waits at a point of writing the others.
COUNT = """
import os, sys
from pathlib import Path
from service.access import usage_log
from service.access.pending_usage import PendingUsage
from service.access.usage import UsageLedger
folder, what = Path(sys.argv[1]), sys.argv[2]
ledger = UsageLedger()
log = usage_log.UsageLog(folder / "usage", ledger, host="host", worker=".0", pending=PendingUsage(folder))
ledger.of("mia", "m").requests += 3
log.write()
ledger.of("mia", "m").requests += 4
write, fsync = os.write, os.fsync
def stay(*_):
    print("ready", flush=True)
    sys.stdin.readline()
    sys.exit()
def half(descriptor, data):
    write(descriptor, data[:20])
    stay()
if what == "noted":
    log.note()
    stay()
if what == "begun":
    os.write = stay
if what == "half":
    os.write = half
if what == "appended":
    os.fsync = stay
log.write()
stay()
"""


def used(folder: Path) -> list[int]:
    lines = [line for path in sorted(folder.glob("usage/usage-*")) for line in path.read_text().splitlines()]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [line["requests"] for line in found]


def next_log(folder: Path) -> UsageLog:
    """The log of a worker that begins now."""
    (folder / "usage").mkdir(exist_ok=True)
    return UsageLog(folder / "usage", UsageLedger(), host="host", worker=".1", pending=PendingUsage(folder))


@pytest.mark.parametrize("what", ["noted", "begun", "half", "appended", "written"])
def test_what_a_killed_worker_counted_is_written_once(tmp_path: Path, what: str) -> None:
    """Killed before it writes, while it does, or after: another worker leaves one line for what it had counted."""
    with worker(COUNT, tmp_path, what) as other:
        beside = next_log(tmp_path)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert beside.write()
    assert used(tmp_path) == [3, 4]
    assert beside.write()
    next_log(tmp_path)
    assert used(tmp_path) == [3, 4]


def test_what_a_live_worker_noted_is_left_to_it(tmp_path: Path) -> None:
    with worker(COUNT, tmp_path, "noted") as other:
        next_log(tmp_path).write()
        assert used(tmp_path) == [3]
        tell(other)
        other.wait()
    next_log(tmp_path)
    assert used(tmp_path) == [3, 4]


def test_a_note_that_cannot_be_written_stays(tmp_path: Path) -> None:
    """The log has no room or is away: what a worker left waits, and is written when it can be."""
    with worker(COUNT, tmp_path, "noted") as other:
        log = next_log(tmp_path)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    (path,) = (tmp_path / "usage").glob("usage-*")
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    assert not log.write()
    path.rmdir()
    path.write_bytes(content)
    assert log.write()
    assert used(tmp_path) == [3, 4]
    assert log.write()
    assert used(tmp_path) == [3, 4]


def test_a_note_that_is_damaged_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "pending-usage").mkdir()
    for number, text in enumerate(["", "{}", "[1, 2]", '["a", 1, 2]', "\0" * 100, '["a", -1, "\u00e4"]']):
        (tmp_path / "pending-usage" / f"{number + 5}.json").write_text(text)
    assert next_log(tmp_path).write()
    assert not list((tmp_path / "pending-usage").glob("*.json"))
