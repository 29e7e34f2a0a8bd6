"""What a load test shows: a live line while it runs, then tables and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.cli.bench.comparison import Ratio
from service.cli.bench.load.open_loop import MAX_CONNECTIONS
from service.cli.bench.load.tally import percentiles
from service.cli.bench.measurement import Look
from service.cli.bench.result import COMPARED, Case, Comparison

#: CPU time of this process by second from which the client may be what limits a closed loop.
BUSY_CORES = 0.85
#: How late requests of an open loop may be sent, as a share of the median latency.
_LATE_SHARE = 0.1
_BLOCKS = " ▁▂▃▄▅▆▇█"
_NUM_RATES = 40
_FAULTS = ("refused", "errors", "unanswered")


class LiveDisplay:
    """One measurement while it runs: rate, percentiles of the last half second, in flight, errors."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._title = ""
        self._rates: list[float] = []

    def begin(self, title: str) -> None:
        """Name the measurement that begins."""
        self._title, self._rates = title, []

    def tell(self, look: Look) -> None:
        """Show the newest look."""
        if self._live is None:
            return
        self._rates = [*self._rates, len(look.recent_s) / look.interval_s][-_NUM_RATES:]
        self._live.update(self._rendered(look), refresh=True)

    def _rendered(self, look: Look) -> RenderableType:
        p50, p90, p99 = percentiles(look.recent_s, (0.5, 0.9, 0.99))
        tokens = f"  {number(look.recent_tokens / look.interval_s)} tokens/s" if look.recent_tokens else ""
        phase = "" if look.is_warm else "  (warming up)"
        faults = f"  refused {look.refused:,}" if look.refused else ""
        faults += f"  errors {look.errors:,}" if look.errors else ""
        return Group(
            Text(f"{self._title}  {look.elapsed_s:.0f} s{phase}", style="bold"),
            Text(f"  {number(self._rates[-1])}/s{tokens}  {_bars(self._rates)}"),
            Text(f"  p50 {ms(p50)}  p90 {ms(p90)}  p99 {ms(p99)} ms  in flight {look.in_flight:,}"),
            Text(f"  answered {look.answered:,}{faults}", style="red" if faults else ""),
        )


@contextmanager
def live_display(console: Console) -> Iterator[LiveDisplay]:
    """A live display on a terminal; one that shows nothing elsewhere."""
    if not console.is_terminal:
        yield LiveDisplay(None)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield LiveDisplay(live)


def _bars(rates: Sequence[float]) -> str:
    highest = max(rates) or 1.0
    return "".join(_BLOCKS[round((len(_BLOCKS) - 1) * rate / highest)] for rate in rates)


def number(value: float | None) -> str:
    """Three significant digits: 1,234 · 56.7 · 0.123."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def ms(seconds: float | None) -> str:
    """Seconds as milliseconds."""
    return number(None if seconds is None else seconds * 1000)


def results_table(cases: Sequence[Case]) -> Table:
    """One line for each case. Columns that no case needs are left out."""
    rows = [(case, case.total().figures()) for case in cases if case.rounds]
    streams = any(case.workload.streams for case, _ in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", *_server_heading(cases), "load"):
        table.add_column(heading, no_wrap=True)
    headings = ["answers/s", "p50 ms", "p90 ms", "p99 ms", "max ms"]
    headings += ["tokens/s", "first token p50", "p99 ms", "between tokens p50", "p99 ms"] if streams else []
    faults = [name for name in _FAULTS if any(found[name] for _, found in rows)]
    for heading in [*headings, *faults, "batch"]:
        table.add_column(heading, justify="right")
    for case, found in rows:
        server = [case.url] if _server_heading(cases) else []
        table.add_row(case.workload.model, *server, case.load.name, *_cells(case, found, streams, faults))
    return table


def _server_heading(cases: Sequence[Case]) -> list[str]:
    return ["server"] if len({case.url for case in cases}) > 1 else []


def _cells(case: Case, found: dict[str, Any], streams: bool, faults: Sequence[str]) -> list[str]:
    rate = found.get("goodput", found["rate"])
    cells = [number(rate), *(number(found[f"{name}_ms"]) for name in ("p50", "p90", "p99", "max"))]
    if streams:
        names = ("time_to_first_token_p50", "time_to_first_token_p99", "between_tokens_p50", "between_tokens_p99")
        known = case.workload.streams
        cells += [number(found["tokens_per_s"]) if known else ""]
        cells += [number(found[f"{name}_ms"]) if known else "" for name in names]
    counts = [f"{found[name]:,}" if found[name] else "" for name in faults]
    return [*cells, *counts, number(found["mean_rows"]) if "mean_rows" in found else ""]


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """Ratios of the second to the first, with 95 % intervals; what differs for sure is bold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "load"):
        table.add_column(heading, no_wrap=True)
    for heading in COMPARED.values():
        table.add_column(f"{heading} ratio (95 %)")
    for each in comparisons:
        table.add_row(each.model, each.load, *(_ratio_cell(each.ratios.get(name)) for name in COMPARED))
    return table


def _ratio_cell(ratio: Ratio | None) -> Text:
    if ratio is None:
        return Text("-")
    return Text(ratio.shown(), style="bold" if ratio.is_significant else "")


def warnings(cases: Sequence[Case]) -> list[str]:
    """What a reader of the figures must know: a client at its limit, errors by kind, an interrupted run."""
    found = []
    for case in cases:
        if case.rounds:
            where = f"{case.workload.model}, {case.load.name}{f', {case.url}' if _server_heading(cases) else ''}"
            found += [f"{where}: {remark}" for remark in _remarks(case)]
    return found


def _remarks(case: Case) -> Iterator[str]:
    total = case.total()
    figures = total.figures()
    if case.load.rate is None and total.client_cores >= BUSY_CORES:
        yield (
            f"this client used {total.client_cores:.2f} of a core, so the server may take more than shown: run "
            f"several clients, or measure from another machine"
        )
    late_ms, p50_ms = figures.get("late_p99_ms"), figures["p50_ms"]
    if late_ms and p50_ms and late_ms > max(2.0, _LATE_SHARE * p50_ms):
        limit = f"; all {MAX_CONNECTIONS:,} connections waited" if figures["connections"] >= MAX_CONNECTIONS else ""
        yield f"requests were sent up to {number(late_ms)} ms late (p99), which counts as latency{limit}"
    for kind, count in figures["error_kinds"].items():
        said = total.tally.samples.get(kind)
        yield f"{count:,} x {kind}{f': {said}' if said else ''}"
    if figures["refused"]:
        said = next((total.tally.samples[kind] for kind in ("HTTP 429", "HTTP 503") if kind in total.tally.samples), "")
        yield f"{figures['refused']:,} requests were refused{f': {said}' if said else ''}"
    if figures["unanswered"]:
        waited_s = figures["longest_wait_ms"] / 1000
        yield f"{figures['unanswered']:,} requests had no answer at the end; the oldest waited {waited_s:.1f} s"
    if not figures["answered"] and not figures["errors"] and not figures["refused"]:
        yield "no answer fell into the measured time: give a longer --duration"
    if total.is_interrupted:
        yield f"interrupted after {total.seconds:.1f} s"
