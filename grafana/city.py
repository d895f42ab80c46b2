"""City overview: does the city keep its promise, tier by tier, and where does it not."""

from __future__ import annotations

from agent.core import metrics
from grafana import panels, queries
from grafana.queries import judged
from grafana.selection import choose_judged
from grafana.sheet import Query, Shape, Sheet
from grafana.words import BREACHES, VERDICTS, Language, Words

_SERIES = "{{source}} → {{target}} {{direction}} · {{tier}} {{provider}} · {{objective}}"


def city(language: Language) -> Sheet:
    """The dashboard."""
    sheet = Sheet(
        "city",
        language,
        Words(
            "各层级时延承诺是否兑现。结论由采集器给出，本页只显示。",
            "Whether each tier keeps its promise. The collector judges, this page only shows.",
        ),
        "6h",
    )
    choose_judged(sheet)
    _verdicts(sheet)
    _month(sheet)
    _states(sheet)
    _providers(sheet)
    return sheet


def _verdicts(sheet: Sheet) -> None:
    sheet.row(Words("当前结论", "Verdicts now"))
    sheet.place(
        panels.states(sheet, VERDICTS),
        Words("各层级最差结论", "Worst verdict of each tier"),
        Words(
            "层级内只要有一个方向不达标，即为不达标；其次依次为无数据、无法判定、达标。",
            "A tier fails as soon as one direction of one path does; after that come no data, indeterminate and pass.",
        ),
        "none",
        [Query(queries.worst_verdict("tier"), "{{tier}}", Shape.LATEST)],
        (12, 5),
    )
    sheet.place(
        panels.bars({None: "red", 0.9: "yellow", 1: "green"}),
        Words("已证明达标的比例", "Share that is proven to pass"),
        Words(
            "在受评的路径方向中，结论为达标者所占比例；无法判定与无数据都不算达标。",
            "Of the judged directions, those whose verdict is pass; indeterminate and no data are not counted as pass.",
        ),
        "percentunit",
        [Query(f"avg by (tier) ({judged(metrics.SLA_VERDICT)} == bool 0)", "{{tier}}", Shape.LATEST)],
        (6, 5),
    )
    sheet.place(
        panels.numbers({None: "green", 1: "red"}),
        Words("未关闭的违约", "Open breaches"),
        Words(
            "当前未关闭的违约数；证据见采集器网页。",
            "How many breaches stand open; the evidence is on the collector's page.",
        ),
        "none",
        [Query(f"sum by (tier) ({judged(metrics.SLA_BREACH_OPEN)})", "{{tier}}", Shape.LATEST)],
        (6, 5),
    )


def _month(sheet: Sheet) -> None:
    sheet.row(
        Words(
            "当期履约与预算（月度目标在上方“目标”中选择）",
            "Compliance and budget (choose the month among the objectives)",
        )
    )
    sheet.place(
        panels.bars({None: "red", 0.95: "yellow", 0.999: "green"}),
        Words("已证明的达标率", "Proven compliance"),
        Words(
            "1 减去违约率的单侧 95% 上限，取最差方向：真实达标率至少如此。",
            "1 less the 95 % upper bound of the violation ratio, of the worst direction: compliance is at least this.",
        ),
        "percentunit",
        [
            Query(
                f"""1 - max by (tier, objective) ({judged(metrics.SLA_VIOLATION_RATIO, 'bound="upper"')})""",
                "{{tier}} · {{objective}}",
                Shape.LATEST,
            )
        ],
        (8, 6),
    )
    sheet.place(
        panels.bars({None: "red", 0.1: "yellow", 0.5: "green"}),
        Words("剩余错误预算", "Error budget that remains"),
        Words(
            "目标窗口内还允许违约的份额，取最少者；0 表示已用尽。",
            "What may still be broken within the objective's window, of the path that has least; 0: it is used up.",
        ),
        "percentunit",
        [
            Query(
                f"min by (tier, objective) ({judged(metrics.SLA_ERROR_BUDGET)})",
                "{{tier}} · {{objective}}",
                Shape.LATEST,
            )
        ],
        (8, 6),
    )
    sheet.place(
        panels.bars({None: "red", 0.5: "yellow", 0.9: "green"}),
        Words("观测覆盖率", "Coverage"),
        Words(
            "目标窗口内有观测的时间份额，取最少者；不足则结论为无数据。",
            "Share of the objective's window that was observed, of the path that has least; too little is no data.",
        ),
        "percentunit",
        [
            Query(
                f"min by (tier, objective) ({judged(metrics.SLA_COVERAGE)})",
                "{{tier}} · {{objective}}",
                Shape.LATEST,
            )
        ],
        (8, 6),
    )
    sheet.place(
        panels.lines(),
        Words("预算消耗", "Budget over time"),
        Words(
            "各层级剩余错误预算的走势，取最少者。",
            "How each tier's remaining error budget develops, of the path that has least.",
        ),
        "percentunit",
        [Query(f"min by (tier, objective) ({judged(metrics.SLA_ERROR_BUDGET)})", "{{tier}} · {{objective}}")],
        (24, 7),
    )


