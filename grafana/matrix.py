"""Site matrix: from every site to every other, one table for each direction."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core import metrics
from grafana import panels, queries
from grafana.selection import choose_judged
from grafana.sheet import Query, Shape, Sheet
from grafana.words import DIRECTIONS, VERDICTS, Language, Words

_JUDGED_AS = {"forward": "forward|round_trip", "reverse": "reverse|round_trip"}


def matrix(language: Language) -> Sheet:
    """The dashboard."""
    sheet = Sheet(
        "matrix",
        language,
        Words(
            "源站点（行）到目标站点（列），去程与回程分列；点击格子查看该路径。",
            "From source sites (rows) to target sites (columns), each direction by itself; a cell leads to its path.",
        ),
        "1h",
    )
    choose_judged(sheet)
    sheet.row(Words("结论", "Verdicts"))
    for direction, judged in _JUDGED_AS.items():
        sheet.place(
            panels.matrix(sheet, "source", "target").mappings(sheet.states(VERDICTS)),
            _titled(Words("最差结论", "Worst verdict"), direction),
            Words(
                "两站之间所有路径与目标中最差的结论；按往返评判的层级在两个方向都列出。",
                "The worst of all paths and objectives between two sites; tiers judged by round trip stand in both.",
            ),
            "none",
            [Query(queries.worst_verdict("source, target", f'direction=~"{judged}"'), shape=Shape.TABLE)],
            (12, 9),
        )
    sheet.row(Words("时延 p99", "Delay, p99"))
    for direction in _JUDGED_AS:
        delay = queries.rate(queries.paths(metrics.DELAY + "_bucket", f'direction="{direction}"'))
        _numbers(
            sheet,
            _titled(Words("时延 p99", "Delay p99"), direction),
            Words(
                "由直方图插值，仅供观察；是否达标看结论。",
                "Interpolated from a histogram: to look at; whether it passes is for the verdict to say.",
            ),
            "s",
            f"histogram_quantile(0.99, sum by (le, source, target) ({delay}))",
            {None: "transparent"},
        )
    sheet.row(Words("超限与丢失", "Over the limit and lost"))
    for direction in _JUDGED_AS:
        only = f'direction="{direction}"'
        broken = queries.paths(metrics.PROBE_OUTCOMES, only, 'outcome=~"over|lost|unattributed"')
        every = queries.paths(metrics.PROBE_OUTCOMES, only)
        _numbers(
            sheet,
            _titled(Words("超限或丢失的比例", "Share over the limit or lost"), direction),
            Words(
                "确证超限的包与丢失的包占全部包的比例；丢失视为时延无穷大（RFC 7679）。",
                "Packets proven over the limit, and lost ones, of all; a lost packet's delay is infinite (RFC 7679).",
            ),
            "percentunit",
            queries.share(broken, every, "source, target"),
            {None: "transparent", 0.001: "yellow", 0.01: "red"},
        )
    return sheet


def _numbers(
    sheet: Sheet, title: Words, description: Words, unit: str, expr: str, steps: Mapping[float | None, str]
) -> None:
    panel = panels.matrix(sheet, "source", "target", steps)
    sheet.place(panel, title, description, unit, [Query(expr, shape=Shape.TABLE)], (12, 9))


def _titled(title: Words, direction: str) -> Words:
    way = DIRECTIONS[direction]
    return Words(f"{title.zh} · {way.zh}", f"{title.en} · {way.en}")
