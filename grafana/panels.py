"""Panels as these dashboards draw them: the library's builders with the choices that are the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as draw
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat

from agent.core.metrics import PATH_LABELS
from grafana.sheet import PAGE, Sheet, address
from grafana.words import State, Words


def states(sheet: Sheet, meaning: Mapping[str, State]) -> stat.Panel:
    """Big words, one per series."""
    return (
        stat.Panel()
        .mappings(sheet.states(meaning))
        .color_mode(draw.BigValueColorMode.BACKGROUND)
        .graph_mode(draw.BigValueGraphMode.NONE)
        .text_mode(draw.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(_last())
        .thresholds(_steps({None: "text"}))
    )


def numbers(steps: Mapping[float | None, str]) -> stat.Panel:
    """Big numbers, one per series.

    Args:
        steps: from which value on which colour; None: from the least on.
    """
    return (
        stat.Panel()
        .color_mode(draw.BigValueColorMode.VALUE)
        .graph_mode(draw.BigValueGraphMode.NONE)
        .text_mode(draw.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(_last())
        .thresholds(_steps(steps))
    )


def bars(steps: Mapping[float | None, str]) -> bargauge.Panel:
    """Shares as bars, one per series, with the number written beside."""
    return (
        bargauge.Panel()
        .min(0)
        .max(1)
        .orientation(draw.VizOrientation.HORIZONTAL)
        .display_mode(draw.BarGaugeDisplayMode.BASIC)
        .reduce_options(_last())
        .thresholds(_steps(steps))
    )


def timeline(sheet: Sheet, meaning: Mapping[str, State]) -> statetimeline.Panel:
    """States over time, one line per series, each with its word in it."""
    return (
        statetimeline.Panel()
        .mappings(sheet.states(meaning))
        .merge_values(True)
        .show_value(draw.VisibilityMode.AUTO)
        .row_height(0.85)
        .fill_opacity(70)
        .legend(_legend(draw.LegendDisplayMode.LIST))
        .thresholds(_steps({None: "text"}))
    )


def lines(*, stacked: bool = False) -> timeseries.Panel:
    """Numbers over time; stacked, they are parts of a whole."""
    made = (
        timeseries.Panel()
        .line_width(1 if stacked else 2)
        .fill_opacity(60 if stacked else 0)
        .show_points(draw.VisibilityMode.NEVER)
        .legend(_legend(draw.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"]))
        .tooltip(
            common.VizTooltipOptions().mode(draw.TooltipDisplayMode.MULTI).sort(draw.SortOrder.DESCENDING)
        )
        .thresholds(_steps({None: "text"}))
    )
    if stacked:
        return made.stacking(common.StackingConfig().mode(draw.StackingMode.NORMAL)).min(0).max(1)
    return made


def bounds(panel: timeseries.Panel, *names: str) -> timeseries.Panel:
    """Draw some series as what others are held against: dashed, so that they differ by more than colour."""
    dashes = {"fill": "dash", "dash": [10, 6]}
    for name, colour in zip(names, ("red", "blue"), strict=False):
        panel.override_by_name(
            name,
            [
                model.DynamicConfigValue("custom.lineStyle", dashes),
                model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour}),
            ],
        )
    return panel


def named(sheet: Sheet, panel: timeseries.Panel, meaning: Mapping[str, State]) -> timeseries.Panel:
    """Call series, named after a label's values, by the words for these, each with its colour."""
    for value, state in meaning.items():
        panel.override_by_name(
            value,
            [
                model.DynamicConfigValue("displayName", sheet.say(state.words)),
                model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": state.colour}),
            ],
        )
    return panel


def buckets() -> heatmap.Panel:
    """A histogram over time. Its first query gives the buckets; its second, points that are marked on them.

    Grafana's heatmap draws no lines. It draws exemplars, so the points become exemplars, each at the row whose `le`
    it has. Rows are found by that label's text, of which some versions of the data source make a number in a table.
    """
    marks = model.MatcherConfig("byRefId", "B")
    return (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .fill("dark-blue")
            .scale(heat.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .reverse(False)
        )
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(draw.AxisPlacement.LEFT))
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .show_value(draw.VisibilityMode.NEVER)
        .mode(draw.TooltipDisplayMode.SINGLE)
        .show_y_histogram()
        .show_legend()
        .exemplars_color("rgba(255,0,0,0.9)")
        .with_transformation(
            model.DataTransformerConfig(
                "convertFieldType",
                filter_val=marks,
                options={"conversions": [{"targetField": "le", "destinationType": "string"}]},
            )
        )
        .with_transformation(
            model.DataTransformerConfig(
                "convertFrameType", filter_val=marks, options={"targetType": "exemplar"}
            )
        )
    )


def rows(sheet: Sheet, columns: Mapping[str, Words], *, hidden: Sequence[str] = ("Time",)) -> table.Panel:
    """A table of the latest values, one line per series.

    Args:
        sheet: for whose language it is.
        columns: labels and value fields that are shown, in this order, by their headings.
        hidden: fields that are not.
    """
    organize = {
        "indexByName": {name: place for place, name in enumerate(columns)},
        "renameByName": {name: sheet.say(words) for name, words in columns.items()},
        "excludeByName": dict.fromkeys(hidden, True),
    }
    return (
        table.Panel()
        .filterable(True)
        .with_transformation(model.DataTransformerConfig("merge", options={}))
        .with_transformation(model.DataTransformerConfig("organize", options=organize))
        .thresholds(_steps({None: "text"}))
    )


def matrix(
    sheet: Sheet, row: str, column: str, steps: Mapping[float | None, str] | None = None
) -> table.Panel:
    """A table with a label's values down the side, another's along the top, and the value where they meet.

    Args:
        sheet: whose language the links have.
        row, column: the labels.
        steps: from which value on which colour, where values are not mapped to words.
    """
    grouping = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null"}
    chosen = f"var-{row}=${{__data.fields[0]}}&var-{column}=${{__field.name}}"
    return (
        table.Panel()
        .with_transformation(model.DataTransformerConfig("groupingToMatrix", options=grouping))
        .cell_options(draw.TableColoredBackgroundCellOptions())
        .data_links([_look_at(sheet, chosen)])
        .thresholds(_steps({None: "transparent"} if steps is None else steps))
    )


def to_path(sheet: Sheet) -> build.DashboardLink:
    """From a series of a path to the dashboard of that path."""
    return _look_at(sheet, "&".join(f"var-{label}=${{__field.labels.{label}}}" for label in PATH_LABELS))


def to_page(sheet: Sheet) -> build.DashboardLink:
    """From a series of a path to what the collector's page says of its target."""
    url = f"{PAGE}?lang={sheet.language}&q=${{__field.labels.target}}"
    title = sheet.say(Words("在采集器网页查看依据", "Look at the evidence on the collector's page"))
    return build.DashboardLink(title).url(url).target_blank(True)


def _look_at(sheet: Sheet, chosen: str) -> build.DashboardLink:
    url = f"{address('path', sheet.language)}?{chosen}&${{__url_time_range}}"
    return build.DashboardLink(sheet.say(Words("查看该路径", "Look at this path"))).url(url)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _legend(mode: draw.LegendDisplayMode) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions().display_mode(mode).placement(draw.LegendPlacement.BOTTOM).show_legend(True)
    )


def _steps(steps: Mapping[float | None, str]) -> build.ThresholdsConfig:
    made = build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    return made.steps([model.Threshold(value, colour) for value, colour in steps.items()])
