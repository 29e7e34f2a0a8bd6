"""Table of the firing alerts, each with a link to its runbook."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.boards.panels import RED, YELLOW, Panel
from deploy.grafana.boards.runbooks import UID_PREFIX

#: Labels of an alert that become columns, in this order.
COLUMNS = ("alertname", "severity", "model", "instance", "runbook")

_ROWS = DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(COLUMNS)}})
_ORDER = DataTransformerConfig(
    id_val="organize", options={"indexByName": {name: index for index, name in enumerate(COLUMNS)}}
)
_RUNBOOK = DynamicConfigValue(
    "links", [{"title": "Open the runbook", "url": f"/d/{UID_PREFIX}${{__value.raw}}", "targetBlank": False}]
)
_SEVERITY = [
    DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
    DynamicConfigValue(
        "mappings",
        [{"type": "value", "options": {"page": {"color": RED, "index": 0}, "ticket": {"color": YELLOW, "index": 1}}}],
    ),
]


@dataclass(frozen=True, kw_only=True)
class AlertList(Panel):
    """Firing alerts as rows: name, severity, model, instance and runbook."""

    width: int = 24
    height: int = 5

    def build(self) -> table.Panel:
        panel = self._filled(table.Panel(), instant=True).no_value("No alert is firing.")
        for target in panel.build().targets or ():
            target.format_val = PromQueryFormat.TABLE  # type: ignore[attr-defined]  # a target of Prometheus
        panel.with_transformation(_ROWS).with_transformation(_ORDER)
        return panel.override_by_name("runbook", [_RUNBOOK]).override_by_name("severity", _SEVERITY)
