"""Several processes that train one network together, each on its share of every batch (`torchrun -m training ...`).

A batch keeps the size that the recipe gives it, however many workers share it: the gradients are added up as if one
process had seen all of it. Each worker has the whole network and makes the same update; the first one scores dev and
writes the run folder.
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

#: Scoring dev, for which the others wait, may take long.
PATIENCE: Final = timedelta(hours=2)

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """This process's place among `count`. Alone, nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def check_batch_size(self, batch_size: int) -> None:
        """Raises UnrollError where batches cannot be shared out evenly."""
        if batch_size % self.count:
            below, above = batch_size // self.count * self.count, -(-batch_size // self.count) * self.count
            sizes = " or ".join(str(size) for size in (below, above) if size)
            raise UnrollError(
                f"training.batch_size is {batch_size}, which {self.count} processes cannot share evenly; take {sizes}"
            )

    def share(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """This worker's part of a batch: every so manieth row, so that lengths are shared out evenly too."""
        return order[self.rank :: self.count]

    def start(self, network: nn.Module) -> None:
        """Make the networks equal and the random numbers different."""
        if self.count == 1:
            return
        for value in network.state_dict().values():
            dist.broadcast(value, src=0)
        torch.manual_seed(torch.initial_seed() + self.rank)

    def combine(self, network: nn.Module, loss: Tensor, num_terms: int) -> Tensor:
        """Turn each worker's gradient into the one of the whole batch; returns the whole batch's mean loss.

        Means over unlike numbers of terms are weighted by these numbers. One exchange for everything.
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
        """The largest of each worker's wishes: all of them stop, or save, after the same update."""
        if self.count == 1:
            return wishes
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        agreed = torch.tensor(wishes, device=device)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return tuple(int(wish) for wish in agreed)

    def from_first(self, compute: Callable[[], T]) -> T:
        """What the first worker computes, on every worker; the others wait."""
        if self.count == 1:
            return compute()
        answer: list[Any] = [compute() if self.is_first else None]
        dist.broadcast_object_list(answer, src=0)
        found: T = answer[0]
        return found

    def gather(self, value: T) -> list[T]:
        """Everyone's value, in order of rank, on every worker."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when all have come this far."""
        if self.count > 1:
            dist.barrier()


ALONE: Final = Workers()


@contextmanager
def joined_workers(device: torch.device, environment: Mapping[str, str] = os.environ) -> Iterator[Workers]:
    """The workers that `torchrun` started, each with its own GPU if there are any; without it, this process alone."""
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
        dist.barrier()  # whoever leaves while another still closes its connections can take that one down
    finally:
        dist.destroy_process_group()


def leave(status: int) -> NoReturn:
    """End this worker's process: exit handlers run and output is written, but the interpreter is not taken down.

    gloo's threads can outlive the process group and still hold tensors; one that gives a tensor back while the
    interpreter is going makes the process abort, after all its work was done.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def interleaved(parts: Sequence[Tensor]) -> Tensor:
    """The states `[layers, batch, width]` of all workers' rows, in the order of the whole batch."""
    whole = torch.cat(list(parts), dim=1)
    rows = torch.cat([torch.arange(rank, whole.shape[1], len(parts)) for rank in range(len(parts))])
    return torch.empty_like(whole).index_copy_(1, rows.to(whole.device), whole)
