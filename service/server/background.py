"""Background tasks: load and reload bundles, measure the lag of the event loop. Each one is supervised."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from service.access.access_control import AccessControl
from service.access.usage_log import UsageLog
from service.hub.at_start import PullsAtStart
from service.inference.engines.registry import Registry
from service.observability.metrics import Metrics
from service.observability.process import process_age_s
from service.observability.supervision import Work, supervise
from service.server.idle_collector import settle_memory
from service.settings import Settings
from service.worker_group import WorkerGroup

if TYPE_CHECKING:
    from service.access.pending_usage import PendingUsage

logger = logging.getLogger(__name__)

_MEASURE_LAG_EVERY_S = 0.1
#: Usage since then is lost where a worker is killed.
_NOTE_USAGE_EVERY_S = 1.0


class PeriodicUsage(NamedTuple):
    """The log of usage, and how often it is written."""

    log: UsageLog
    every_s: float


def open_usage(settings: Settings, access: AccessControl, group: WorkerGroup | None) -> PeriodicUsage | None:
    """The log of usage, if there is a folder for it; each worker has files of its own."""
    if settings.usage_dir is None:
        return None
    if group is None:
        return PeriodicUsage(UsageLog(settings.usage_dir, access.ledger), settings.usage_every_s)
    log = UsageLog(settings.usage_dir, access.ledger, worker=f".{group.index}", pending=_pending_usage(group))
    return PeriodicUsage(log, settings.usage_every_s)


def _pending_usage(group: WorkerGroup) -> PendingUsage | None:
    """What workers leave for each other; without it, one that is killed loses what it has not written."""
    from service.access.pending_usage import PendingUsage

    try:
        return PendingUsage(group.folder)
    except (OSError, ValueError) as error:
        logger.error("workers cannot keep usage for each other", extra={"reason": str(error)})
        return None


class BackgroundTasks:
    """The background tasks of one running service. Start and stop them in its event loop."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        reload_every_s: float,
        check_sessions: Work,
        access: AccessControl,
        usage: PeriodicUsage | None = None,
        pulls: PullsAtStart | None = None,
    ) -> None:
        """`reload_every_s=0`: reload on SIGHUP only. `check_sessions` logs a session store that cannot be used.

        `pulls` are run before the bundles are loaded, and again on SIGHUP while one of them has failed.
        The API keys of `access` are read again at the same times as the bundles.
        """
        self._access = access
        self._usage = usage
        self._pulls = pulls
        self._registry = registry
        self._metrics = metrics
        self._reload_every_s = reload_every_s
        self._check_sessions = check_sessions
        self._tasks: list[asyncio.Task[None]] = []
        self._hangup = asyncio.Event()
        self._hangup_of_keys = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Start all tasks. The returned one ends when the bundles are loaded."""
        loading = self._spawn("load-bundles", self._load)
        self._spawn("reload-bundles", partial(self._reload, loading))
        self._spawn("measure-lag", self._measure_lag)
        self._spawn("check-sessions", self._check_sessions)
        self._spawn("reload-keys", self._reload_keys)
        if self._usage is not None:
            self._spawn("write-usage", self._write_usage)
        return loading

    async def stop(self) -> None:
        """Cancel all tasks and wait for them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _spawn(self, name: str, work: Work) -> asyncio.Task[None]:
        failures = self._metrics.background_failures.labels(name)
        task = asyncio.create_task(supervise(name, work, failures.inc), name=name)
        self._tasks.append(task)
        return task

    async def _load(self) -> None:
        await self._pull()
        await self._registry.load()
        settle_memory()
        if not self._registry.reasons():
            self._metrics.start_duration.set(process_age_s())

    async def _pull(self) -> None:
        if self._pulls is not None and not self._pulls.is_done:
            await _in_daemon(self._pulls.run)

    async def _reload(self, loading: asyncio.Task[None]) -> None:
        """Reload on SIGHUP, and periodically if an interval is set."""
        _on_hangup(self._reload_all)
        await asyncio.wait([loading])
        while True:
            is_asked = await _is_set_within(self._hangup, self._reload_every_s or None)
            self._hangup.clear()
            if is_asked:
                await self._pull()
            # Bundles that failed are retried on SIGHUP, not at every interval.
            if await self._registry.reload(retry=is_asked) == "ok":
                await self._registry.retired()
                settle_memory(is_reload=True)

    def _reload_all(self) -> None:
        self._hangup.set()
        self._hangup_of_keys.set()

    async def _reload_keys(self) -> None:
        """Read the API keys again, at once: a key that was revoked must not wait for bundles to load."""
        while True:
            await _is_set_within(self._hangup_of_keys, self._reload_every_s or None)
            self._hangup_of_keys.clear()
            self._access.take_over(await asyncio.to_thread(self._access.read_again))

    async def _write_usage(self) -> None:
        assert self._usage is not None, "it is written only where a folder is set"
        log, every_s = self._usage
        while True:
            ends_s = time.monotonic() + log.seconds_until_due(every_s)
            while log.pending is not None and ends_s - time.monotonic() > _NOTE_USAGE_EVERY_S:
                await asyncio.sleep(_NOTE_USAGE_EVERY_S)
                await asyncio.to_thread(log.note)
            await asyncio.sleep(max(0.0, ends_s - time.monotonic()))
            if not await asyncio.to_thread(log.write):
                self._metrics.usage_write_failures.inc()

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            planned_s = loop.time() + _MEASURE_LAG_EVERY_S
            await asyncio.sleep(_MEASURE_LAG_EVERY_S)
            self._metrics.event_loop_lag.observe(max(0.0, loop.time() - planned_s))


def _on_hangup(act: Callable[[], None]) -> None:
    """Call `act` on SIGHUP where the system has it. At a terminal it keeps its meaning: the window was closed."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and hasattr(signal, "SIGHUP") and not (sys.stdin and sys.stdin.isatty()):
        with suppress(NotImplementedError):  # an event loop without signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, act)


async def _in_daemon(work: Callable[[], None]) -> None:
    """Do something in a thread that does not keep the process from ending. Raises what it raises."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="unroll-pull", daemon=True).start()
    await done.wait()
    if raised:
        raise raised[0]


async def _is_set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Whether the event was set before the timeout."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
