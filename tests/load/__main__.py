"""Benchmark the service, its peers and the bare runtime on this machine, and write RESULTS.md."""

from __future__ import annotations

import dataclasses
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markdown import Markdown

from service.errors import BundleError
from tests.load.abuse.display import table
from tests.load.abuse.run import ATTACKS, endure
from tests.load.beside_triton.display import triton_table
from tests.load.beside_triton.run import CONNECTIONS, CORPUS, FORMS, compare
from tests.load.beside_triton.run import Extent as TritonExtent
from tests.load.fair_share.run import FloodPlan, measure_fair_share
from tests.load.machine import facts
from tests.load.measurement.ledger import Ledger, ledger_file
from tests.load.measurement.run import run_scenarios
from tests.load.measurement.scenario import Options, Plan, Scenario
from tests.load.places import CACHE, LOGS, REPORT, ROOT
from tests.load.reloads.run import ReloadPlan, run_reloads
from tests.load.reloads.versions import REFUSED, write_versions
from tests.load.report.markdown import report, scenario_table, verdict
from tests.load.scenarios import SCENARIOS
from tests.load.soak.callers.known_answers import known_answers
from tests.load.soak.display import progress_shown, show
from tests.load.soak.models_folder import write_folders
from tests.load.soak.run import SETTINGS, Extent, Load, Subject, run_soak
from tests.load.soak.watch.server_log import ServerLog
from tests.load.targets import environments
from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import StartFailed
from tests.load.workers.display import workers_table
from tests.load.workers.run import WorkersPlan, measure_workers
from tests.load.workload.answers import build_corpora
from tests.load.workload.bundles import build_bundles

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()
#: Of a table that would not be readable in fewer.
_TABLE_COLUMNS = 150

QUICK = Options(rounds=1, seconds=2.0, warm_s=0.5, tries=1)

ScenarioOption = Annotated[
    list[str] | None,
    typer.Option("--scenario", "-s", help=f"Scenario to run, default all; repeatable: {', '.join(SCENARIOS)}."),
]
PlanOption = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help="Prefix of servers to measure, such as unroll, mosec, bare; repeatable."),
]
CaseOption = Annotated[
    list[str] | None, typer.Option("--case", "-c", help="Name of a case to measure, such as 'c = 64'; repeatable.")
]


@app.command()
def run(
    scenario: ScenarioOption = None,
    target: PlanOption = None,
    case: CaseOption = None,
    rounds: Annotated[int, typer.Option(min=1, max=20)] = Options.rounds,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="Duration of each measurement.")] = Options.seconds,
    quick: Annotated[bool, typer.Option("--quick", help="Run one short round without recording it.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard earlier measurements.")] = False,
) -> None:
    """Run the benchmark. Existing measurements of the same sources are kept, so an interrupted run continues."""
    chosen = _chosen(scenario, target, case)
    options = QUICK if quick else Options(rounds=rounds, seconds=seconds)
    _prepare_artefacts()
    file = None if quick else ledger_file()
    if fresh and file is not None:
        file.unlink(missing_ok=True)
    ledger = Ledger(file)
    run_scenarios(chosen, options, ledger)
    for each in chosen:
        console.print(Markdown(scenario_table(each, ledger)))
    console.print(Markdown(verdict(chosen, ledger)))
    if file is not None:
        _write_report(ledger)


@app.command()
def prepare() -> None:
    """Build bundles and requests, and install each peer into its own virtual environment."""
    _prepare_artefacts()
    for name in environments.names():
        console.print(f"installing {name} ... ", end="")
        console.print("done" if environments.install(name) else "failed; the report will say so")


@app.command("report")
def write_report() -> None:
    """Rewrite RESULTS.md from the recorded measurements."""
    _write_report(Ledger(ledger_file()))


