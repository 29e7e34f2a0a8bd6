"""Runs a load test: every model under every load, in rounds; two servers take turns within each round."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.cli.bench.comparison import paired_ratio
from service.cli.bench.display import LiveDisplay
from service.cli.bench.load.address import Address
from service.cli.bench.load.tally import Tally
from service.cli.bench.measurement import Extent, Load, measure
from service.cli.bench.result import Case
from service.cli.bench.workload import Options, Workload, names_of_models, workload_for
from service.errors import UnrollError

#: Files that may be open at once, for many connections.
_FILES = 8192


@dataclass(frozen=True)
class Plan:
    """What to measure: one server, or two that are compared; no models means all that answer."""

    addresses: Sequence[Address]
    models: Sequence[str]
    version: str | None
    loads: Sequence[Load]
    extent: Extent
    rounds: int
    options: Options


async def run(plan: Plan, cases: list[Case], display: LiveDisplay, say: Callable[[str], None]) -> None:
    """Measure; results are put into `cases` as they come, so that an interrupted run leaves what it has.

    Raises:
        UnrollError: a server does not answer, or a model refuses the requests.
    """
    _allow_many_files()
    models = list(plan.models) or await _common_models(plan.addresses)
    say(_announcement(plan, models))
    for model in models:
        workloads = [await _workload(plan, address, model, say) for address in plan.addresses]
        if any(workload is None for workload in workloads):
            continue
        made = [workload for workload in workloads if workload is not None]
        say(f"{model}: {made[0].about}, to {made[0].path}")
        for load in plan.loads:
            if await _run_case(plan, made, load, cases, display):
                return


async def _workload(plan: Plan, address: Address, model: str, say: Callable[[str], None]) -> Workload | None:
    """None where one of several models cannot be measured, which the user is told."""
    try:
        return await workload_for(address, model, plan.version, plan.options)
    except UnrollError as error:
        if len(plan.models) == 1:
            raise
        say(f"{model} is left out: {error}")
        return None


async def _common_models(addresses: Sequence[Address]) -> list[str]:
    names = [await names_of_models(address) for address in addresses]
    common = [name for name in names[0] if all(name in others for others in names[1:])]
    if not common:
        raise UnrollError(f"{' and '.join(address.url for address in addresses)} have no model in common")
    return common


async def _run_case(
    plan: Plan, workloads: Sequence[Workload], load: Load, cases: list[Case], display: LiveDisplay
) -> bool:
    """All rounds of one model and load; returns whether the user interrupted it."""
    group = [Case(url, made, load) for url, made in zip(_labels(plan), workloads, strict=True)]
    cases.extend(group)
    for number in range(plan.rounds):
        pairs = list(zip(group, plan.addresses, strict=True))
        # The other server begins in every second round, so that neither always follows a rest.
        for case, address in pairs if number % 2 == 0 else reversed(pairs):
            display.begin(_title(plan, case, number, group))
            tally = Tally(case.workload.payloads(address), case.workload.streams)
            case.rounds.append(await measure(tally, address, load, plan.extent, display.tell))
            if case.rounds[-1].is_interrupted:
                return True
    return False


def _labels(plan: Plan) -> list[str]:
    """The URLs; one that is given twice, to see the noise, is told apart."""
    urls = [address.url for address in plan.addresses]
    return [f"{url} again" if url in urls[:number] else url for number, url in enumerate(urls)]


def _title(plan: Plan, case: Case, number: int, group: Sequence[Case]) -> str:
    parts = [case.workload.model, case.load.name]
    parts += [case.url] if len(group) > 1 else []
    parts += [f"round {number + 1} of {plan.rounds}"] if plan.rounds > 1 else []
    if len(group) > 1 and number:
        first, second = group
        done = min(len(first.rounds), len(second.rounds))
        ratio = paired_ratio(first.values("rate")[:done], second.values("rate")[:done])
        parts += [f"ratio {ratio.shown()}"] if ratio else []
    return "  ".join(parts)


def _announcement(plan: Plan, models: Sequence[str]) -> str:
    num_cases = len(models) * len(plan.loads)
    parts = [f"{len(models)} model{'s' * (len(models) > 1)} x {len(plan.loads)} load{'s' * (len(plan.loads) > 1)}"]
    parts += [f"{plan.rounds} rounds"] if plan.rounds > 1 else []
    parts += ["2 servers in turn"] if len(plan.addresses) > 1 else []
    if plan.extent.seconds is not None:
        each_s = plan.extent.warm_s + plan.extent.seconds
        total_s = num_cases * plan.rounds * len(plan.addresses) * each_s
        parts += [f"about {total_s / 60:.1f} minutes" if total_s > 90 else f"about {total_s:.0f} s"]
    hint = "; --model chooses" if len(models) > 1 and not plan.models else ""
    return f"{', '.join(parts)}{hint}. Ctrl-C ends it with what was measured until then."


def _allow_many_files() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_to_end(plan: Plan, cases: list[Case], display: LiveDisplay, say: Callable[[str], None]) -> None:
    """`run` in an event loop of its own, uvloop's where there is one. A Ctrl-C between measurements ends it too."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        runner: Any = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with contextlib.suppress(KeyboardInterrupt), runner:
        runner.run(run(plan, cases, display, say))