def _states(sheet: Sheet) -> None:
    sheet.row(Words("路径状态", "State of the paths"))
    sheet.place(
        panels.timeline(sheet, VERDICTS).data_links([panels.to_path(sheet), panels.to_page(sheet)]),
        Words("各路径方向的结论", "Verdict of each direction of each path"),
        Words(
            "每行一条路径的一个方向；点击可查看该路径，或在采集器网页查看依据。",
            "A line is one direction of a path; click it for the path, or for the evidence on the collector's page.",
        ),
        "none",
        [Query(judged(metrics.SLA_VERDICT), _SERIES)],
        (24, 12),
    )
    columns = {
        "source": Words("源", "Source"),
        "target": Words("目标", "Target"),
        "direction": Words("方向", "Direction"),
        "tier": Words("层级", "Tier"),
        "provider": Words("服务商", "Provider"),
        "objective": Words("目标项", "Objective"),
        "Value": Words("状态", "State"),
    }
    hidden = ("Time", "__name__", "instance", "job", "kind", "dscp")
    sheet.place(
        panels.rows(sheet, columns, hidden=hidden).mappings(sheet.states(BREACHES)),
        Words("未关闭违约清单", "List of open breaches"),
        Words("每行一个违约。没有违约时为空。", "A line is a breach. Empty where there is none."),
        "none",
        [Query(f"{judged(metrics.SLA_BREACH_OPEN)} == 1", shape=Shape.TABLE)],
        (24, 8),
    )


def _providers(sheet: Sheet) -> None:
    sheet.row(Words("服务商对比", "Providers compared"))
    sheet.place(
        panels.bars({None: "red", 0.9: "yellow", 1: "green"}),
        Words("各服务商已证明达标的比例", "Share proven to pass, by provider"),
        Words(
            "各服务商受评路径方向中结论为达标者所占比例。",
            "Of each provider's judged directions of paths, those whose verdict is pass.",
        ),
        "percentunit",
        [
            Query(
                f"avg by (provider, tier) ({judged(metrics.SLA_VERDICT)} == bool 0)",
                "{{provider}} · {{tier}}",
                Shape.LATEST,
            )
        ],
        (8, 8),
    )
    within = queries.paths(metrics.PROBE_OUTCOMES, queries.ONE_WAY, 'outcome="within"')
    lost = queries.paths(metrics.PROBE_OUTCOMES, queries.ONE_WAY, 'outcome=~"lost|unattributed"')
    every = queries.paths(metrics.PROBE_OUTCOMES, queries.ONE_WAY)
    sheet.place(
        panels.lines(),
        Words("限内的包所占比例（单向）", "Packets within the limit (one-way)"),
        Words(
            "确证在限值内到达的包占全部包的比例，去程与回程合计。",
            "Packets proven to have arrived within the limit, of all packets, both directions together.",
        ),
        "percentunit",
        [Query(queries.share(within, every, "provider, tier"), "{{provider}} · {{tier}}")],
        (8, 8),
    )
    sheet.place(
        panels.lines(),
        Words("丢包率（单向）", "Loss (one-way)"),
        Words(
            "丢失的包占全部包的比例，含方向不明者，去程与回程合计。",
            "Packets lost, of all packets, with those whose direction is not known, both directions together.",
        ),
        "percentunit",
        [Query(queries.share(lost, every, "provider, tier"), "{{provider}} · {{tier}}")],
        (8, 8),
    )
