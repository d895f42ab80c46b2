"""One path: how its packets fare in each direction, held against what is promised and what physics allows."""

from __future__ import annotations

from agent.core import metrics
from grafana import panels, queries
from grafana.queries import path
from grafana.selection import choose_path
from grafana.sheet import Query, Shape, Sheet
from grafana.words import BREACHES, DIRECTIONS, OUTCOMES, VERDICTS, Language, Words, same

_JUDGED = "{{direction}} · {{objective}}"
_LIMIT = Words("限值", "limit")
_FLOOR = Words("物理下限", "floor")


def one_path(language: Language) -> Sheet:
    """The dashboard."""
    sheet = Sheet(
        "path",
        language,
        Words(
            "一条路径的去程与回程：时延、结果、抖动、时钟与路由。",
            "One path there and back: delays, outcomes, variation, clocks and route.",
        ),
        "3h",
    )
    choose_path(sheet)
    sheet.annotate(
        Words("违约", "Breach"), f"{path(metrics.SLA_BREACH_OPEN)} == 1", "red", "{{direction}} {{objective}}"
    )
    sheet.annotate(
        Words("路由变化", "Route change"),
        f"{queries.increase(path(metrics.ROUTE_CHANGES))} > 0",
        "blue",
        "{{kind}}",
    )
    _verdicts(sheet)
    _one_way(sheet)
    _variation(sheet)
    _round_trip(sheet)
    _route(sheet)
    return sheet


def _verdicts(sheet: Sheet) -> None:
    sheet.row(Words("结论", "Verdicts"))
    sheet.place(
        panels.states(sheet, VERDICTS).data_links([panels.to_page(sheet)]),
        Words("当前结论", "Verdicts now"),
        Words(
            "各方向、各目标的结论；依据见采集器网页。",
            "Of each direction and objective; why is on the collector's page.",
        ),
        "none",
        [Query(path(metrics.SLA_VERDICT), _JUDGED, Shape.LATEST)],
        (9, 5),
    )
    sheet.place(
        panels.states(sheet, BREACHES),
        Words("违约", "Breaches"),
        Words(
            "各方向、各目标是否有未关闭的违约。", "Whether a breach stands open, by direction and objective."
        ),
        "none",
        [Query(path(metrics.SLA_BREACH_OPEN), _JUDGED, Shape.LATEST)],
        (6, 5),
    )
    sheet.place(
        panels.numbers({None: "text"}),
        Words("限值与物理下限", "Limit and floor"),
        Words(
            "各方向承诺的限值，以及光纤距离决定的最小时延。",
            "What is promised in each direction, and the least delay that the length of the fibre allows.",
        ),
        "s",
        [
            Query(path(metrics.DELAY_LIMIT), _legend(_LIMIT, "{{direction}} {{operator}}"), Shape.LATEST),
            Query(path(metrics.DELAY_FLOOR), _legend(_FLOOR, "{{direction}}"), Shape.LATEST),
        ],
        (9, 5),
    )


def _one_way(sheet: Sheet) -> None:
    sheet.row(Words("单向时延", "One-way delays"))
    for panel in (_distribution, _percentiles):
        for direction in ("forward", "reverse"):
            panel(sheet, direction, 12)
    sheet.row(Words("结果", "Outcomes"))
    for direction in ("forward", "reverse"):
        _shares(sheet, direction, 12)


def _round_trip(sheet: Sheet) -> None:
    sheet.row(
        Words("往返（按往返评判的层级看这里）", "Round trip (what tiers judged by it are held against)")
    )
    for panel in (_distribution, _percentiles, _shares):
        panel(sheet, "round_trip", 8)


def _distribution(sheet: Sheet, direction: str, width: int) -> None:
    only = f'direction="{direction}"'
    limit, floor = (path(metric, only) for metric in (metrics.DELAY_LIMIT, metrics.DELAY_FLOOR))
    sheet.place(
        panels.buckets(),
        _titled(Words("时延分布", "Delays"), direction),
        Words(
            "每格为落入该时延区间的包数；红点标出限值与物理下限：各在不高于它的最近刻度上。",
            "Packets per interval of delay. Red dots mark limit and floor, each at the scale's last step not above it.",
        ),
        "s",
        [
            Query(
                f"sum by (le) ({queries.increase(path(metrics.DELAY + '_bucket', only))})",
                "{{le}}",
                Shape.HEATMAP,
            ),
            Query(
                f"{queries.mark('limit', limit)} or {queries.mark('floor', floor)}",
                shape=Shape.MARKS,
            ),
        ],
        (width, 10),
    )


def _percentiles(sheet: Sheet, direction: str, width: int) -> None:
    only = f'direction="{direction}"'
    delay = path(metrics.DELAY + "_bucket", only)
    sheet.place(
        panels.bounds(panels.lines(), sheet.say(_LIMIT), sheet.say(_FLOOR)),
        _titled(Words("时延百分位与限值", "Delay percentiles and limit"), direction),
        Words(
            "p50、p99、p99.9 由直方图插值，仅供观察；结论从不取自插值。虚线为限值与物理下限。",
            "p50, p99 and p99.9 are interpolated: to look at, never judged by. Dashed: the limit and the floor.",
        ),
        "s",
        [
            Query(queries.quantile(0.5, delay), "p50"),
            Query(queries.quantile(0.99, delay), "p99"),
            Query(queries.quantile(0.999, delay), "p99.9"),
            Query(f"max({path(metrics.DELAY_LIMIT, only)})", _LIMIT),
            Query(f"max({path(metrics.DELAY_FLOOR, only)})", _FLOOR),
        ],
        (width, 10),
    )


