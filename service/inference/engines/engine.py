"""What an engine is to those who find it, wait for it and close it; and the open bundle that it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from service.bundle.load import Bundle
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.core.task import Task


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose graphs are open, and its task."""

    bundle: Bundle
    runner: OrtRunner
    task: Task

    @cached_property
    def identity(self) -> str:
        """What a state must come from to be gone on from here. The precision counts: in another, tokens may differ."""
        return f"{self.bundle.digest} {self.runner.precision}"


class Engine(Protocol):
    """One loaded bundle, ready for requests. Each kind of engine has calls of its own for its route."""

    @property
    def opened(self) -> OpenBundle: ...
    @property
    def task(self) -> Task:
        """Its `route` says which requests the engine takes."""
        ...

    @property
    def is_alive(self) -> bool:
        """False once it is closed, or broken by a fault of its own."""
        ...

    @property
    def num_pending(self) -> int:
        """Inputs or streams that have no answer yet."""
        ...

    async def close(self) -> None:
        """Take no more requests; those without an answer get NotReady."""
        ...
