"""Data-parallel training: each process computes its share of every batch (`torchrun -m training ...`).

The batch size is that of the recipe for any number of workers: gradients are combined as if one process had seen the
whole batch. Each worker has the whole network and makes the same update; the first one scores dev and writes the run
folder.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from service.errors import UnrollError

#: Timeout of a collective: the other workers wait while the first one scores dev.
PATIENCE: Final = timedelta(hours=2)

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The process group: this process's rank among `count`. A single process exchanges nothing."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def check_batch_size(self, batch_size: int) -> None:
        """Raises UnrollError where batches cannot be divided evenly."""
        if batch_size % self.count:
            below, above = batch_size // self.count * self.count, -(-batch_size // self.count) * self.count
            sizes = " or ".join(str(size) for size in (below, above) if size)
            raise UnrollError(
                f"training.batch_size is {batch_size}, which {self.count} processes cannot share evenly; take {sizes}"
            )

    def share(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """This worker's rows of a batch: every `count`-th one, so that lengths are spread evenly."""
        return order[self.rank :: self.count]

    def start(self, network: nn.Module) -> None:
        """Broadcast the weights of the first worker and give each worker its own random state."""
        if self.count == 1:
            return
        for value in network.state_dict().values():
            dist.broadcast(value, src=0)
        torch.manual_seed(torch.initial_seed() + self.rank)

    def combine(self, network: nn.Module, loss: Tensor, num_terms: int) -> Tensor:
        """All-reduce the gradients to that of the whole batch; returns the mean loss of the whole batch.

        Means are weighted by their numbers of terms. One collective for everything.
        """
        if self.count == 1:
            return loss
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        counts = torch.stack([loss, torch.ones_like(loss)])
        flat = num_terms * torch.cat([*(part.reshape(-1) for part in parts), counts])
        dist.all_reduce(flat)
        flat /= flat[-1].clone()
        for parameter, part in zip(parameters, flat.split([*(part.numel() for part in parts), 2]), strict=False):
            parameter.grad = part.view_as(parameter)
        return flat[-2]

    def most(self, *wishes: int) -> tuple[int, ...]:
        """The maximum over the workers, so that all of them stop, or save, after the same update."""
        if self.count == 1:
            return wishes
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        agreed = torch.tensor(wishes, device=device)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return tuple(int(wish) for wish in agreed)

    def from_first(self, compute: Callable[[], T]) -> T:
        """Compute on the first worker and broadcast the result."""
        if self.count == 1:
            return compute()
        answer: list[Any] = [compute() if self.is_first else None]
        dist.broadcast_object_list(answer, src=0)
        found: T = answer[0]
        return found

    def gather(self, value: T) -> list[T]:
        """All-gather: the values of all workers in order of rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Barrier: wait for all workers."""
        if self.count > 1:
            dist.barrier()


ALONE: Final = Workers()


@contextmanager
def joined_workers(device: torch.device, environment: Mapping[str, str] = os.environ) -> Iterator[Workers]:
    """The process group of `torchrun`, each process with its own GPU if there are any; else this process alone."""
    count = int(environment.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    use_cuda = device.type == "cuda"
    if use_cuda:
        torch.cuda.set_device(int(environment["LOCAL_RANK"]))
    dist.init_process_group("nccl" if use_cuda else "gloo", timeout=PATIENCE)
    try:
        yield Workers(dist.get_rank(), count)
        dist.barrier()  # a process that exits while another one still closes its connections can crash it
    finally:
        dist.destroy_process_group()


def leave(status: int) -> NoReturn:
    """Exit this worker without finalising the interpreter; exit handlers run and output is flushed.

    Threads of gloo can outlive the process group and hold tensors; releasing one during finalisation aborts the process
    after all its work is done.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def interleaved(parts: Sequence[Tensor]) -> Tensor:
    """Merge the states `[layers, batch, width]` of all workers in the row order of the whole batch."""
    whole = torch.cat(list(parts), dim=1)
    rows = torch.cat([torch.arange(rank, whole.shape[1], len(parts)) for rank in range(len(parts))])
    return torch.empty_like(whole).index_copy_(1, rows.to(whole.device), whole)