def _shares(sheet: Sheet, direction: str, width: int) -> None:
    counted = queries.rate(path(metrics.PROBE_OUTCOMES, f'direction="{direction}"'))
    sheet.place(
        panels.named(sheet, panels.lines(stacked=True), OUTCOMES),
        _titled(Words("各结果所占比例", "Share of each outcome"), direction),
        Words(
            "每个包恰好属于一种：限内、超限、不确定（时钟误差内无法断定）、丢失、丢失但方向不明。",
            "Every packet counts once: within, over, uncertain (the clocks cannot tell), lost, or lost either way.",
        ),
        "percentunit",
        [Query(f"sum by (outcome) ({counted}) / on () group_left () sum({counted})", "{{outcome}}")],
        (width, 10),
    )


def _variation(sheet: Sheet) -> None:
    sheet.row(Words("抖动与时钟", "Variation and clocks"))
    queried = []
    for direction in ("forward", "reverse"):
        variation = path(metrics.DELAY_VARIATION + "_bucket", f'direction="{direction}"')
        queried += [
            Query(queries.quantile(of, variation), _legend(DIRECTIONS[direction], f"p{of * 100:g}"))
            for of in (0.5, 0.99)
        ]
    sheet.place(
        panels.lines(),
        Words("时延变化 PDV", "Delay variation (PDV)"),
        Words(
            "时延减去近期最小时延（RFC 5481），由直方图插值。",
            "Delay less the recent minimum (RFC 5481), interpolated from a histogram.",
        ),
        "s",
        queried,
        (8, 8),
    )
    sheet.place(
        panels.lines(),
        Words("相邻包时延变化 IPDV", "Interpacket delay variation (IPDV)"),
        Words(
            "相邻两包时延之差的绝对值的平均（RFC 3393）。",
            "The mean of by how much packets that follow each other differ in delay, without sign (RFC 3393).",
        ),
        "s",
        [
            Query(
                queries.mean(path(metrics.INTERPACKET_DELAY_VARIATION + "%s", f'direction="{direction}"')),
                DIRECTIONS[direction],
            )
            for direction in ("forward", "reverse")
        ],
        (8, 8),
    )
    bound = f'max by (site) ({metrics.CLOCK_ERROR_BOUND}{{site=~"$source|$target"}})'
    sheet.place(
        panels.lines(),
        Words("时钟误差界占限值的比例", "Clock bound as a share of the limit"),
        Words(
            "两端时钟误差界各占限值的多少；越接近 1，越多的包只能判为不确定。",
            "How much of the limit each end's clock may be off; the nearer to 1, the more packets must stay uncertain.",
        ),
        "percentunit",
        [
            Query(
                f"{bound} / on () group_left () min({path(metrics.DELAY_LIMIT, queries.ONE_WAY)})", "{{site}}"
            )
        ],
        (8, 8),
    )


def _route(sheet: Sheet) -> None:
    sheet.row(Words("路由与探测", "Route and probing"))
    sheet.place(
        panels.lines(),
        Words("路由跳数", "Hops of the route"),
        Words(
            "路由探测看到的跳数；改道常伴随跳数变化。",
            "Seen by the route probe; a new route often has another number.",
        ),
        "none",
        [Query(path(metrics.ROUTE_HOPS), same("{{source}} → {{target}}"))],
        (8, 8),
    )
    sheet.place(
        panels.lines(),
        Words("路由变化次数", "Route changes"),
        Words(
            "每个时间区间内路由改变的次数。", "How often the route changed within each interval of the graph."
        ),
        "none",
        [Query(queries.increase(path(metrics.ROUTE_CHANGES)), same("{{source}} → {{target}}"))],
        (8, 8),
    )
    sheet.place(
        panels.lines(),
        Words("探测包与异常", "Probes and oddities"),
        Words(
            "每秒发送的探测包；迟到、重复与乱序不计为丢失，另行统计。",
            "Probes sent per second. Late, duplicate and reordered packets are counted beside, never as loss.",
        ),
        "pps",
        [
            Query(f"sum({queries.rate(path(metric))})", words)
            for metric, words in (
                (metrics.PROBE_SENT, Words("发送", "sent")),
                (metrics.PROBE_LATE, Words("迟到", "late")),
                (metrics.PROBE_DUPLICATES, Words("重复", "duplicates")),
                (metrics.PROBE_REORDERED, Words("乱序", "reordered")),
                (metrics.CLOCK_CONTRADICTIONS, Words("时钟矛盾", "clock contradictions")),
            )
        ],
        (8, 8),
    )


def _titled(title: Words, direction: str) -> Words:
    way = DIRECTIONS[direction]
    return Words(f"{title.zh} · {way.zh}", f"{title.en} · {way.en}")


def _legend(words: Words, labels: str) -> Words:
    return Words(f"{words.zh} {labels}", f"{words.en} {labels}")
