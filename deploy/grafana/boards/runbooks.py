"""Runbooks as dashboards, one each: the address that `runbook_url` of an alert names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard, text
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardLinkType
from grafana_foundation_sdk.models.text import TextMode

#: A runbook's board is at `/d/unroll-runbook-NAME`.
UID_PREFIX = "unroll-runbook-"

_TAG = "unroll"
_WIDTH, _HEIGHT = 24, 24
#: Links between runbooks become links between their boards.
_LINK = re.compile(r"\]\(([\w-]+)\.md\)")
_OTHER_LINK = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def as_json(runbook: Path) -> str:
    """JSON model of the board that shows a runbook."""
    heading, _, rest = runbook.read_text("utf-8").partition("\n")
    title = heading.removeprefix("# ")
    # Files outside the runbooks are not in Grafana: their links become plain text.
    content = _OTHER_LINK.sub(r"\1", _LINK.sub(rf"](/d/{UID_PREFIX}\1)", rest.strip()))
    panel = text.Panel().title(title).mode(TextMode.MARKDOWN).content(content).span(_WIDTH).height(_HEIGHT)
    board = dashboard.Dashboard(f"Runbook / {title}").uid(f"{UID_PREFIX}{runbook.stem}").tags(["unroll-runbook"])
    boards = dashboard.DashboardLink("Boards").type(DashboardLinkType.DASHBOARDS).tags([_TAG]).as_dropdown(False)
    made: dict[str, Any] = json.loads(JSONEncoder().encode(board.readonly().link(boards).with_panel(panel).build()))
    return json.dumps(made, indent=2, sort_keys=True) + "\n"
