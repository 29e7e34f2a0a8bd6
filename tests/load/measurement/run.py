"""Runs scenarios in interleaved rounds: in each round every plan of every scenario runs once."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.load.measurement.ledger import Ledger, Place, Values
from tests.load.measurement.scenario import Case, Options, Plan, Results, Scenario, Subject
from tests.load.targets.catalogue import start
from tests.load.targets.server_process import ServerProcess, StartFailed

_FAULTS = (StartFailed, OSError, RuntimeError, subprocess.TimeoutExpired)


def run_scenarios(scenarios: Sequence[Scenario], options: Options, ledger: Ledger) -> None:
    """Measure what the ledger lacks. A target that cannot be started is recorded as failed, and the run continues."""
    total = options.rounds * sum(len(plan.cases) for scenario in scenarios for plan in scenario.plans)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=total)
        for number in range(options.rounds):
            for scenario in scenarios:
                results = Results(ledger, scenario.name)
                for plan in scenario.plans:
                    run = _PlanRun(plan, number, options, results, progress)
                    progress.update(task, description=f"round {number + 1}  {scenario.name}  {plan.name}")
                    run.measure()
                    progress.advance(task, len(plan.cases))


class _PlanRun:
    """One plan in one round."""

    def __init__(self, plan: Plan, number: int, options: Options, results: Results, progress: Progress) -> None:
        self._plan, self._number, self._options = plan, number, options
        self._results, self._progress = results, progress

    def measure(self) -> None:
        """Start the target, measure every missing case, stop the target."""
        ledger = self._results.ledger
        missing = [case for case in self._plan.cases if not ledger.has(self._place(case.name), self._number)]
        if not missing:
            return
        process: ServerProcess | None = None
        try:
            if self._plan.target is not None:
                process = start(self._plan.target, self._plan.corpus, self._plan.setting)
        except _FAULTS as error:
            for case in missing:
                self._note(case.name, {"failed": f"not started: {error}"})
            return
        try:
            for case in missing:
                subject = Subject(self._plan, self._options, self._results, process)
                self._note(case.name, _measured(case, subject))
        finally:
            if process is not None:
                process.stop()

    def _place(self, case: str) -> Place:
        return Place(self._results.scenario, self._plan.name, case)

    def _note(self, case: str, values: Values) -> None:
        self._results.ledger.add(self._place(case), self._number, values)
        shown = values.get("failed") or ", ".join(_figures(values))
        self._progress.console.print(
            f"{self._results.scenario} · {self._plan.name} · {case}: {shown}", highlight=False, soft_wrap=True
        )


def _measured(case: Case, subject: Subject) -> Values:
    try:
        return case.measure(subject)
    except _FAULTS as error:
        return {"failed": str(error)}


_SHOWN = ("rate", "tokens_per_s", "p50_ms", "p99_ms", "refused", "errors", "wrong", "padded_share", "foreign_cores")


def _figures(values: Values) -> list[str]:
    """Format the figures of a progress line."""
    known = [(name, values[name]) for name in _SHOWN if values.get(name)]
    return [f"{name} {value:,.4g}" for name, value in known]
