"""Tables of labels: the firing alerts with their runbooks, the loaded bundles, the versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.boards.panels import RED, YELLOW, Panel, Word
from deploy.grafana.boards.runbooks import UID_PREFIX

#: Name of the column with the value of a series, as the data source names it.
VALUE = "Value"

_RUNBOOK = DynamicConfigValue(
    "links", [{"title": "Open the runbook", "url": f"/d/{UID_PREFIX}${{__value.raw}}", "targetBlank": False}]
)
#: Columns are at least this wide, in pixels: Grafana's own minimum of 150 hides columns of a narrow panel.
_MIN_WIDTH = 50
#: Widths of columns with short values, which leave the rest to the others.
_NARROW = {"version": 75, "onnxruntime": 105, "precision": 85, VALUE: 75}
#: In place of "no value" of the panel, which is meant for a table without rows.
_EMPTY_CELL = DynamicConfigValue("noValue", "–")


@dataclass(frozen=True, kw_only=True)
class Table(Panel):
    """One row for each series, with some of its labels as columns. It scrolls: any number of rows stays legible."""

    #: Labels that become columns, in this order, and `VALUE`.
    columns: tuple[str, ...]
    #: Text and colour of values, by column.
    words: Mapping[str, Mapping[str, Word]] | None = None
    #: Shown when there are no rows.
    nothing: str = ""

    def build(self) -> table.Panel:
        panel = self._filled(table.Panel(), instant=True).min_width(_MIN_WIDTH)
        if self.nothing:
            panel.no_value(self.nothing)
        for target in panel.build().targets or ():
            target.format_val = PromQueryFormat.TABLE  # type: ignore[attr-defined]  # a target of Prometheus
        panel.with_transformation(_only(self.columns)).with_transformation(_ordered(self.columns))
        panel.override_by_field_type("string", [_EMPTY_CELL])
        for column in (name for name in self.columns if name in _NARROW):
            panel.override_by_name(column, [DynamicConfigValue("custom.width", _NARROW[column])])
        for column, words in (self.words or {}).items():
            panel.override_by_name(column, _colored(words))
        return panel


@dataclass(frozen=True, kw_only=True)
class AlertList(Table):
    """Firing alerts as rows: name, severity, model, instance and runbook."""

    width: int = 24
    height: int = 5
    columns: tuple[str, ...] = ("alertname", "severity", "model", "instance", "runbook")
    nothing: str = "No alert is firing."

    def build(self) -> table.Panel:
        severity = _colored({"page": Word("page", RED), "ticket": Word("ticket", YELLOW)})
        return super().build().override_by_name("runbook", [_RUNBOOK]).override_by_name("severity", severity)


def _only(columns: tuple[str, ...]) -> DataTransformerConfig:
    return DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})


def _ordered(columns: tuple[str, ...]) -> DataTransformerConfig:
    order = {name: index for index, name in enumerate(columns)}
    return DataTransformerConfig(id_val="organize", options={"indexByName": order})


def _colored(words: Mapping[str, Word]) -> list[DynamicConfigValue]:
    options = {
        value: {"text": word.text, "color": word.color, "index": index}
        for index, (value, word) in enumerate(words.items())
    }
    return [
        DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        DynamicConfigValue("mappings", [{"type": "value", "options": options}]),
    ]
