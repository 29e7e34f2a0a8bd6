"""Two nodes of torchrun with disks of their own train as one process does, also over the death of a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.conftest import wait_until
from tests.training.cli.test_commands import unroll
from tests.training.nodes import two_nodes, worker_of
from tests.training.tiny_runs import settings_of, write_files
from training.preprocessing.tensor_file import read_tensors

STILL = ("--set=network.dropout=0", "--set=network.word_dropout=0", "--set=training.trackers=[]")


def command(*more: str) -> list[str]:
    sizes = settings_of("classification", epochs=12, patience=12)
    files = ["--train=data/train.csv", "--dev=data/dev.csv", "--name=mine", "--device=cpu"]
    return ["train", "classification", *files, *sizes, *STILL, *more]


def test_two_nodes_train_as_one_process_and_survive_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of node 1 is killed, torchrun restarts both, and the weights are those of one process."""
    folders = [tmp_path / name for name in ("node-0", "node-1", "alone")]
    for folder in folders:
        write_files("classification", folder / "data")
    with two_nodes() as nodes:
        options = ("--max-restarts=2", "--monitor-interval=0.1")
        launchers = [nodes.torchrun(number, folders[number], command(), *options) for number in (0, 1)]
        try:
            checkpoint = folders[0] / "runs" / "mine" / "last.safetensors"
            wait_until(checkpoint.is_file, timeout_s=240)
            os.kill(worker_of(launchers[1]), signal.SIGKILL)
            ends = [launcher.wait(timeout=240) for launcher in launchers]
        finally:
            for launcher in launchers:
                launcher.terminate()
    said = [(folder / "said.txt").read_text() for folder in folders[:2]]
    assert ends == [0, 0], said
    assert "goes on from its last checkpoint" in said[0]
    assert "epoch" not in said[1]
    assert sorted(path.name for path in folders[1].iterdir()) == ["data", "said.txt"]
    assert (folders[0] / "models" / "mine" / "1").is_dir()
    monkeypatch.chdir(folders[2])
    assert unroll(*command("--no-export")).exit_code == 0
    together, alone = (read_tensors(folder / "runs" / "mine" / "last.safetensors")[0] for folder in folders[::2])
    for name in (name for name in alone if name.startswith("network.")):
        torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-4)
