"""Data-parallel training: each process computes its share of every batch (`torchrun -m training ...`).

The batch size is that of the recipe for any number of workers: gradients are combined as if one process had seen the
whole batch. Each worker has the whole network and makes the same update; the first one scores dev and writes the run
folder. Workers on several nodes share nothing but the network between them.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from service.errors import UnrollError
from training.fit.coordination import Coordination, Place, WorkersLost, agree_on_round, choose_interface, first_line

#: The environment variable with the seconds that a worker waits for a silent one, and their default.
TIMEOUT_VARIABLE: Final = "UNROLL_TRAIN_TIMEOUT_S"
TIMEOUT_S: Final = 600.0
#: How gloo says that a connection has ended or is silent.
_OF_CONNECTION: Final = re.compile(r"connection|timed? ?out|socket|peer|gloo|broken pipe", re.IGNORECASE)
#: The line of source that gloo puts before a message.
_SOURCE: Final = re.compile(r"^\[\S+:\d+\] ")
_ADDRESS: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The process group: this process's rank among `count`. A single process exchanges nothing."""

    rank: int = 0
    count: int = 1
    link: Coordination | None = None
    places: tuple[Place, ...] = ()

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
        with self._losses_in_words():
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
        with self._losses_in_words():
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
        with self._losses_in_words():
            dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return tuple(int(wish) for wish in agreed)

    def from_first(self, compute: Callable[[], T]) -> T:
        """Compute on the first worker, however long it takes, and broadcast the result.

        Raises:
            StoppedTogether: on the other workers, if the first one failed.
            WorkersLost: on the other workers, if the first one died.
        """
        if self.link is None:
            return compute()
        answer: list[Any] = [self.link.by_first(compute)]
        with self._losses_in_words():
            dist.broadcast_object_list(answer, src=0)
        found: T = answer[0]
        return found

    def together(self, compute: Callable[[], T]) -> T:
        """Compute on every worker, each for itself. Raises StoppedTogether on all of them if one fails."""
        return compute() if self.link is None else self.link.by_all(compute)

    def gather(self, value: T) -> list[T]:
        """All-gather: the values of all workers in order of rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with self._losses_in_words():
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Barrier: wait for all workers."""
        if self.count > 1:
            with self._losses_in_words():
                dist.barrier()

    @contextmanager
    def _losses_in_words(self) -> Iterator[None]:
        """Turn the errors of a collective whose partner is gone into WorkersLost, with the node if it is known."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            said = first_line(error)
            if not isinstance(error, dist.DistError) and not _OF_CONNECTION.search(said):
                raise
            address = _ADDRESS.search(said)
            lost = dict.fromkeys(str(place) for place in self.places if address and place.address == address[0])
            why = _SOURCE.sub("", said).partition(". This is")[0]
            raise WorkersLost(f"the connection to {' or '.join(lost) or 'another process'} is lost ({why})") from error


ALONE: Final = Workers()


@contextmanager
def joined_workers(device: torch.device, environment: MutableMapping[str, str] = os.environ) -> Iterator[Workers]:
    """The process group of `torchrun`, each process with its own GPU if there are any; else this process alone.

    Raises:
        WorkersLost: not all processes came in time.
        UnrollError: some have a GPU and some do not.
    """
    count = int(environment.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(environment["LOCAL_RANK"]))
    workers = _join(device, environment)
    try:
        yield workers
        workers.wait()  # a process that exits while another one still closes its connections can crash it
    finally:
        dist.destroy_process_group()


def _join(device: torch.device, environment: MutableMapping[str, str]) -> Workers:
    timeout_s = _timeout_s(environment)
    timeout = timedelta(seconds=timeout_s)
    choose_interface(environment)
    try:
        shared, rank, count = next(rendezvous("env://", timeout=timeout))
        store = PrefixStore(agree_on_round(shared, rank, count, timeout_s), shared)
    except (RuntimeError, TimeoutError, ValueError) as error:
        where = f"{environment.get('MASTER_ADDR', '?')}:{environment.get('MASTER_PORT', '?')}"
        raise WorkersLost(f"the store of node 0 at {where} cannot be reached: {first_line(error)}") from error
    link = Coordination(store, rank, count, Place.of(environment), timeout_s)
    places = link.places()
    devices = link.exchange(device.type)
    if len(set(devices)) > 1:
        found = ", ".join(dict.fromkeys(f"{device} on {place}" for device, place in zip(devices, places, strict=True)))
        raise UnrollError(f"the processes train on different devices: {found}; --device cpu trains on the CPU of all")
    workers = Workers(rank, count, link, tuple(places))
    with workers._losses_in_words():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)
    return workers


def _timeout_s(environment: MutableMapping[str, str]) -> float:
    given = environment.get(TIMEOUT_VARIABLE, "")
    try:
        found = float(given or TIMEOUT_S)
    except ValueError:
        found = 0.0
    if not 1 <= found <= 10**6:
        raise UnrollError(f"{TIMEOUT_VARIABLE} is {given!r}: give a number of seconds, 1 or more, such as 600")
    return found


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
