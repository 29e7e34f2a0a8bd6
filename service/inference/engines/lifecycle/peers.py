"""The other workers that serve beside this process: commands reach all of them, and all of them are ready or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

#: A model and a version of it; None: all versions.
Unloaded = tuple[str, str | None]


class Peers(Protocol):
    """What the registry needs of the other workers."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Held while a command is carried out everywhere: no two workers begin one at the same time.

        Raises NotReady if another takes too long.
        """
        ...

    async def tell(self, command: str, arguments: Mapping[str, Any]) -> list[Any]:
        """Have the others carry out a command: their answers. Raises NotReady, which names the worker that did not."""
        ...

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> list[Any]:
        """The answers of those who give one at once."""
        ...

    def reasons(self, own: Sequence[str]) -> list[str]:
        """Why the service is not ready, where `own` says why this process is not; empty where enough workers are."""
        ...

    def missing(self, own: Sequence[str]) -> list[str]:
        """A sentence for each worker that is not ready, whether the service is or not."""
        ...

    def keep_unloaded(self, unloaded: Sequence[Unloaded]) -> None:
        """Keep what is unloaded for workers that start later."""
        ...

    def kept_unloaded(self) -> list[Unloaded]:
        """What was unloaded before this worker started."""
        ...
