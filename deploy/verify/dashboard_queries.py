"""Queries of Grafana dashboards, prepared for Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Panels below a row with this word in its title have data only with a GPU.
GPU_ROW = re.compile(r"\bGPU", re.IGNORECASE)

#: The name of a query says what it needs to have data.
_NEEDS = re.compile(r" needs (.+)$")
_ALERT = "a firing alert"
#: What the stack that is tested does not have.
_ABSENT = frozenset({"API keys", "a limit of memory", "a split of traffic", "shadow traffic"})

#: Values of Grafana's own variables, for a range of a few minutes.
_INTERVALS = {
    "__rate_interval": "30s",
    "__interval": "10s",
    "__range": "5m",
    "__rate_interval_ms": "30000",
    "__interval_ms": "10000",
    "__range_s": "300",
    "__range_ms": "300000",
}
_VARIABLE = r"(?:\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\])"
#: Variable in a label matcher, such as `model=~"$model"`; replaced by any value.
_MATCHER = re.compile(r'(?<!!)=~?\s*"' + _VARIABLE + r'"')
_ANY_VARIABLE = re.compile(_VARIABLE)
#: Offset of comparisons with the day before; shortened, since the stack is only minutes old.
_LONG_OFFSET = re.compile(r"\boffset\s+\d+[hdw]")
_SHORT_OFFSET = "offset 10s"
_LABEL_VALUES = re.compile(r"^label_values\((?:(?P<metric>.+),\s*)?(?P<label>\w+)\s*\)$")


@dataclass(frozen=True)
class Query:
    """Expression with its location."""

    dashboard: str
    panel: str
    expression: str
    needs_gpu: bool = False
    needs_alert: bool = False
    needs_absent: bool = False

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel}: {self.expression}"


def read_dashboards(folder: Path) -> list[Query]:
    """The queries of every dashboard below `folder`."""
    return [
        query for path in sorted(folder.rglob("*.json")) for query in queries_of(json.loads(path.read_text("utf-8")))
    ]


def queries_of(dashboard: dict[str, Any]) -> Iterator[Query]:
    """Of panels, annotations and variables. Also those whose name says that they need failures, a reload and the like:
    all of that happens here, so that they give data too; an alert fires at the end only."""
    title = str(dashboard.get("title", ""))
    for panel, row in panels_of(dashboard):
        needs_gpu = bool(GPU_ROW.search(row))
        for target in panel.get("targets", ()):
            if target.get("expr"):
                said = _NEEDS.search(str(target.get("refId", "")))
                needs = said[1] if said else ""
                written = without_variables(target["expr"])
                yield Query(title, str(panel.get("title", "")), written, needs_gpu, needs == _ALERT, needs in _ABSENT)
    for annotation in dashboard.get("annotations", {}).get("list", ()):
        expression = annotation.get("expr") or annotation.get("target", {}).get("expr")
        if expression:
            yield Query(title, f"annotation {annotation.get('name', '')}", without_variables(expression))
    for variable in dashboard.get("templating", {}).get("list", ()):
        if expression := _query_of_variable(variable):
            yield Query(title, f"variable {variable.get('name', '')}", without_variables(expression))


def panels_of(dashboard: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Panels with the title of their row. Collapsed rows contain their panels, open rows precede them."""
    row = ""
    for panel in dashboard.get("panels", ()):
        if panel.get("type") != "row":
            yield panel, row
            continue
        row = str(panel.get("title", ""))
        for inner in panel.get("panels", ()):
            yield inner, row


def without_variables(expression: str) -> str:
    """The expression with times for Grafana's intervals, and with any value for the dashboard's own variables."""
    expression = _MATCHER.sub('=~".+"', _LONG_OFFSET.sub(_SHORT_OFFSET, expression))
    return _ANY_VARIABLE.sub(lambda found: _INTERVALS.get(_name(found), ".+"), expression)


def _name(found: re.Match[str]) -> str:
    return next(name for name in found.groups() if name)


def _query_of_variable(variable: dict[str, Any]) -> str | None:
    """`label_values(metric, label)` asks for the metric by that label; other kinds of variables ask nothing."""
    if variable.get("type") != "query":
        return None
    query = variable.get("query", "")
    text = query.get("query", "") if isinstance(query, dict) else query
    found = _LABEL_VALUES.match(text.strip())
    if found is None:
        return text.strip() or None
    return f"group by ({found['label']}) ({found['metric'] or 'up'})"
