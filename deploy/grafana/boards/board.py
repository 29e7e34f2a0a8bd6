"""A board: rows of panels, and around them what all boards share."""

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

#: Fields of interval variables that the SDK writes into every variable; Grafana 12 does not have them there.
NOT_OF_VARIABLES = ("auto", "auto_count", "auto_min")

#: Marked on every chart: name -> what is written, colour, and a query whose points above zero are the events.
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
#: How far apart the points of those queries are; their windows are as wide, so that no event is missed or told twice.
EVENT_STEP = "60s"


@dataclass(frozen=True)
class Row:
    """Panels under a heading that can be folded; an empty title has no heading."""

    title: str
    panels: tuple[Panel, ...]
    folded: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard; `name` is its file, `uid` its address in Grafana."""

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
        """Every panel, folded or not."""
        for row in self.rows:
            yield from row.panels


def as_json(board: Board) -> str:
    """The file that Grafana reads."""
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
    # Requests that name no known model carry the name "none", which no bundle has: all is everything.
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
    """Ids in reading order, so that a link to a panel is stable while the board is."""
    flat = (each for panel in panels for each in (panel, *panel.get("panels", ())))
    for number, panel in enumerate(flat, start=1):
        panel["id"] = number
