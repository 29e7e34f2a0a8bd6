"""The Grafana dashboards match their generator, query existing metrics, and are documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.boards import __main__ as command
from deploy.grafana.boards.metrics_table import METRIC_NAME
from deploy.grafana.boards.runbooks import UID_PREFIX
from tests.deploy.monitoring.exposed_metrics import series_names

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"
RULES = GRAFANA.parent / "prometheus" / "rules"
NAMES = ("overview", "model", "streams", "runtime")
GRID_COLUMNS = 24

#: Variables that Grafana itself fills in.
OWN_VARIABLES = {"__rate_interval"}


def load(name: str) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text("utf-8"))
    return board


def panels_of(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return all panels except row headings, including those in collapsed rows."""
    for panel in board["panels"]:
        yield from panel.get("panels", ()) if panel["type"] == "row" else (panel,)


def expressions_of(board: dict[str, Any]) -> Iterator[str]:
    """Return every PromQL expression of a dashboard."""
    for panel in panels_of(board):
        yield from (target["expr"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in board["annotations"]["list"])
    yield from (variable["query"] for variable in board["templating"]["list"] if variable["type"] == "query")


def test_the_files_are_those_of_the_code() -> None:
    """Each dashboard file equals the output of its generator."""
    files = command.generated_files()
    boards, runbooks = GRAFANA / "dashboards", GRAFANA.parent / "runbooks"
    shown = {boards / "runbooks" / f"{path.stem}.json" for path in runbooks.glob("*.md") if path.stem != "README"}
    assert set(files) == {*(boards / f"{name}.json" for name in NAMES), *shown, GRAFANA.parent / "metrics.md"}
    stale = [path.name for path, text in files.items() if path.read_text("utf-8") != text]
    assert not stale, "run `python -m deploy.grafana.boards`"
    assert set(boards.rglob("*.json")) == set(files) - {GRAFANA.parent / "metrics.md"}


def test_check_finds_a_stale_file_and_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--check` fails for a file that differs; without it, the file is written and the next check passes."""
    file = tmp_path / "board.json"
    file.write_text("old", "utf-8")
    monkeypatch.setattr(command, "DEPLOY", tmp_path / "deploy")
    monkeypatch.setattr(command, "generated_files", lambda: {file: "new"})
    assert command.main(["--check"]) == 1
    assert file.read_text("utf-8") == "old"
    assert command.main([]) == 0
    assert file.read_text("utf-8") == "new"
    assert command.main(["--check"]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_board_asks_only_for_what_exists(name: str) -> None:
    """Dashboards query only metrics that exist."""
    board = load(name)
    recorded = set(re.findall(r"record: (\S+)", (RULES / "objectives.yml").read_text("utf-8")))
    text = " ".join(expressions_of(board))
    assert set(METRIC_NAME.findall(text)) <= series_names()
    assert set(re.findall(r"\bunroll:[\w:]+", text)) <= recorded
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", text)) <= variables | OWN_VARIABLES


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_explains_itself(name: str) -> None:
    """Every panel has a description with the action to take, and every axis has a unit."""
    panels = list(panels_of(load(name)))
    assert len(panels) > 10
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert not [panel["title"] for panel in panels if len(panel["description"].split()) < 8]
    assert not [panel["title"] for panel in panels if not panel["fieldConfig"]["defaults"].get("unit")]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_their_rows_and_do_not_overlap(name: str) -> None:
    """Panels in a row have the same height and together fill the width."""
    lines: dict[int, list[dict[str, int]]] = {}
    for panel in panels_of(load(name)):
        lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
    assert lines
    for places in lines.values():
        assert len({place["h"] for place in places}) == 1
        ends = [0]
        for place in sorted(places, key=lambda place: place["x"]):
            assert place["x"] == ends[-1]
            ends.append(place["x"] + place["w"])
        assert ends[-1] == GRID_COLUMNS


@pytest.mark.parametrize("name", NAMES)
def test_a_board_can_be_found_from_the_others(name: str) -> None:
    """Uid and title of a dashboard derive from its name, and its link to the others keeps time range and variables."""
    board = load(name)
    assert (board["uid"], board["title"]) == (f"unroll-{name}", f"Unroll / {name.capitalize()}")
    assert board["tags"] == ["unroll"]
    (link,) = board["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == ("dashboards", ["unroll"], True, True)


def test_links_between_panels_lead_to_boards() -> None:
    """Links of panels and series lead to existing boards and keep the time range."""
    urls = re.findall(r'"url": "(/d/[^"]+)"', "".join(json.dumps(load(name)) for name in NAMES))
    between = [url for url in urls if UID_PREFIX not in url]
    assert len(between) > 10
    assert {url.partition("?")[0] for url in between} == {
        f"/d/unroll-{name}" for name in ("model", "runtime", "streams")
    }
    assert all("${__url_time_range}" in url for url in between)


def test_firing_alerts_are_listed_with_their_runbooks() -> None:
    """The overview lists the firing alerts, and each links to the board of its runbook."""
    (alerts,) = (panel for panel in panels_of(load("overview")) if panel["type"] == "table")
    (target,) = alerts["targets"]
    assert (target["format"], target["instant"]) == ("table", True)
    links = [
        value for rule in alerts["fieldConfig"]["overrides"] for value in rule["properties"] if value["id"] == "links"
    ]
    assert links[0]["value"][0]["url"] == f"/d/{UID_PREFIX}${{__value.raw}}"
    uids = {json.loads(path.read_text("utf-8"))["uid"] for path in (GRAFANA / "dashboards" / "runbooks").iterdir()}
    named = set(re.findall(r"runbook: ([\w-]+)", (RULES / "alerts.yml").read_text("utf-8")))
    assert uids == {f"{UID_PREFIX}{name}" for name in named}


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_in_the_form_of_the_newest_grafana(name: str) -> None:
    """No variable has fields of interval variables, which Grafana 12's schema rejects on others."""
    variables = load(name)["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "instance", "model"]
    assert not [key for variable in variables for key in variable if key.startswith("auto")]
    assert all(variable["multi"] and variable["includeAll"] for variable in variables[1:])


@pytest.mark.parametrize("name", NAMES)
def test_latency_over_time_shows_exemplars(name: str) -> None:
    """Every time series panel of a latency quantile shows exemplars."""
    of_requests = re.compile(r"histogram_quantile\(.*unroll_(request|stage)_duration_seconds_bucket")
    charts = [panel for panel in panels_of(load(name)) if panel["type"] == "timeseries"]
    latency = [panel for panel in charts if any(of_requests.search(target["expr"]) for target in panel["targets"])]
    assert all(any(target.get("exemplar") for target in panel["targets"]) for panel in latency)
    assert latency or name in ("streams", "runtime")


def test_queries_that_may_stay_empty_are_marked_in_their_names() -> None:
    """The refId of every query that needs a GPU or a day of data says so."""
    targets = [target for name in NAMES for panel in panels_of(load(name)) for target in panel["targets"]]
    special = [target for target in targets if re.search(r"unroll_gpu_|offset 1d", target["expr"])]
    assert sum("offset 1d" in target["expr"] for target in special) == 3
    assert all(" needs " in target["refId"] for target in special)
    assert sum(" needs " in target["refId"] for target in targets) < len(targets) / 5


def test_reloads_and_starts_are_marked_on_every_board() -> None:
    """Every dashboard has annotations for reloads and starts."""
    for name in NAMES:
        annotations = load(name)["annotations"]["list"]
        assert [annotation["name"] for annotation in annotations] == ["Reloads", "Starts"]
        assert all(annotation["titleFormat"] for annotation in annotations)


def test_grafana_finds_boards_and_data_source() -> None:
    """Grafana's provisioning has one Prometheus data source with a fixed uid, and a folder for the dashboards."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/unroll.yml").read_text("utf-8"))["providers"]
    assert (source["type"], source["uid"], source["isDefault"]) == ("prometheus", "prometheus", True)
    assert provider["folder"] == "Unroll"
