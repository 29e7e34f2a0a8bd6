"""The table of attacks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tests.load.abuse.probes import Latency
from tests.load.abuse.run import Outcome


def table(outcomes: Sequence[Outcome], limit_mb: int) -> Table:
    """One row for each attack: memory in MB, worst latencies in ms, and what the attacker saw."""
    is_limited = all(outcome.is_limited for outcome in outcomes)
    title = f"memory limit {limit_mb:,} MB" if is_limited else "no memory limit: groups cannot be made here"
    found = Table("attack", title=title)
    for heading in ("MB before", "peak", "after", "live, ms", "small request, ms"):
        found.add_column(heading, justify="right")
    found.add_column("seen by the attacker")
    for outcome in outcomes:
        found.add_row(*_row(outcome))
    return found


def _row(outcome: Outcome) -> list[str]:
    after = "[bold red]KILLED[/]" if outcome.after_mb is None else f"{outcome.after_mb:,.0f}"
    seen = ", ".join(f"{number:,} {what}" for what, number in outcome.happened.items())
    memory = [f"{outcome.before_mb:,.0f}", f"{outcome.peak_mb:,.0f}", after]
    return [outcome.attack, *memory, _worst(outcome.live), _worst(outcome.small), seen]


def _worst(latency: Latency) -> str:
    failed = f" [red]({latency.failed:,} of {latency.answered + latency.failed:,} failed)[/]" if latency.failed else ""
    return f"{latency.worst_s * 1000:,.0f}{failed}"