@app.command("soak")
def soak_command(
    minutes: Annotated[float, typer.Option("--minutes", "-m", min=0.5, help="Duration of the load.")] = 60.0,
    models: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder of bundles to copy and test; without it tiny ones of each task."
        ),
    ] = None,
    callers: Annotated[int, typer.Option(min=1, max=200, help="Callers at the same time.")] = Load.num_callers,
    seed: Annotated[int, typer.Option(help="Of the order of requests.")] = Load.seed,
) -> None:
    """Soak test: mixed load on a server of its own, with every answer compared.

    Predictions, texts, streams read and abandoned, sessions, carried states,
    callers that leave, bad requests, and a model version that comes and goes.

    Fails on a wrong answer, a status of 500 or more, an error in the log,
    requests left open, or memory that grows by more than 5 % after the first
    fifth of the time.

    Example, five minutes with the shipped models:

      python -m tests.load soak --minutes 5 --models models
    """
    log = LOGS / "soak.log"
    with _sentences(), tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        with console.status("bundles and their known answers"):
            folders = write_folders(Path(scratch), models)
            known = known_answers(*folders, seed)
        with own_server(folders.models, log, SETTINGS) as server, progress_shown(console) as tell:
            subject = Subject(server, folders, known, ServerLog(log))
            soaked = run_soak(subject, Extent(60 * minutes), Load(callers, seed=seed), tell)
    show(console, soaked)
    console.print(f"log of the server: {log}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if soaked.holds else 1)


@app.command("reloads")
def reloads_command(
    count: Annotated[int, typer.Option("--count", "-n", min=10, help="Changes of the models.")] = 1000,
    callers: Annotated[int, typer.Option(min=1, max=200, help="Callers at the same time.")] = 6,
) -> None:
    """Reloads under load: versions come, go, get names, weights and shadows.

    Fails on an answer of a version that should not answer, an answer that is
    not that of its version, a request that is not answered, or memory that
    grows by more than 5 % after the first fifth.

    Example:

      python -m tests.load reloads --count 1000
    """
    log = LOGS / "reloads.log"
    with _sentences(), tempfile.TemporaryDirectory(prefix="reloads-") as scratch:
        folders = write_versions(Path(scratch))
        with own_server(folders.models, log, SETTINGS) as server, progress_shown(console) as tell:
            soaked = run_reloads(server, folders, ServerLog(log, REFUSED), ReloadPlan(count, callers), tell)
    show(console, soaked)
    raise typer.Exit(0 if soaked.holds else 1)


@app.command("abuse")
def abuse_command(
    attack: Annotated[
        list[str] | None, typer.Option("--attack", "-a", help=f"Default all; repeatable: {', '.join(ATTACKS)}.")
    ] = None,
    models: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of bundles.")] = ROOT / "models",
    memory: Annotated[int, typer.Option(min=256, help="Memory limit of the server, in MB.")] = 2048,
) -> None:
    """Callers that want to stop the service, each on a new server with a memory limit.

    Says for each how much memory the server took, and how long a liveness
    check and a small request of somebody else waited at most. The limit is a
    control group, so it needs root. Fails if a server is killed.

    Example, two of the attacks:

      python -m tests.load abuse -a pipelining -a "cost of refusing"
    """
    unknown = set(attack or ()) - ATTACKS.keys()
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(ATTACKS)}")
    outcomes = []
    for name in attack or ATTACKS:
        with _sentences(), console.status(name):
            outcomes.append(endure(name, models, LOGS / "abuse.log", memory * 1024 * 1024))
        console.print(f"{name}: {outcomes[-1].peak_mb:,.0f} MB at the peak", highlight=False)
    console.print(table(outcomes, memory))
    raise typer.Exit(any(outcome.after_mb is None for outcome in outcomes))


@app.command("fair-share")
def fair_share_command(
    models: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of bundles.")] = ROOT / "models",
    connections: Annotated[int, typer.Option(min=1, max=200, help="Of the flood.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of each part.")] = 8.0,
) -> None:
    """Fair share between API keys: one caller's single requests beside a flood of another's.

    Says how long they take alone, beside the flood of another key and of the
    same key, and how much more a flood of twice the weight gets.
    """
    with _sentences(), tempfile.TemporaryDirectory(prefix="fair-share-") as scratch, console.status("four parts"):
        plan = FloodPlan(num_connections=connections, seconds=seconds)
        measured = measure_fair_share(models, Path(scratch), plan)
    for name, latencies in measured.latencies.items():
        median, high = (1000 * value for value in np.quantile(latencies, [0.5, 0.99]))
        console.print(f"{name}: {len(latencies)} requests, p50 {median:.1f} ms, p99 {high:.1f} ms", highlight=False)
    console.print(f"weight 2 beside weight 1: {measured.heavy_share:.2f} times as many requests", highlight=False)


