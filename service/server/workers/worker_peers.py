"""The other workers as the registry sees them: commands that reach all, and the readiness of all.

The service is ready once all of its workers are, so that the first connections are spread over all, and from then on
while at least half are: new connections go to those, so that one that is being replaced takes capacity away, no answer.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic_core import from_json, to_json

from service.errors import NotReady
from service.inference.engines.lifecycle.peers import Unloaded
from service.server.workers.control import ControlFailed, ask_worker
from service.server.workers.worker_table import WorkerState, WorkerTable
from service.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

_LOCK, _UNLOADED = "commands.lock", "unloaded.json"
#: How long a command waits for the one before it, which may load large models.
_MAX_TURN_S = 120.0
_TRY_EVERY_S = 0.01
#: A worker that has given no sign of life for so long is not waited for, and does not count as ready.
SILENT_S = 5.0
#: How long a question may take that only looks at something.
_QUICK_S = 0.5


class WorkerPeers:
    """All workers of a group but this one. Use it in the event loop."""

    def __init__(self, group: WorkerGroup) -> None:
        self._group = group
        self._table = WorkerTable(group.folder, group.count)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """See `Peers.turn`. The system ends the turn of a worker that dies in it."""
        descriptor = os.open(self._group.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until_s = time.monotonic() + _MAX_TURN_S
            while not _is_locked(descriptor):
                if time.monotonic() > until_s:
                    raise NotReady("another command is still being carried out: try again later", cause="loading")
                await asyncio.sleep(_TRY_EVERY_S)
            yield
        finally:
            os.close(descriptor)

    async def tell(self, command: str, arguments: Mapping[str, Any]) -> list[Any]:
        """See `Peers.tell`. A worker that is gone counts for nothing: the next one there begins with what holds now."""
        found = await asyncio.gather(*(self._tell(index, command, arguments) for index in self._others()))
        failures = [str(one) for one in found if isinstance(one, ControlFailed)]
        if failures:
            raise NotReady("; ".join(failures), failures, cause="loading")
        return [one for one in found if one is not None]

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> list[Any]:
        """See `Peers.ask`."""

        async def ask(index: int) -> Any:
            try:
                async with asyncio.timeout(_QUICK_S):
                    return await ask_worker(self._group.folder, index, command, arguments)
            except (OSError, TimeoutError, ControlFailed):
                return None

        found = await asyncio.gather(*map(ask, self._others()))
        return [one for one in found if one is not None]

    def reasons(self, own: Sequence[str]) -> list[str]:
        """See `Peers.reasons`: at the start all workers must be ready, later at least half."""
        count = self._group.count
        needed = (count + 1) // 2 if self._table.was_complete else count
        missing = self.missing(own)
        return missing if count - len(missing) < needed else []

    def missing(self, own: Sequence[str]) -> list[str]:
        """See `Peers.missing`."""
        sentences = [f"worker {self._group.index}: {'; '.join(own)}"] if own else []
        return sentences + [sentence for index in self._others() if (sentence := self._obstacle(index))]

    def keep_unloaded(self, unloaded: Sequence[Unloaded]) -> None:
        """See `Peers.keep_unloaded`."""
        path = self._group.folder / _UNLOADED
        temporary = path.with_suffix(".new")
        try:
            if unloaded:
                temporary.write_bytes(to_json(list(unloaded)))
                temporary.replace(path)
            else:  # which needs no room
                path.unlink(missing_ok=True)
        except OSError as error:  # no room: it holds in the workers that are there
            logger.error("workers that start later will not know what is unloaded", extra={"reason": str(error)})

    def kept_unloaded(self) -> list[Unloaded]:
        """See `Peers.kept_unloaded`."""
        try:
            return [(name, version) for name, version in from_json((self._group.folder / _UNLOADED).read_bytes())]
        except FileNotFoundError:
            return []

    def _others(self) -> list[int]:
        return [index for index in range(self._group.count) if index != self._group.index]

    def _obstacle(self, index: int) -> str:
        """Why another worker is not ready; "" if it is."""
        state, silent_s = self._table.state(index), self._table.silent_s(index)
        if state is WorkerState.ABSENT:
            return f"worker {index} has ended and is being replaced"
        if silent_s > SILENT_S:
            return f"worker {index} has not answered for {silent_s:.0f} s"
        return "" if state is WorkerState.READY else f"worker {index} is {state.name.lower()}"

    async def _tell(self, index: int, command: str, arguments: Mapping[str, Any]) -> Any:
        """The answer of a worker, None if it is gone, or why it has none."""
        telling = asyncio.create_task(self._tell_once_there(index, command, arguments))
        process = self._table.pid(index)
        while not (await asyncio.wait([telling], timeout=_QUICK_S))[0]:
            if self._table.silent_s(index) > SILENT_S or self._table.pid(index) != process:
                telling.cancel()
                return ControlFailed(f"worker {index} does not answer")
        error = telling.exception()
        return ControlFailed(f"worker {index}: {error}") if isinstance(error, ControlFailed) else telling.result()

    async def _tell_once_there(self, index: int, command: str, arguments: Mapping[str, Any]) -> Any:
        """Tell a worker; one that is starting as soon as it listens, since it may have looked at the folder already."""
        while self._table.state(index) not in (WorkerState.ABSENT, WorkerState.STOPPING):
            try:
                return await ask_worker(self._group.folder, index, command, arguments)
            except OSError:
                await asyncio.sleep(_TRY_EVERY_S)
            except ControlFailed:
                if self._table.state(index) in (WorkerState.ABSENT, WorkerState.STOPPING):
                    return None
                raise
        return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
