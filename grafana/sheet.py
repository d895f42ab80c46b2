"""One dashboard in one language: its head, its variables and links, and the grid that its panels are laid on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    bargauge,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from agent.core import metrics
from grafana.words import LANGUAGES, Language, State, Words

PanelBuilder = (
    bargauge.Panel | heatmap.Panel | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel
)

COLUMNS: Final = 24
DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
DATASOURCE_UID: Final = "isochrone-prometheus"
"""The provisioned data source, chosen until somebody chooses another."""

PAGE: Final = "${collector:raw}/"
"""The collector's page. Its address is asked of Prometheus, which scrapes it; another one can be typed in."""

_PAGES: Final = (
    f'label_replace(max by (instance) ({metrics.SOURCE_UP}), "page", "http://$1", "instance", "(.+)")'
)

TITLES: Final = {
    "city": Words("时延圈 · 全市概览", "Isochrone · City overview"),
    "path": Words("时延圈 · 单条路径", "Isochrone · Path"),
    "matrix": Words("时延圈 · 站点矩阵", "Isochrone · Site matrix"),
    "pilots": Words("时延圈 · 试点线路", "Isochrone · Pilot lines"),
    "fleet": Words("时延圈 · 探针健康", "Isochrone · Fleet health"),
}
"""Of all dashboards, by name, in the order in which they link to each other."""


class Shape(StrEnum):
    """What a query's answer becomes."""

    SERIES = "series over time"
    HEATMAP = "cumulative buckets over time, drawn as a heatmap"
    MARKS = "one table of points over time"
    LATEST = "the latest value of each series"
    TABLE = "one table of the latest values"


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks.

    Attributes:
        expr: PromQL.
        legend: a series' name; Grafana fills in labels that stand in double braces.
    """

    expr: str
    legend: Words | str = ""
    shape: Shape = Shape.SERIES

    def target(self, ref_id: str, language: Language) -> prometheus.Dataquery:
        """The query in Grafana's words."""
        made = prometheus.Dataquery().expr(self.expr).ref_id(ref_id).datasource(DATASOURCE)
        legend = self.legend.of(language) if isinstance(self.legend, Words) else self.legend
        if legend:
            made = made.legend_format(legend)
        match self.shape:
            case Shape.SERIES:
                return made.range().format(PromQueryFormat.TIME_SERIES)
            case Shape.HEATMAP:
                return made.range().format(PromQueryFormat.HEATMAP)
            case Shape.MARKS:
                return made.range().format(PromQueryFormat.TABLE)
            case Shape.LATEST:
                return made.instant().format(PromQueryFormat.TIME_SERIES)
            case Shape.TABLE:
                return made.instant().format(PromQueryFormat.TABLE)


class Annotation(model.AnnotationQuery):
    """An annotation of the Prometheus data source, whose texts the library does not know."""

    def __init__(self, name: str, expr: str, colour: str, text: str) -> None:
        super().__init__(name=name, datasource=DATASOURCE, enable=True, icon_color=colour, expr=expr)
        self._texts = {"titleFormat": name, "textFormat": text}

    def to_json(self) -> dict[str, object]:
        """With the texts."""
        return {**super().to_json(), **self._texts}