@app.command("workers")
def workers_command(
    models: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of bundles.")] = ROOT / "models",
    model: Annotated[str, typer.Option(help="A classifier or tagger in it.")] = "intent-en",
    inputs: Annotated[int, typer.Option(min=1, max=128, help="Texts in each request.")] = 1,
    slices: Annotated[int, typer.Option(min=1, help="Short measurements of each kind.")] = 20,
) -> None:
    """CPU time of a request with two workers on two cores beside one on one, and the next limits for more of them.

    Example: python -m tests.load workers --inputs 16
    """
    with _sentences(), tempfile.TemporaryDirectory(prefix="workers-") as scratch, console.status("in turns"):
        texts = [[f"play some jazz at {hour} tomorrow"] * inputs for hour in range(1, 9)]
        measured = measure_workers(models, Path(scratch), WorkersPlan(model, texts, slices))
    console.print(measured, f"two workers answer {measured.scale:.2f} times as much", highlight=False)
    console.print(workers_table(measured))


@contextmanager
def _sentences() -> Iterator[None]:
    """One sentence instead of a traceback where a bundle or the server is at fault."""
    try:
        yield
    except (BundleError, StartFailed) as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from error


@app.command("triton")
def triton_command(
    rounds: Annotated[int, typer.Option(min=1, max=50)] = TritonExtent.rounds,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="Of each measurement.")] = TritonExtent.seconds,
    connections: Annotated[list[int] | None, typer.Option("-c", min=1, help="Callers; default 1, 16, 64.")] = None,
    protocol: Annotated[str, typer.Option(help="Of tritonclient: http or grpc.")] = TritonExtent.protocol,
    form: Annotated[
        list[str] | None, typer.Option("--form", "-f", help="Part of the name of a form of Triton.")
    ] = None,
) -> None:
    """The service beside Triton's own server: the same model and client, sentences of 3 to 128 words.

    Installs nvidia-pytriton, which brings that server, into an environment of its own.

    Example, the best form of Triton at 64 callers:

      python -m tests.load triton -c 64 -f "batches of 8" --rounds 5
    """
    if protocol not in ("http", "grpc"):
        raise typer.BadParameter("--protocol is http or grpc")
    with console.status(f"bundles, requests and the environment of Triton, in {CACHE}"):
        build_bundles()
        build_corpora([CORPUS])
        environments.install("pytriton")
    forms = [each for each in FORMS if not form or any(part in each.name for part in form)]
    with _sentences():
        rows = compare(
            forms, connections or CONNECTIONS, TritonExtent(rounds, seconds, protocol=protocol), console.print
        )
    Console(width=max(console.width, _TABLE_COLUMNS)).print(triton_table(rows))


def _prepare_artefacts() -> None:
    with console.status(f"bundles and requests, in {CACHE}"):
        build_bundles()
        build_corpora()


def _write_report(ledger: Ledger) -> None:
    REPORT.write_text(report(list(SCENARIOS.values()), ledger, facts()), encoding="utf-8")
    console.print(f"written: {REPORT}")


def _chosen(names: list[str] | None, targets: list[str] | None, cases: list[str] | None) -> list[Scenario]:
    unknown = set(names or ()) - SCENARIOS.keys()
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(SCENARIOS)}")
    chosen = [SCENARIOS[name] for name in names or SCENARIOS]
    return [dataclasses.replace(each, plans=_narrowed(each.plans, targets, cases)) for each in chosen]


def _narrowed(plans: tuple[Plan, ...], targets: list[str] | None, cases: list[str] | None) -> tuple[Plan, ...]:
    kept = [plan for plan in plans if not targets or plan.name.lower().startswith(tuple(map(str.lower, targets)))]
    narrowed = [
        dataclasses.replace(plan, cases=tuple(each for each in plan.cases if not cases or each.name in cases))
        for plan in kept
    ]
    return tuple(plan for plan in narrowed if plan.cases)


if __name__ == "__main__":
    # Stops the server process on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    app()
