"""The interface of all engines, and the open bundle that an engine runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from service.bundle.load import Bundle
from service.errors import Overloaded
from service.inference.runtime.ort_runner import OrtRunner
from service.observability.inference_statistics import InferenceStatistics
from service.tasks.core.task import Task


class Usage:
    """Who uses an open bundle. `last_s` is when the last request began or ended, on `time.monotonic()`'s clock."""

    __slots__ = ("last_s", "num_leases")

    def __init__(self) -> None:
        self.num_leases = 0
        self.last_s = time.monotonic()


class Lease:
    """Keeps a bundle open for a request, from the moment it is found until nothing of the request refers to this."""

    __slots__ = ("_usage",)

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        usage.num_leases += 1

    def __del__(self) -> None:
        self._usage.num_leases -= 1
        self._usage.last_s = time.monotonic()


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose graphs are open, and its task."""

    bundle: Bundle
    runner: OrtRunner
    task: Task
    usage: Usage = field(default_factory=Usage, compare=False, repr=False)

    @cached_property
    def identity(self) -> str:
        """A state is accepted only from the same identity. The precision is part of it: it may change tokens."""
        return f"{self.bundle.digest} {self.runner.precision}"


class Engine(Protocol):
    """A loaded bundle that takes requests. Each kind of engine adds the calls that its route needs."""

    @property
    def opened(self) -> OpenBundle: ...
    @property
    def task(self) -> Task:
        """The task; its `route` decides which requests the engine takes."""
        ...

    @property
    def is_alive(self) -> bool:
        """False once it is closed, or stopped by an internal error."""
        ...

    @property
    def num_pending(self) -> int:
        """Inputs or streams that have no answer yet."""
        ...

    @property
    def num_waiting(self) -> int:
        """Inputs or streams in the queue."""
        ...

    @property
    def statistics(self) -> InferenceStatistics:
        """The requests that it answered or failed."""
        ...

    def refusal(self, caller: str = "") -> Overloaded | None:
        """How a request for one answer would be refused now for want of room in the queue; None if there is room."""
        ...

    async def close(self) -> None:
        """Take no more requests; those without an answer get NotReady."""
        ...