class Sheet:
    """A dashboard that is being put together, in one language.

    Panels are laid from left to right and from top to bottom, in the order in which they come.

    Args:
        name: its name in `TITLES`; with the language it makes the file's name and the fixed UID.
        language: of every text.
        description: what it is for.
        since: how far it looks back, such as `6h`.
    """

    def __init__(self, name: str, language: Language, description: Words, since: str) -> None:
        self.name = name
        self.language: Final[Language] = language
        self._board = (
            build.Dashboard(TITLES[name].of(language))
            .uid(uid(name, language))
            .description(description.of(language))
            .tags(["isochrone", language])
            .timezone("browser")
            .readonly()
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .time(f"now-{since}", "now")
            .refresh("30s")
        )
        self._annotations: list[Annotation] = []
        self._last_id = 0
        self._x = self._y = self._height = 0
        self._choose_datasource()

    def say(self, words: Words) -> str:
        """A text in the sheet's language."""
        return words.of(self.language)

    def states(self, states: Mapping[str, State]) -> list[model.ValueMapping]:
        """Numbers shown as words, with a colour beside."""
        return [
            model.ValueMap(
                {
                    value: model.ValueMappingResult(
                        text=self.say(state.words), color=state.colour, index=index
                    )
                    for index, (value, state) in enumerate(states.items())
                }
            )
        ]

    def choose(self, name: str, label: Words, query: str, *, many: bool = True, regex: str = "") -> None:
        """Add a variable whose values a query gives.

        Args:
            name: how queries name it.
            label: how people do.
            query: `label_values(…)` or `query_result(…)`.
            many: whether several values, or all, may be chosen; otherwise exactly one is.
            regex: what is cut out of each result.
        """
        made = (
            build.QueryVariable(name)
            .label(self.say(label))
            .datasource(DATASOURCE)
            .query({"query": query, "refId": name})
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.NATURAL_ASC)
            .multi(many)
            .include_all(many)
        )
        if regex:
            made = made.regex(regex)
        if many:
            every = model.VariableOption(selected=True, text=["All"], value=["$__all"])
            made = made.all_value(".+").current(every)
        self._board.with_variable(made)

    def annotate(self, name: Words, expr: str, colour: str, text: str) -> None:
        """Mark in all panels when an expression was above 0."""
        self._annotations.append(Annotation(self.say(name), expr, colour, text))

    def row(self, title: Words) -> None:
        """Begin a part of the sheet."""
        self._end_line()
        self._last_id += 1
        place = model.GridPos(h=1, w=COLUMNS, x=0, y=self._y)
        self._board.with_row(build.Row(self.say(title)).id(self._last_id).grid_pos(place))
        self._y += 1

    def place(
        self,
        panel: PanelBuilder,
        title: Words,
        description: Words,
        unit: str,
        queries: Sequence[Query],
        size: tuple[int, int],
    ) -> None:
        """Lay a panel on the grid.

        Args:
            panel: with everything but what follows.
            title, description: what it shows, and how that is to be read.
            unit: Grafana's name of the values' unit.
            queries: asked of the data source that the reader has chosen.
            size: width in columns and height in lines of the grid.
        """
        width, height = size
        if self._x + width > COLUMNS:
            self._end_line()
        self._last_id += 1
        panel.id(self._last_id).title(self.say(title)).description(self.say(description)).unit(unit)
        panel.datasource(DATASOURCE).grid_pos(model.GridPos(h=height, w=width, x=self._x, y=self._y))
        panel.no_value(self.say(Words("∅ 无数据", "∅ no data")))
        for number, query in enumerate(queries):
            panel.with_target(query.target(chr(ord("A") + number), self.language))
        self._board.with_panel(panel)
        self._x += width
        self._height = max(self._height, height)

    def json(self) -> str:
        """The dashboard as Grafana reads it, when all else has been added; the same every time."""
        self._link()
        made = self._board.build()
        made.annotations = model.AnnotationContainer(list_val=[*self._annotations])
        document: dict[str, Any] = json.loads(json.dumps(made, cls=JSONEncoder))
        return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    def _end_line(self) -> None:
        self._y += self._height
        self._x = self._height = 0

    def _choose_datasource(self) -> None:
        provisioned = model.VariableOption(text="Isochrone", value=DATASOURCE_UID)
        label = self.say(Words("数据源", "Data source"))
        made = build.DatasourceVariable("datasource").label(label).type("prometheus").current(provisioned)
        self._board.with_variable(made)

    def _link(self) -> None:
        """To the other dashboards, to this one in the other language, and to the collector's page."""
        page = Words("采集器网页", "Collector's page")
        self.choose("collector", page, f"query_result({_PAGES})", many=False, regex='/page="([^"]+)"/')
        for name in TITLES:
            if name != self.name:
                self._to(short_title(name, self.language), address(name, self.language), name)
        for other in LANGUAGES:
            if other != self.language:
                self._to({"zh": "中文", "en": "English"}[other], address(self.name, other), self.name)
        link = build.DashboardLink(self.say(page)).type(model.DashboardLinkType.LINK).icon("external link")
        self._board.link(link.url(f"{PAGE}?lang={self.language}").target_blank(True))

    def _to(self, title: str, url: str, name: str) -> None:
        """A link to a dashboard, over the same time; what is chosen goes along where it can be chosen there.

        The dashboard of one path offers single values, of which "all" is none.
        """
        link = build.DashboardLink(title).type(model.DashboardLinkType.LINK).icon("dashboard").url(url)
        self._board.link(link.keep_time(True).include_vars(self.name == "path" or name != "path"))


def uid(name: str, language: Language) -> str:
    """The fixed UID of a dashboard."""
    return f"isochrone-{name}-{language}"


def address(name: str, language: Language) -> str:
    """Where Grafana shows a dashboard, relative to Grafana's own address."""
    return f"/d/{uid(name, language)}"


def short_title(name: str, language: Language) -> str:
    """A dashboard's title without the name of the software."""
    return TITLES[name].of(language).partition(" · ")[2]
