"""Pilot lines: what each carries beside what it is promised, what bounds it, and what its tests came to."""

from __future__ import annotations

from agent.core import metrics
from grafana import panels, queries
from grafana.selection import choose_lines
from grafana.sheet import Query, Shape, Sheet
from grafana.words import DIRECTIONS, RESULTS, VERDICTS, Language, Words

_WAYS = ("down", "up")
_LINE = "{{source}} → {{target}}"
_WAY = _LINE + " · {{direction}}"
_FLOOR = Words("承诺的下限", "promised floor")


def pilots(language: Language) -> Sheet:
    """The dashboard."""
    sheet = Sheet(
        "pilots",
        language,
        Words(
            "试点线路（50G-PON、5G-A）：速率与下限、受限原因、每次测试的结果。",
            "Pilot lines (50G-PON, 5G-A): rates and floors, what bounds them, and what became of each test.",
        ),
        "7d",
    )
    choose_lines(sheet)
    _verdicts(sheet)
    _rates(sheet)
    _tests(sheet)
    return sheet


def _verdicts(sheet: Sheet) -> None:
    verdict = queries.paths(metrics.SLA_VERDICT, f'kind="{metrics.LINE_KIND}"')
    sheet.row(Words("结论", "Verdicts"))
    sheet.place(
        panels.states(sheet, VERDICTS).data_links([panels.to_page(sheet)]),
        Words("当前结论", "Verdicts now"),
        Words(
            "每条线路上、下行各自的结论；依据见采集器网页。",
            "Of each line and way; why is on the collector's page.",
        ),
        "none",
        [Query(verdict, _WAY, Shape.LATEST)],
        (12, 7),
    )
    sheet.place(
        panels.timeline(sheet, VERDICTS),
        Words("结论的变化", "Verdicts over time"),
        Words(
            "达不到下限须经多轮确认才算违约：确认之前是“无法判定”。",
            "A missed floor has to be confirmed by several turns before it fails: until then it is indeterminate.",
        ),
        "none",
        [Query(verdict, _WAY)],
        (12, 7),
    )


def _rates(sheet: Sheet) -> None:
    sheet.row(Words("速率与下限", "Rates and floors"))
    for way in _WAYS:
        only = f'direction="{way}"'
        rate, floor = (
            queries.paths(metric, only) for metric in (metrics.THROUGHPUT, metrics.THROUGHPUT_FLOOR)
        )
        sheet.place(
            panels.bounds(panels.lines(), sheet.say(_FLOOR)),
            _titled(Words("最近一次测得的速率", "Rate last measured"), way),
            Words(
                "每条线路 IP 层与净荷的速率；虚线为所选线路下限中最高的。失败的测试没有速率，不记为 0。",
                "Of each line, at the IP layer and as goodput. Dashed: the highest floor of those chosen. A failed "
                "test has no rate, and is no 0.",
            ),
            "bps",
            [Query(rate, _LINE + " {{layer}}"), Query(f"max({floor})", _FLOOR)],
            (12, 10),
        )


def _tests(sheet: Sheet) -> None:
    sheet.row(Words("测试", "Tests"))
    tests, errors, untested = (
        queries.increase(queries.paths(metric))
        for metric in (metrics.THROUGHPUT_TESTS, metrics.THROUGHPUT_ERRORS, metrics.THROUGHPUT_UNTESTED)
    )
    sheet.place(
        panels.named(sheet, panels.lines(), RESULTS),
        Words("各结果的测试次数", "Tests by result"),
        Words(
            "每个时间区间内的次数；未确认与无结论的测试正反都不能证明；受主机所限的测试与线路无关，等于没有测试。",
            "In each interval of the graph. What is unconfirmed or inconclusive proves nothing either way; what a host "
            "has spoiled says nothing of the line, as without a test.",
        ),
        "none",
        [Query(f"sum by (result) ({tests})", "{{result}}")],
        (8, 9),
    )
    sheet.place(
        panels.lines(),
        Words("没有结果的时段", "Slots without a result"),
        Words(
            "测试失败的原因，以及因用户正在使用线路等而没有测试的时段。",
            "Why tests failed, and slots that passed untested, for users needed the line.",
        ),
        "none",
        [
            Query(f"sum by (reason) ({errors})", "{{reason}}"),
            Query(f"sum by (reason) ({untested})", "{{reason}}"),
        ],
        (8, 9),
    )
    limited = queries.paths(metrics.THROUGHPUT_LIMITED_BY)
    sheet.place(
        panels.numbers({None: "text"}),
        Words("最近一次测试的受限原因", "What bounded the last tests"),
        Words(
            "各原因的线路数；path_rate 与 path_loss 是线路本身，pacing_cap 是测试自身的限速，其余是主机。",
            "Lines by cause: path_rate and path_loss are the line's own, pacing_cap is the test's pace, all else are "
            "the hosts'.",
        ),
        "none",
        [Query(f"sum by (direction, cause) ({limited}) > 0", "{{direction}} · {{cause}}", Shape.LATEST)],
        (4, 9),
    )
    sheet.place(
        panels.numbers({None: "text"}),
        Words("距最近一次测得", "Since the last measurement"),
        Words(
            "按代理的时钟；过久说明测试一直失败，或没有时段。",
            "By the agent's clock. Where it is long, tests keep failing or have no slot.",
        ),
        "s",
        [Query(f"time() - {queries.paths(metrics.THROUGHPUT_LAST_TEST)}", _WAY, Shape.LATEST)],
        (4, 9),
    )


def _titled(title: Words, way: str) -> Words:
    return Words(f"{title.zh} · {DIRECTIONS[way].zh}", f"{title.en} · {DIRECTIONS[way].en}")
