"""Step models over HTTP: a character language model, texts of mixed lengths, and translation with attention."""

from __future__ import annotations

from tests.load.measurement.ledger import Values
from tests.load.measurement.measure import bare, closed_loop
from tests.load.measurement.scenario import BARE, Plan, Results, Row, Scenario, at_least, for_comparison, within
from tests.load.measurement.scenario import number as shown
from tests.load.scenarios.tagger import faults
from tests.load.targets.catalogue import NAIVE, STATIC, service

ROWS = 32
BUSY = f"c = {ROWS}"
_STEPS = (1, 8, ROWS)
#: More callers than rows, so that a free row can be filled immediately.
_QUEUED = 2 * ROWS


def show_tokens(values: Values) -> str:
    """Tokens per second, and the latency of whole answers."""
    if values.get("p50_ms") is None:
        return f"{shown(values['tokens_per_s'])} tokens/s"
    latency = f"{shown(values['p50_ms'])} / {shown(values['p99_ms'])} ms"
    return f"{shown(values['tokens_per_s'])} tokens/s · {latency}{faults(values)}"


_LEGEND = "Tokens a second · p50 / p99 of whole answers. Bare loops read prompts or sources and step, without a server."


def _step_model(name: str, title: str, corpus: str, kind: str, factor: float) -> Scenario:
    """A step model with 32 callers, compared with one loop per request and with the loop without a server."""
    loops = tuple(bare(f"{rows} rows", kind, rows=rows) for rows in _STEPS)
    plans = (
        Plan(service(), corpus, (closed_loop(1), closed_loop(ROWS))),
        Plan(NAIVE, corpus, (closed_loop(1), closed_loop(ROWS))),
        Plan(None, corpus, loops),
    )

    def rows(results: Results) -> list[Row]:
        rate = results.value("unroll", BUSY, "tokens_per_s")
        limit, naive = (
            results.value(plan, case, "tokens_per_s") for plan, case in ((BARE, f"{ROWS} rows"), (NAIVE.name, BUSY))
        )
        return [
            at_least(f"{kind}, 32 callers", rate, "tokens/s", "bare loop of 32 rows", limit, 0.85),
            at_least(f"{kind}, 32 callers", rate, "tokens/s", "naive loop for each request", naive, factor),
            for_comparison(f"{kind}, bare loop of 32 rows", limit, "tokens/s", "naive loop for each request", naive),
        ]

    return Scenario(name, title, plans, rows, show_tokens, _LEGEND)


GENERATION = _step_model(
    "generation", "Character model over HTTP, 60 tokens each, one core", "prompts", "generation", 9
)
TRANSLATION = _step_model(
    "translation", "GRU with attention over HTTP, 60 tokens each, greedy, one core", "sources", "translation", 8
)

_MIXED = (
    Plan(service(max_live_streams=str(ROWS)), "prompts-mixed", (closed_loop(_QUEUED),)),
    Plan(STATIC, "prompts-mixed", (closed_loop(_QUEUED),)),
)


def _mixed_rows(results: Results) -> list[Row]:
    case = f"c = {_QUEUED}"
    rate, static = (results.value(plan, case, "tokens_per_s") for plan in ("unroll", STATIC.name))
    rows = results.value("unroll", case, "mean_rows")
    occupancy = None if rows is None else 100 * rows / ROWS
    return [
        at_least("10 to 500 tokens, 64 callers, 32 rows", rate, "tokens/s", "static batches of 32", static, 2.5),
        within("10 to 500 tokens: rows in use", occupancy, "%", "mean over steps", 90, is_upper=False),
    ]


MIXED = Scenario(
    "mixed",
    "Character model, 10 to 500 tokens each, one core",
    _MIXED,
    _mixed_rows,
    show_tokens,
    "Tokens a second · p50 / p99 of whole answers. Lengths are log-uniform; a static batch runs to its longest.",
)
