"""Memory use of a run does not grow with the epochs."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from tests.allowed_skips import OTHER_SYSTEM
from tests.training.tiny_runs import tiny_recipe
from training.fit import run_folder
from training.fit.trainer import Trainer
from training.pipeline.run import Run, prepare_run, start_run, train_run

STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096
MEBIBYTE = 2**20
#: What an allocator may keep; an epoch's batches, plots and logs of this run are several times as much.
SLACK_BYTES = 6 * MEBIBYTE
NUM_EPOCHS, EARLY = 6, 2


@pytest.fixture(scope="module", autouse=True)
def curves() -> None:
    """Draw curves: their memory counts."""


def resident_bytes() -> int:
    return int(STATM.read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def memory_by_epoch(run: Run, monkeypatch: pytest.MonkeyPatch, leak_bytes: int = 0) -> list[int]:
    """Resident memory after each complete epoch, with `leak_bytes` of new pages kept per epoch.

    New pages, as an allocator may answer from memory that earlier tests of this process have freed.
    """
    seen: list[int] = []
    left: list[mmap.mmap] = []
    finish = Trainer._finish_epoch

    def measured(self: Trainer) -> None:
        finish(self)
        if leak_bytes:
            left.append(mmap.mmap(-1, leak_bytes))
            left[-1].write(b"x" * leak_bytes)
        seen.append(resident_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish_epoch", measured)
        train_run(run, torch.device("cpu"))
    return seen


@pytest.mark.skipif(not STATM.exists(), reason=f"{OTHER_SYSTEM}: memory is read from /proc")
def test_memory_is_flat_over_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is constant over epochs with curves, samples, checkpoints and dev scores; a deliberate leak is found."""
    recipe = tiny_recipe("tagging", tmp_path / "data", epochs=NUM_EPOCHS, patience=99)
    seen = memory_by_epoch(start_run(prepare_run(recipe), tmp_path / "run"), monkeypatch)
    assert seen[-1] <= seen[EARLY - 1] + SLACK_BYTES
    monkeypatch.setattr(run_folder, "draw_curves", lambda *_: None)
    again = start_run(prepare_run(recipe), tmp_path / "leaking")
    leaking = memory_by_epoch(again, monkeypatch, leak_bytes=3 * MEBIBYTE)
    assert leaking[-1] > leaking[EARLY - 1] + SLACK_BYTES
