"""Several processes of this machine that share the work of one command (`--jobs`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from service.errors import UnrollError

if TYPE_CHECKING:
    from training.config.recipe import Recipe
    from training.pipeline.run import Say


class JobsFailed(UnrollError):
    """Not all processes came to the end; what each said is printed already. `signal_number` is that which came."""

    def __init__(self, message: str, signal_number: int | None = None) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def written_recipe(recipe: Recipe, folder: Path) -> Path:
    """The effective recipe as a file in `folder`, for the processes to read."""
    import tomli_w

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.toml"
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    partial.write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    partial.replace(path)
    return path


def run_jobs(count: int, command: Sequence[str], say: Say) -> None:
    """Run `python -m training COMMAND` `count` times at once, and print what each says behind its number.

    Cores are divided between them, unless OMP_NUM_THREADS is set; GPUs in turn, unless CUDA_VISIBLE_DEVICES is set.

    Raises:
        JobsFailed: a process ended with an error. The others are let finish.
    """
    say(f"{count} processes; the lines of each begin with its number")
    jobs = [_start(number, count, command) for number in range(count)]
    readers = [threading.Thread(target=_relay, args=(job, f"[{number + 1}] ", say)) for number, job in enumerate(jobs)]
    for reader in readers:
        reader.start()
    with _passing_signals_on(jobs) as received:
        ends = [job.wait() for job in jobs]
    for reader in readers:
        reader.join()
    if received:
        raise JobsFailed("stopped; the same command continues", received[0])
    failed = [str(number + 1) for number, end in enumerate(ends) if end]
    if failed:
        raise JobsFailed(f"of {count} processes, {', '.join(failed)} failed, as said above; the same command continues")


def _start(number: int, count: int, command: Sequence[str]) -> subprocess.Popen[str]:
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)), **_gpu_of(number), **os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "training", *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches them through this process alone, once
    )


def _gpu_of(number: int) -> dict[str, str]:
    import torch

    gpus = torch.cuda.device_count()
    return {"CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus > 1 else {}


def _relay(job: subprocess.Popen[str], mark: str, say: Say) -> None:
    if job.stderr is None:
        return
    with job.stderr as lines:
        for line in lines:
            say(mark + line.rstrip("\n"))


@contextmanager
def _passing_signals_on(jobs: Sequence[subprocess.Popen[str]]) -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM go to the processes, which save their runs; yields the signals that came."""
    received: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for job in jobs:
            if job.poll() is None:
                job.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
