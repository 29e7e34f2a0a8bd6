"""Panels: time series, single values and bars."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

from deploy.grafana.boards.queries import Query

DATASOURCE = DataSourceRef("prometheus", "${datasource}")

GREEN, YELLOW, RED, BLUE = "green", "#EAB839", "red", "blue"

#: Grafana writes this unit with a prefix: 12.3 K tokens/s.
TOKENS_PER_S = "count:tokens/s"

#: Panel builders of the SDK, which share methods but no base class.
Builder = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel
AnyBuilder = TypeVar("AnyBuilder", timeseries.Panel, stat.Panel, bargauge.Panel, table.Panel)


class Step(NamedTuple):
    """Threshold: the colour from this value on. The first step of a panel has None, which is below all values."""

    value: float | None
    color: str


class Word(NamedTuple):
    """Text and colour shown instead of a value."""

    text: str
    color: str


#: Variables of every board.
_VARIABLES = ("datasource", "instance", "model")


class Link(NamedTuple):
    """Link of a panel to another board, with the time range and the choices of this one.

    With `series`, each series links to the board with its own value of that label chosen.
    """

    title: str
    board: str
    series: str = ""

    @property
    def url(self) -> str:
        """Address inside Grafana, with Grafana's variables."""
        kept = ["__url_time_range", *(f"{name}:queryparam" for name in _VARIABLES if name != self.series)]
        chosen = [f"var-{self.series}=${{__field.labels.{self.series}}}"] if self.series else []
        return f"/d/unroll-{self.board}?" + "&".join([*(f"${{{name}}}" for name in kept), *chosen])


#: Colour of a value without thresholds.
PLAIN = (Step(None, BLUE),)


@dataclass(frozen=True, kw_only=True)
class Panel(ABC):
    """Base of all panels. A board has 24 columns, in which `width` is counted."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 8
    height: int = 8
    decimals: int | None = None
    maximum: float | None = None
    #: Where to look next.
    links: tuple[Link, ...] = ()

    @abstractmethod
    def build(self) -> Builder:
        """Build the panel with the SDK."""

    def _filled(self, builder: AnyBuilder, *, instant: bool = False) -> AnyBuilder:
        builder.title(self.title).description(self.description).unit(self.unit).datasource(DATASOURCE)
        builder.span(self.width).height(self.height).min(0)
        if self.decimals is not None:
            builder.decimals(self.decimals)
        if self.maximum is not None:
            builder.max(self.maximum)
        of_series = [link for link in self.links if link.series]
        if of_series:
            builder.data_links([dashboard.DashboardLink(link.title).url(link.url) for link in of_series])
        builder.links([dashboard.DashboardLink(link.title).url(link.url) for link in self.links if not link.series])
        for number, query in enumerate(self.queries):
            builder.with_target(_target(query, chr(ord("A") + number), instant=instant))
        return builder


@dataclass(frozen=True, kw_only=True)
class Chart(Panel):
    """Time series as lines, or as stacked areas. `limit` draws a dashed threshold line."""

    stacked: bool = False
    limit: float | None = None
    #: Series with matching names are drawn dashed and grey, such as measured limits or the day before.
    faint: str = ""
    #: Fixed colours by name of the series.
    colors: Mapping[str, str] | None = None
    #: Minimum range of the axis, so that small values do not look large.
    at_least: float | None = None

    def build(self) -> timeseries.Panel:
        panel = self._filled(timeseries.Panel()).line_width(1).show_points(VisibilityMode.NEVER)
        panel.fill_opacity(30 if self.stacked else 8).legend(_legend()).tooltip(_tooltip())
        panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        if self.stacked:
            panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        at_least = self.limit if self.at_least is None else self.at_least
        if at_least is not None:
            panel.axis_soft_max(at_least)
        if self.limit is not None:
            panel.thresholds(_thresholds((Step(None, GREEN), Step(self.limit, RED))))
            panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
        if self.faint:
            panel.override_by_regexp(self.faint, _FAINT)
        for name, color in (self.colors or {}).items():
            panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})])
        return panel


@dataclass(frozen=True, kw_only=True)
class Number(Panel):
    """Single values, one per series; `words` maps values to text."""

    height: int = 5
    width: int = 4
    steps: tuple[Step, ...] = PLAIN
    words: Mapping[str, Word] | None = None
    #: What to show: the value, the value with the name of the series, or the name alone.
    text: BigValueTextMode = BigValueTextMode.AUTO

    def build(self) -> stat.Panel:
        panel = self._filled(stat.Panel(), instant=True).thresholds(_thresholds(self.steps))
        panel.graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.BACKGROUND_SOLID)
        panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        panel.text_mode(self.text)
        panel.orientation(VizOrientation.AUTO)
        panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        if self.words:
            texts = {value: ValueMappingResult(text=word.text, color=word.color) for value, word in self.words.items()}
            mappings: list[ValueMapping] = [ValueMap(texts)]
            panel.mappings(mappings)
        return panel


@dataclass(frozen=True, kw_only=True)
class Bars(Panel):
    """Bars with the current value of each series."""

    steps: tuple[Step, ...] = PLAIN

    def build(self) -> bargauge.Panel:
        panel = self._filled(bargauge.Panel(), instant=True).thresholds(_thresholds(self.steps))
        panel.display_mode(BarGaugeDisplayMode.GRADIENT).orientation(VizOrientation.HORIZONTAL)
        return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


_FAINT = [
    DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "#8e8e8e"}),
    DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]}),
    DynamicConfigValue("custom.fillOpacity", 0),
    DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"}),
]


def _target(query: Query, ref_id: str, *, instant: bool) -> prometheus.Dataquery:
    name = f"{ref_id} needs {query.needs}" if query.needs else ref_id
    target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(name)
    target = target.instant() if instant else target.range()
    return target.exemplar(True) if query.exemplars else target


def _thresholds(steps: tuple[Step, ...]) -> ThresholdsConfig:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(*step) for step in steps])


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    return legend.placement(LegendPlacement.BOTTOM).show_legend(True).calcs([])


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
