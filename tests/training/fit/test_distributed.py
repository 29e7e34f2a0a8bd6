"""Distributed training equals training in one process: the same updates, one run folder, joint stop and resume."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from tests.ports import free_port
from tests.training.worker_runs import SHARED_TASKS, begin, shared_recipe, train
from training.fit.checkpoint import read_progress
from training.fit.distributed import ALONE, Workers, interleaved, joined_workers
from training.preprocessing.tensor_file import read_tensors

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two workers; read-only."""
    folder = tmp_path_factory.mktemp("shared")
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.worker_runs", str(folder)]
    workers = [
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE
        )
        for rank in ("0", "1")
    ]
    try:
        said = [worker.communicate(timeout=600)[1].decode() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert "epoch   3" in said[0]
    assert "epoch" not in said[1]
    return folder


@pytest.mark.parametrize("task", SHARED_TASKS)
def test_two_workers_make_the_updates_of_one(task: TrainedTask, shared: Path, tmp_path: Path) -> None:
    """Without dropout, two workers and one process reach the same weights after three epochs, up to rounding."""
    train(begin(partial(shared_recipe, task, shared), tmp_path / "alone", ALONE), ALONE)
    alone, _ = read_tensors(tmp_path / "alone" / "last.safetensors")
    together, _ = read_tensors(shared / task / "last.safetensors")
    weights = [name for name in alone if name.startswith(("network.", "average."))]
    assert weights
    for name in weights:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_signal_to_one_worker_stops_all(shared: Path) -> None:
    """A signal to one worker stops all with the same signal, and none is left waiting."""
    assert [(shared / f"interrupted-{rank}").read_text(encoding="utf-8") for rank in (0, 1)] == ["15", "15"]


def test_workers_resume_as_if_they_had_not_stopped(shared: Path) -> None:
    """Resumed weights, carried state and each worker's random state are bit-identical, including dropout."""
    straight, _ = read_tensors(shared / "straight" / "last.safetensors")
    stopped, _ = read_tensors(shared / "stopped" / "last.safetensors")
    assert straight.keys() == stopped.keys()
    assert "random.1.cpu" in straight
    assert not torch.equal(straight["random.cpu"], straight["random.1.cpu"])
    assert [name for name in straight if not torch.equal(straight[name], stopped[name])] == []


def test_one_process_may_go_on_with_a_run_of_two(shared: Path, tmp_path: Path) -> None:
    """A checkpoint holds the state of whole batches, so one process can resume a run of two workers."""
    run = begin(partial(shared_recipe, "generation", shared, dropout=0.5), tmp_path / "run", ALONE)
    shutil.copy(shared / "midway.safetensors", run.folder.checkpoint)
    midway, _ = read_tensors(run.folder.checkpoint)
    batch = run.task.training_set(run.recipe, run.vocabulary, run.data.train).epoch(0)[0]
    assert midway["carried.0"].shape[1] == len(batch)
    assert read_progress(run.folder.checkpoint).step == 3
    train(run, ALONE, resume=True)
    assert read_progress(run.folder.checkpoint).finished


def test_batches_that_do_not_divide_are_refused() -> None:
    """The error has the numbers and the batch sizes that would divide evenly."""
    with pytest.raises(UnrollError, match=r"batch_size is 10, which 4 processes cannot share evenly; take 8 or 12"):
        Workers(0, 4).check_batch_size(10)
    with pytest.raises(UnrollError, match="take 4"):
        Workers(0, 4).check_batch_size(3)
    Workers(0, 4).check_batch_size(8)


def test_a_worker_that_leaves_loses_nothing() -> None:
    """A worker that exits early runs its exit handlers, flushes its output and returns the requested status."""
    program = "import atexit; from training.fit.distributed import leave; atexit.register(print, 'handled'); leave(3)"
    left = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert (left.returncode, left.stdout) == (3, b"handled\n")


def test_rows_come_back_in_their_order() -> None:
    """States of shares of different size are gathered in batch order."""
    whole = torch.arange(2 * 7 * 3.0).view(2, 7, 3)
    assert torch.equal(interleaved([whole[:, rank::3] for rank in range(3)]), whole)


def test_alone_without_torchrun() -> None:
    """Without torchrun no process group is created."""
    with joined_workers(torch.device("cpu"), {}) as workers:
        assert workers == ALONE
        assert not torch.distributed.is_initialized()
    ALONE.check_batch_size(7)
