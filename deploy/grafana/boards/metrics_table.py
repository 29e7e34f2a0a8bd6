"""Last column of the table in deploy/metrics.md: panels, rules and alerts that use each metric."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from deploy.grafana.boards.board import EVENTS, Board

METRIC_NAME = re.compile(r"\b(?:unroll|process|python)_[a-z0-9_]+")
#: Suffixes of the series of a histogram. The `_total` of a counter is part of its name here.
HISTOGRAM_SUFFIX = re.compile(r"_(bucket|count|sum)$")
#: Row of the table: name, further columns, last column.
TABLE_ROW = re.compile(r"^\| `(?P<name>\w+)`(?P<middle>.*)\|[^|]*\|$")

Users = tuple[str, str]


def filled_in(text: str, boards: Sequence[Board], rule_files: Iterable[Path]) -> str:
    """Fill in the last column of every row of the document."""
    users = [*_panels(boards), *_rules(rule_files)]
    return "".join(_row(line, users) for line in text.splitlines(keepends=True))


def names_in(expression: str) -> set[str]:
    """Metrics that an expression reads; histograms by their declared name."""
    return {HISTOGRAM_SUFFIX.sub("", name) for name in METRIC_NAME.findall(expression)}


def _row(line: str, users: Sequence[Users]) -> str:
    row = TABLE_ROW.match(line.rstrip("\n"))
    if row is None:
        return line
    uses = sorted({user for user, expression in users if row["name"] in names_in(expression)}, key=_order)
    return f"| `{row['name']}`{row['middle']}| {'; '.join(uses) or 'for queries by hand'} |\n"


def _order(user: str) -> tuple[bool, str]:
    """Sort key: panels first, then alerts and rules."""
    return user.startswith(("alert ", "the ")), user


def _panels(boards: Sequence[Board]) -> Iterator[Users]:
    for board in boards:
        for panel in board.panels:
            yield from ((f"{board.name.capitalize()}: {panel.title}", query.expression) for query in panel.queries)
    yield from ((f"annotation {name}", expression) for name, (_, _, expression) in EVENTS.items())


def _rules(rule_files: Iterable[Path]) -> Iterator[Users]:
    for path in rule_files:
        groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in (rule for group in groups for rule in group["rules"]):
            yield (f"alert {rule['alert']}" if "alert" in rule else "the objectives"), rule["expr"]
