"""Two nodes of torchrun with disks of their own train as one process does, also over the death of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import PATIENCE_S
from tests.training.cli.test_commands import unroll
from tests.training.nodes import two_nodes
from tests.training.tiny_runs import settings_of, write_files
from training.fit.checkpoint import read_progress
from training.preprocessing.tensor_file import read_tensors

EPOCHS = 3
#: Six processes import PyTorch, which takes minutes on a machine with other work.
LONG_S = 8 * PATIENCE_S


def command(*more: str) -> list[str]:
    files = ["--train=data/train.csv", "--dev=data/dev.csv", "--name=mine", "--device=cpu"]
    still = ["--set=network.dropout=0", "--set=network.word_dropout=0", "--set=training.trackers=[]"]
    return ["train", "classification", *files, *settings_of("classification", epochs=EPOCHS), *still, *more]


def test_two_nodes_train_as_one_process_and_survive_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of node 1 dies, torchrun restarts both, and the weights are those of one process; node 0 publishes."""
    node_0, node_1, alone = folders = [tmp_path / name for name in ("node-0", "node-1", "alone")]
    for folder in folders:
        write_files("classification", folder / "data")
    with two_nodes() as nodes:
        launchers = [nodes.torchrun(number, folders[number], command()) for number in (0, 1)]
        try:
            ends = [launcher.wait(LONG_S) for launcher in launchers]
        finally:
            for launcher in launchers:
                launcher.terminate()
                launcher.wait(LONG_S)
    said = [(folder / "said.txt").read_text() for folder in (node_0, node_1)]
    assert ends == [0, 0], said
    assert "goes on from its last checkpoint" in said[0]
    assert "epoch" not in said[1]
    assert sorted(path.name for path in node_1.iterdir()) == ["data", "said.txt"]
    assert (node_0 / "models" / "mine" / "1").is_dir()
    monkeypatch.chdir(alone)
    assert unroll(*command("--no-export")).exit_code == 0
    checkpoints = [folder / "runs" / "mine" / "last.safetensors" for folder in (node_0, alone)]
    assert [read_progress(checkpoint).step for checkpoint in checkpoints] == [5 * EPOCHS] * 2
    shared, own = (read_tensors(checkpoint)[0] for checkpoint in checkpoints)
    for name in (name for name in own if name.startswith("network.")):
        torch.testing.assert_close(shared[name], own[name], rtol=1e-4, atol=1e-4)
