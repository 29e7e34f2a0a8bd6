"""One process against two on two nodes: `python -m tests.load.training_processes [--hidden N]` (as root).

Both train the same network for the same updates, each process on one thread. The nodes are network namespaces, and the
bytes are those that their cable counts. On a machine with other work, CPU seconds are what to read: those of one
process are the time of an update without the exchange, if each process has a core of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.load.training_time import SMALL
from tests.training.nodes import ADDRESSES, ROOT, two_nodes
from training.config.recipe import find_recipe, load_recipe
from training.fit import run_folder
from training.fit.distributed import joined_workers, leave
from training.fit.trainer import DevScore
from training.pipeline.run import fit, prepare_run, start_run
from training.pipeline.shared_run import shared_run
from training.preprocessing.batching import Order, TrainingSet

CPU = torch.device("cpu")
#: Updates before the measurement, in which PyTorch loads and allocates what it needs.
NUM_FIRST = 10


def sent_bytes() -> int:
    """Bytes that have left through the cable of this namespace; 0 where there is none."""
    for line in Path("/proc/self/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "v0":
            return int(counters.split()[8])
    return 0


@dataclass
class Watched:
    """Batches of `inner`; notes bytes sent, CPU seconds and time before each."""

    inner: TrainingSet
    marks: list[tuple[int, float, float]] = field(default_factory=list)

    def epoch(self, number: int) -> list[Order]:
        return self.inner.epoch(number)

    def batch(self, indices: Order) -> Any:
        self.marks.append((sent_bytes(), time.process_time(), time.monotonic()))
        return self.inner.batch(indices)


def train(hidden: int, updates: int) -> dict[str, float]:
    """Train one epoch of `updates` batches as this process's share; what an update took after the first ones."""
    torch.set_num_threads(1)
    run_folder.draw_curves = lambda *_: None
    sizes = {"network.hidden_size": hidden, "network.embedding_size": hidden, "training.epochs": 1}
    recipe = load_recipe(find_recipe("intent-en"), {**SMALL, **sizes})
    with joined_workers(CPU) as workers, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        run = shared_run(lambda: start_run(prepare_run(recipe), path), path, workers)
        records = run.data.train[: updates * recipe.training.batch_size]
        data = Watched(run.task.training_set(recipe, run.vocabulary, records))
        fit(run, data, lambda _: DevScore(0.0), CPU, workers=workers)
    marks = data.marks[NUM_FIRST:]
    sent, cpu_s, wall_s = ((end - start) / (len(marks) - 1) for end, start in zip(marks[-1], marks[0], strict=True))
    weights = sum(parameter.numel() for parameter in run.network.parameters())
    return {"weights": weights, "updates": len(marks) - 1, "cpu_ms": 1e3 * cpu_s, "ms": 1e3 * wall_s, "sent": sent}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for one process, and one for each of two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--here", action="store_true", help="train in this process, and print its row")
    chosen = parser.parse_args(arguments)
    if chosen.here:
        print(json.dumps(train(chosen.hidden, chosen.updates)), flush=True)
        leave(0)
    command = [sys.executable, "-m", "tests.load.training_processes", "--here"]
    command += [f"--hidden={chosen.hidden}", f"--updates={chosen.updates}"]
    with two_nodes() as nodes:
        launch = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29501"}
        for world in (1, 2):
            places = [{"WORLD_SIZE": str(world), "RANK": str(r), "GROUP_RANK": str(r)} for r in range(world)]
            rows = [
                subprocess.Popen(
                    ["ip", "netns", "exec", nodes.names[rank], *command],
                    env={**launch, **place, "LOCAL_RANK": "0"},
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for rank, place in enumerate(places)
            ]
            for rank, row in enumerate(rows):
                said, _ = row.communicate()
                print(f"{world} processes, rank {rank}: {said.strip()}", flush=True)


if __name__ == "__main__":
    main()
