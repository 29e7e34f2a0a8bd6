"""Dashboards: rows of panels, with the variables, annotations and links that all of them share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.boards.panels import DATASOURCE, Panel

TAG = "unroll"

#: Fields of interval variables that the SDK writes into every variable, which Grafana 12 does not accept.
NOT_OF_VARIABLES = ("auto", "auto_count", "auto_min")

#: Annotations of every chart: name -> text, colour, and a query whose points above zero are the events.
EVENTS = {
    "Reloads": (
        "models reloaded on {{instance}}",
        "blue",
        'changes(unroll_last_reload_timestamp_seconds{instance=~"$instance"}[1m])',
    ),
    "Starts": (
        "{{instance}} started",
        "orange",
        'changes(process_start_time_seconds{job="unroll",instance=~"$instance"}[1m])',
    ),
}
#: Step of those queries. It equals their window, so that no event is missed or marked twice.
EVENT_STEP = "60s"


@dataclass(frozen=True)
class Row:
    """Row of panels under a collapsible heading; an empty title has no heading."""

    title: str
    panels: tuple[Panel, ...]
    folded: bool = False


@dataclass(frozen=True)
class Board:
    """A dashboard. `name` is its file, `uid` its address in Grafana."""

    name: str
    description: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        return f"Unroll / {self.name.capitalize()}"

    @property
    def uid(self) -> str:
        return f"unroll-{self.name}"

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, those of collapsed rows included."""
        for row in self.rows:
            yield from row.panels


def as_json(board: Board) -> str:
    """JSON model of a dashboard, as Grafana reads it."""
    made: dict[str, Any] = json.loads(JSONEncoder().encode(_with_rows(_frame(board), board).build()))
    for variable in made["templating"]["list"]:
        for key in NOT_OF_VARIABLES:
            variable.pop(key, None)
    for annotation in made["annotations"]["list"]:
        title, _, _ = EVENTS[annotation["name"]]
        annotation |= {"titleFormat": title, "step": EVENT_STEP}  # what the Prometheus data source reads
    _number_panels(made["panels"])
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _frame(board: Board) -> dashboard.Dashboard:
    frame = dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags([TAG])
    frame.readonly().refresh("10s").time("now-1h", "now").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    frame.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    frame.with_variable(_choice("instance", "label_values(unroll_ready, instance)"))
    # Requests without a known model have the label "none", which no bundle has: "All" must match it too.
    frame.with_variable(_choice("model", "label_values(unroll_bundle_info, model)").all_value(".*"))
    for name, (_, color, expression) in EVENTS.items():
        event = dashboard.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True)
        frame.annotation(event.icon_color(color).expr(expression))
    boards = dashboard.DashboardLink("Boards").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return frame.link(boards.as_dropdown(False).include_vars(True).keep_time(True))


def _choice(name: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(name.capitalize()).query(query).datasource(DATASOURCE)
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).current(VariableOption(True, ["All"], ["$__all"]))


def _with_rows(frame: dashboard.Dashboard, board: Board) -> dashboard.Dashboard:
    for row in board.rows:
        if row.folded:
            frame.with_row(_folded(row))
            continue
        if row.title:
            frame.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            frame.with_panel(panel.build())
    return frame


def _folded(row: Row) -> dashboard.Row:
    heading = dashboard.Row(row.title).collapsed(True)
    for panel in row.panels:
        heading.with_panel(panel.build())
    return heading


def _number_panels(panels: list[dict[str, Any]]) -> None:
    """Number panels in reading order, so that links to them stay stable."""
    flat = (each for panel in panels for each in (panel, *panel.get("panels", ())))
    for number, panel in enumerate(flat, start=1):
        panel["id"] = number
