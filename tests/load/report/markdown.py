"""Writes RESULTS.md: the verdict, all tables, the method and the commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.load.measurement.ledger import Failed, Ledger
from tests.load.measurement.scenario import Results, Row, Scenario
from tests.load.targets.catalogue import Target

_MARK = {True: "yes", False: "no", None: ""}

_METHOD = """\
- Pinned: the server's whole process tree on one core, the client on another. "Both cores": both on both.
- Rounds are interleaved: every server once, then all again. Figures are medians over the rounds; wrong answers, errors
  and unanswered requests are added up over all rounds.
- Every answer is compared with the bundle's own answer to that one input alone. Peers run the very same graphs, with
  one thread, and are sent ids instead of words, so that none of them pays for looking words up or naming labels; the
  service is sent words and answers with labels and their probabilities. Nobody writes a log line for each request.
- Closed loop: each caller asks again as soon as it has its answer. Open loop: Poisson arrivals, latency counted from
  when a request should have been sent. Requests that are still waiting at the end show as "waiting".
- The time that other work took on the server's core is watched; a measurement with more than a tenth of a core of it is
  repeated, and marked `~` if no round was free of it.
- Sentences: 2,000, of log-normal length (mean 20 words, sigma 0.6, 1 to 120). Tagger: 50,000 words of 128, two
  bidirectional LSTM layers of 256, 18 labels. Character model: two LSTM layers of 512, 65 symbols; prompts of 2 to 4.
  Translator: GRU of 256 with additive attention, 8,000 words of 768 (which is also what the output layer reads), 20
  source tokens, 60 greedy steps.
- Weights are random and seeded, so agreement of int8 and bf16 with fp32 says little about trained models: labels that
  nobody has learned to tell apart lie close together, and one other token changes all that follow it.
- bf16 runs in an environment of its own, with onnxruntime's OpenVINO build; all else with the plain one.
"""


def report(scenarios: Sequence[Scenario], ledger: Ledger, machine: Mapping[str, str]) -> str:
    """Return the whole report as Markdown."""
    chosen = [scenario for scenario in scenarios if ledger.plans(scenario.name)]
    parts = ["# What was measured", verdict(chosen, ledger)]
    parts += [scenario_table(scenario, ledger) for scenario in chosen]
    parts += ["## How it was measured", _method(ledger, machine), "### Servers", _servers(chosen)]
    parts += ["## The command", "    make bench"]
    return "\n\n".join(parts) + "\n"


def verdict(scenarios: Iterable[Scenario], ledger: Ledger) -> str:
    """Return the rows that have a goal."""
    rows = [row for scenario in scenarios for row in scenario.rows(Results(ledger, scenario.name))]
    head = ["what", "measured", "beside", "ratio", "wanted", "reached"]
    return table(head, [_verdict_cells(row) for row in rows])


def scenario_table(scenario: Scenario, ledger: Ledger) -> str:
    """One line per plan, one column per case. Plans without a common case get separate tables."""
    tables = [_table_of(scenario, ledger, plans) for plans in _plans_by_table(scenario, ledger)]
    return "\n\n".join([f"## {scenario.title}", scenario.legend, *tables])


def _plans_by_table(scenario: Scenario, ledger: Ledger) -> list[list[str]]:
    tables: list[list[str]] = []
    for plan in ledger.plans(scenario.name):
        cases = set(ledger.cases(scenario.name, plan))
        found = (plans for plans in tables if cases & set(ledger.cases(scenario.name, plans[0])))
        plans = next(found, None)
        if plans is None:
            tables.append([plan])
        else:
            plans.append(plan)
    return tables


def _table_of(scenario: Scenario, ledger: Ledger, plans: Sequence[str]) -> str:
    cases = list(dict.fromkeys(case for plan in plans for case in ledger.cases(scenario.name, plan)))
    lines = [[plan, *(_cell(scenario, ledger, plan, case) for case in cases)] for plan in plans]
    return table(["", *cases], lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _cell(scenario: Scenario, ledger: Ledger, plan: str, case: str) -> str:
    if case not in ledger.cases(scenario.name, plan):
        return ""
    values = Results(ledger, scenario.name).cell(plan, case)
    return values.reason if isinstance(values, Failed) else scenario.show(values)


def _verdict_cells(row: Row) -> list[str]:
    return [row.what, row.measured, row.beside, row.ratio, row.wanted, _MARK[row.reached]]


def _method(ledger: Ledger, machine: Mapping[str, str]) -> str:
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    rounds = f"Rounds: {ledger.num_rounds}. Each load is measured for {ledger.window_s:g} s, after a time to warm up."
    return f"{facts}.\n\n{rounds}\n\n{_METHOD}".rstrip()


def _servers(scenarios: Iterable[Scenario]) -> str:
    plans = [plan for scenario in scenarios for plan in scenario.plans if plan.target]
    targets: dict[str, Target] = {plan.name: plan.target for plan in plans if plan.target}
    return table(["server", "how it was run"], [[name, target.about] for name, target in targets.items()])
