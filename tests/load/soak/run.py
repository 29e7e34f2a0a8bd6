"""Soak test: mixed load on a real server process while its memory, files, threads and log are watched."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.load.soak.callers.caller import Caller, Unanswered, http_request
from tests.load.soak.callers.findings import Findings
from tests.load.soak.callers.known_answers import KnownAnswers
from tests.load.soak.callers.published_versions import KIND as RELOADS
from tests.load.soak.callers.published_versions import PublishedVersions
from tests.load.soak.callers.visits import KINDS, Kind
from tests.load.soak.models_folder import Folders
from tests.load.soak.verdict import Soaked
from tests.load.soak.watch.resources import Sample, look_at
from tests.load.soak.watch.server_log import ServerLog
from tests.load.targets.server_process import ServerProcess

_SAMPLE_EVERY_S = 0.5
_DRAIN_S = 60.0
_WARM_UP_SHARE = 0.2
_WATCHER_SEED = 10_000
_AFTER_FAULT_S = 0.05
_OPEN = re.compile(r"^unroll_(open_requests|live_streams|slots_in_use|queue_depth)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)

#: Small caches and few sessions, which are full before the warm-up ends: what grows afterwards is a leak.
SETTINGS = {
    "UNROLL_DEVICE": "cpu",
    "UNROLL_PRECISION": "fp32",
    "UNROLL_LOG_LEVEL": "warning",
    "UNROLL_STATE_KEYS": "the soak test seals its states",
    "UNROLL_MAX_SESSIONS": "100",
    "UNROLL_PREFIX_CACHE_BYTES": str(1024 * 1024),
}


@dataclass(frozen=True)
class Extent:
    """How long a soak is: a time, or a number of requests and reloads; growth is judged only over a time."""

    seconds: float | None = None
    num_requests: int = 0
    num_reloads: int = 0

    def share(self, elapsed_s: float, num_requests: int, num_reloads: int) -> float:
        """How much of it is done; 1 or more at the end."""
        if self.seconds is not None:
            return elapsed_s / self.seconds
        return min(num_requests / self.num_requests, num_reloads / self.num_reloads if self.num_reloads else 1.0)

    @property
    def warm_up_s(self) -> float | None:
        return None if self.seconds is None else self.seconds * _WARM_UP_SHARE


@dataclass(frozen=True)
class Load:
    """Callers at a time, and the pause between two changes of the models folder."""

    num_callers: int = 8
    reload_every_s: float = 5.0
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """What is told while it runs."""

    share: float
    elapsed_s: float
    num_requests: int
    num_faults: int
    resident_mb: float


class Subject(NamedTuple):
    """A server with its folders, what it can be asked, and its log."""

    server: ServerProcess
    folders: Folders
    known: KnownAnswers
    log: ServerLog


Tell = Callable[[Progress], None]


def run_soak(subject: Subject, extent: Extent, load: Load, tell: Tell) -> Soaked:
    """Put the load on a server that is ready, and return what was found."""
    return asyncio.run(_Soak(subject, extent, load, tell).run())


@dataclass
class _Soak:
    subject: Subject
    extent: Extent
    load: Load
    tell: Tell
    findings: Findings = field(default_factory=Findings)
    samples: list[Sample] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Soaked:
        """The load, then the wait until nothing is open, then the last lines of the log."""
        watcher = self._caller(_WATCHER_SEED)
        kinds = [kind for kind in KINDS if kind.is_possible(self.subject.known)]
        idle = await open_figures(watcher)
        began_s = time.monotonic()
        await self._put_load(kinds, began_s)
        seconds = time.monotonic() - began_s
        left = await left_open(watcher, idle)
        watcher.close()
        self.subject.log.read_on()
        names = (*(kind.name for kind in kinds), RELOADS)
        return Soaked(self.findings, self.subject.log, names, self.samples, left, seconds, self.extent.warm_up_s)

    async def _put_load(self, kinds: Sequence[Kind], began_s: float) -> None:
        """Every caller and the reloads, until the extent is reached or the server has ended."""
        callers = [self._caller(self.load.seed + number) for number in range(self.load.num_callers + 1)]
        publisher = callers.pop()
        versions = PublishedVersions(*self.subject.folders, publisher, self.subject.server.send_signal)
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(self._visit(caller, kinds))
            group.create_task(versions.keep_changing(self.load.reload_every_s, self.over))
            await self._watch(began_s, versions)
            self.over.set()
        for caller in (*callers, publisher):
            caller.close()

    def _caller(self, seed: int) -> Caller:
        return Caller(self.subject.server.port, self.subject.known, self.findings, seed)

    async def _visit(self, caller: Caller, kinds: Sequence[Kind]) -> None:
        """One kind after another, each as often as its weight says, in random order."""
        deck: list[Kind] = []
        while not self.over.is_set():
            if not deck:
                deck = [kind for kind in kinds for _ in range(kind.weight)]
                caller.rng.shuffle(deck)
            kind = deck.pop()
            caller.kind = kind.name
            try:
                await kind.visit(caller)
            except Unanswered:
                await asyncio.sleep(_AFTER_FAULT_S)
            except (LookupError, TypeError, ValueError) as error:  # a body of another form than documented
                self.findings.fault("wrong answer", kind.name, repr(error))

    async def _watch(self, began_s: float, versions: PublishedVersions) -> None:
        """Look at the server twice a second."""
        while True:
            elapsed_s = time.monotonic() - began_s
            sample = look_at(self.subject.server.pid, elapsed_s)
            if sample is None:
                self.findings.fault("no answer", "server", "its process has ended")
                return
            self.samples.append(sample)
            self.subject.log.read_on()
            share = self.extent.share(elapsed_s, self.findings.num_requests, versions.done)
            faults = self.findings.faults.total() + self.subject.log.num_errors
            self.tell(Progress(min(share, 1.0), elapsed_s, self.findings.num_requests, faults, sample.resident_mb))
            if share >= 1:
                return
            await asyncio.sleep(_SAMPLE_EVERY_S)


async def open_figures(watcher: Caller) -> Counter[str]:
    """What is open now, of all models, this very request included."""
    watcher.kind = "metrics"
    page = (await watcher.reply(http_request("GET", "/metrics"))).body.decode("utf-8")
    found: Counter[str] = Counter()
    for sample in _OPEN.finditer(page):
        found[sample[1]] += int(float(sample[2]))
    return found


async def left_open(watcher: Caller, idle: Counter[str]) -> dict[str, float]:
    """What is open beyond what was open before the load, when it is nothing or has not become less for long."""
    give_up_s = time.monotonic() + _DRAIN_S
    left: dict[str, float] = {}
    with contextlib.suppress(Unanswered):
        while time.monotonic() < give_up_s:
            found = await open_figures(watcher)
            left = {name: found[name] - idle[name] for name in idle}
            if not any(left.values()):
                break
            await asyncio.sleep(_SAMPLE_EVERY_S)
    return left
