"""Reloads under load: models change by every means there is while callers ask, and each answer is compared.

A caller knows which versions may answer: those that may at one moment between its question and the answer.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.tasks.recorded import TOLERANCE, differences
from tests.load.reloads.versions import (
    BROKEN,
    CLASSIFIER,
    FIRST,
    GENERATOR,
    MAX_NEW_TOKENS,
    PROMPTS,
    SECOND,
    TEXTS,
    Known,
    Versions,
    known_answers,
    publish,
    withdraw,
)
from tests.load.soak.callers.caller import Caller, Unanswered, encoded, events_of, http_request
from tests.load.soak.callers.findings import Findings
from tests.load.soak.callers.known_answers import KnownAnswers
from tests.load.soak.run import Progress, Tell, left_open, open_figures
from tests.load.soak.verdict import Soaked
from tests.load.soak.watch.resources import Sample, look_at
from tests.load.soak.watch.server_log import ServerLog
from tests.load.targets.server_process import ServerProcess

_SAMPLE_EVERY_S = 0.5
_WARM_UP_SHARE = 0.2
KINDS = ("predictions", "predictions by alias", "streams", "changes")


class ReloadPlan(NamedTuple):
    """How many changes there are, and how many callers."""

    num_changes: int = 1000
    num_callers: int = 6


class Answering:
    """Which versions may answer requests without a version, now and since an earlier moment."""

    def __init__(self) -> None:
        self._history = [frozenset({FIRST})]

    @property
    def moment(self) -> int:
        return len(self._history) - 1

    def since(self, moment: int) -> frozenset[str]:
        """Every version that might answer at one moment since then."""
        return frozenset().union(*self._history[moment:])

    async def change(self, versions: set[str], act: Awaitable[None]) -> None:
        """From the beginning of a change to its end, both may answer; after it, these only."""
        self._history.append(self._history[-1] | versions)
        await act
        self._history.append(frozenset(versions))


@dataclass
class ReloadTest:
    """One run: the changes, the callers, and what they found."""

    server: ServerProcess
    versions: Versions
    known: Known
    log: ServerLog
    plan: ReloadPlan
    tell: Tell
    findings: Findings = field(default_factory=Findings)
    samples: list[Sample] = field(default_factory=list)
    answering: dict[str, Answering] = field(default_factory=lambda: {CLASSIFIER: Answering(), GENERATOR: Answering()})
    num_changes: int = 0
    is_over: bool = False
    began_s: float = field(default_factory=time.monotonic)

    async def run(self) -> Soaked:
        """All changes, while callers ask."""
        watcher = self._caller(0, "metrics")
        idle = await open_figures(watcher)
        callers = [self._caller(number, "") for number in range(1, self.plan.num_callers + 1)]
        changer = self._caller(0, "changes")
        asking = [asyncio.create_task(self._ask_on(caller)) for caller in callers]
        watching = asyncio.create_task(self._watch())
        for change in itertools.islice(itertools.cycle(self._changes(changer)), self.plan.num_changes):
            await change()
            self.num_changes += 1
        seconds = time.monotonic() - self.began_s
        self.is_over = True  # and no cancellation: `wait_for` may swallow it
        await asyncio.gather(*asking, watching)
        for caller in (*callers, changer):
            caller.close()
        left = await left_open(watcher, idle)
        watcher.close()
        self.log.read_on()
        return Soaked(self.findings, self.log, KINDS, self.samples, left, seconds, seconds * _WARM_UP_SHARE)

    def _caller(self, seed: int, kind: str) -> Caller:
        caller = Caller(self.server.port, KnownAnswers(), self.findings, seed)
        caller.kind = kind
        return caller

    def _changes(self, changer: Caller) -> Iterator[Callable[[], Awaitable[None]]]:
        """One round of changes, of both models in turn. After it everything is as before."""
        rounds = [list(self._changes_of(name, changer)) for name in self.answering]
        for several in zip(*rounds, strict=True):
            yield from several

    def _changes_of(self, name: str, changer: Caller) -> Iterator[Callable[[], Awaitable[None]]]:
        answering = self.answering[name]

        def change(versions: set[str], act: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
            return lambda: answering.change(versions, act())

        def rollout(**values: Any) -> Callable[[], Awaitable[None]]:
            return lambda: self._post(changer, f"/models/{name}/rollout", values)

        names = {"stable": FIRST, "canary": SECOND}
        yield change({SECOND}, lambda: self._publish(changer, name))
        yield change({FIRST}, rollout(aliases=names, traffic={"stable": 1}))
        yield change({FIRST, SECOND}, rollout(traffic={"stable": 50, "canary": 50}))
        yield change({FIRST}, rollout(traffic={"stable": 1}, shadow={"to": "canary", "share": 0.2}))
        yield change({FIRST}, lambda: self._post(changer, f"/models/{name}/unload", {"version": SECOND}))
        yield change({FIRST}, lambda: self._post(changer, f"/models/{name}/load", {"version": SECOND}))
        yield change({SECOND}, rollout(traffic={"canary": 1}, shadow=None))
        yield change({SECOND}, lambda: self._publish_broken(changer, name))
        yield change({SECOND}, rollout(aliases=dict.fromkeys(names), traffic=None))
        yield change({FIRST}, lambda: self._withdraw(changer, name))

    async def _publish(self, changer: Caller, name: str) -> None:
        await asyncio.to_thread(publish, self.versions, name, SECOND)
        await self._reload(changer, "ok")

    async def _withdraw(self, changer: Caller, name: str) -> None:
        await asyncio.to_thread(withdraw, self.versions, name, SECOND)
        await self._reload(changer, "ok")

    async def _publish_broken(self, changer: Caller, name: str) -> None:
        """A version that cannot be used is refused, replaces nothing, and is taken away again."""
        await asyncio.to_thread(publish, self.versions, name, BROKEN)
        await self._reload(changer, "failed")
        await asyncio.to_thread(withdraw, self.versions, name, BROKEN)
        await self._reload(changer, "ok")

    async def _reload(self, changer: Caller, outcome: str) -> None:
        found = await changer.ask("/reload", {})
        changer.expect([] if found["outcome"] == outcome else [f"{found} instead of {outcome}"])

    async def _post(self, changer: Caller, path: str, body: Any) -> None:
        await changer.ask(path, body)

    async def _ask_on(self, caller: Caller) -> None:
        """One question after another, until it is over."""
        while not self.is_over:
            try:
                await caller.rng.choice((self._predict, self._predict, self._predict_stable, self._stream))(caller)
            except Unanswered:
                await asyncio.sleep(_SAMPLE_EVERY_S)

    async def _predict(self, caller: Caller) -> None:
        """Without a version."""
        caller.kind, moment, text = "predictions", self.answering[CLASSIFIER].moment, caller.rng.choice(TEXTS)
        found = await caller.ask("/predict", {"model": CLASSIFIER, "inputs": text})
        self._compare(caller, found, text, self.answering[CLASSIFIER].since(moment))

    async def _predict_stable(self, caller: Caller) -> None:
        """By a version that never changes."""
        caller.kind, text = "predictions by alias", caller.rng.choice(TEXTS)
        found = await caller.ask("/predict", {"model": CLASSIFIER, "version": FIRST, "inputs": text})
        self._compare(caller, found, text, frozenset({FIRST}))

    def _compare(self, caller: Caller, found: Any, text: str, allowed: frozenset[str]) -> None:
        version = found["version"]
        if version not in allowed:
            caller.expect([f"version {version} answered; allowed: {', '.join(sorted(allowed))}"])
        else:
            caller.expect(differences(self.known.labels[version][text], found["predictions"][0], TOLERANCE["fp32"]))

    async def _stream(self, caller: Caller) -> None:
        """A text to its end, which must be that of one version alone."""
        caller.kind, moment, prompt = "streams", self.answering[GENERATOR].moment, caller.rng.choice(PROMPTS)
        body = {"model": GENERATOR, "inputs": prompt, "parameters": {"max_new_tokens": MAX_NEW_TOKENS}}
        reply = await caller.reply(http_request("POST", "/generate_stream", encoded(body)))
        if reply.status != 200:
            caller.json_of(reply, 200)
        text = events_of(reply.body)[-1].get("generated_text")
        allowed = {self.known.texts[version][prompt] for version in self.answering[GENERATOR].since(moment)}
        caller.expect([] if text in allowed else [f"{text!r} is the text of no version that may answer"])

    async def _watch(self) -> None:
        """Look at the server twice a second."""
        while not self.is_over and (sample := look_at(self.server.pid, time.monotonic() - self.began_s)) is not None:
            self.samples.append(sample)
            self.log.read_on()
            share = self.num_changes / self.plan.num_changes
            faults = self.findings.faults.total()
            self.tell(Progress(share, sample.at_s, self.findings.num_requests, faults, sample.resident_mb))
            await asyncio.sleep(_SAMPLE_EVERY_S)


def run_reloads(server: ServerProcess, versions: Versions, log: ServerLog, plan: ReloadPlan, tell: Tell) -> Soaked:
    """Change the models of a server that is ready, and return what its callers found."""
    known = known_answers(versions)

    async def run() -> Soaked:
        return await ReloadTest(server, versions, known, log, plan, tell).run()

    return asyncio.run(run())
