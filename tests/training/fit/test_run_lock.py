"""The lock of a run folder: one process trains in it, and a killed one leaves no lock."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.fit import run_lock
from training.fit.run_lock import LOCK_FILE, RunBusy, check_free, locked_run

HOLDER = """
import sys
from pathlib import Path
from training.fit.run_lock import locked_run
with locked_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run folder `tmp_path / "run"` until it is ended."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_training_is_refused(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """The message names the process, its command and what can be done, and the folder is not touched."""
    with (
        pytest.raises(RunBusy, match=rf"in use by process {holder.pid} \(`unroll .*--name") as caught,
        locked_run(tmp_path / "run"),
    ):
        pass
    assert f"kill {holder.pid}" in str(caught.value)
    with pytest.raises(RunBusy):
        check_free(tmp_path / "run")
    assert str(holder.pid) in (tmp_path / "run" / LOCK_FILE).read_text(encoding="utf-8")


def test_a_killed_process_leaves_no_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """After kill -9 the folder can be held again at once, though the file of the lock is still there."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK_FILE).read_text(encoding="utf-8")
    check_free(tmp_path / "run")
    with locked_run(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / LOCK_FILE).read_text(encoding="utf-8")
    assert (tmp_path / "run" / LOCK_FILE).read_text(encoding="utf-8") == ""


def test_a_free_folder_is_free(tmp_path: Path) -> None:
    """A folder without a lock, or that does not exist, is free, and looking creates nothing."""
    check_free(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    for _ in range(2):
        with locked_run(tmp_path / "run"):
            pass


def test_without_locks_of_the_file_system_the_process_decides(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where flock is not supported, a living process refuses the folder, and a dead one does not."""

    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", unsupported)
    with pytest.raises(RunBusy, match=f"process {holder.pid}"):
        check_free(tmp_path / "run")
    holder.kill()
    holder.wait()
    check_free(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"garbage", b"[1]", b'{"pid": "x"}', b'{"pid": 1, "host": "there"}', b"\xff"])
def test_what_stands_in_the_file_does_not_matter(content: bytes, tmp_path: Path) -> None:
    """A damaged lock file, or one of another machine that holds no lock, is taken over."""
    (tmp_path / LOCK_FILE).write_bytes(content)
    with locked_run(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text(encoding="utf-8")
