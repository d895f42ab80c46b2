"""Fleet health: the agents, their clocks, their sends, the reflectors and the collector."""

from __future__ import annotations

from agent.core import metrics
from grafana import panels, queries
from grafana.queries import agents, sent_from
from grafana.selection import choose_agents
from grafana.sheet import Query, Shape, Sheet
from grafana.words import FAULTS, REACHED, RESOLVED, SYNCHRONISED, Language, Words

_PATH = "{{source}} → {{target}} · {{tier}} {{provider}} {{kind}}"
_OF_COLLECTOR = f"and on (instance) {metrics.EVALUATION_DURATION}_count"


def fleet(language: Language) -> Sheet:
    """The dashboard."""
    sheet = Sheet(
        "fleet",
        language,
        Words(
            "探针、时钟、发送、反射端与采集器自身是否健康：测量本身可信吗？",
            "Whether agents, clocks, sending, reflectors and collector are well: can the measurement be trusted?",
        ),
        "6h",
    )
    choose_agents(sheet)
    _agents(sheet)
    _clocks(sheet)
    _sending(sheet)
    _reflectors(sheet)
    _collector(sheet)
    return sheet


def _agents(sheet: Sheet) -> None:
    sheet.row(Words("探针", "Agents"))
    sheet.place(
        panels.timeline(sheet, REACHED),
        Words("采集器能否读到探针", "Whether the collector reads the agents"),
        Words("每行一个站点的探针，由采集器报告。", "A line is the agent of a site; the collector says so."),
        "none",
        [Query(f'{metrics.SOURCE_UP}{{source=~"$site"}}', "{{source}}")],
        (12, 9),
    )
    columns = {
        "site": Words("站点", "Site"),
        "site_provider": Words("服务商", "Provider"),
        "version": Words("版本", "Version"),
        "python": Words("Python 版本", "Python"),
        "plan": Words("计划", "Plan"),
        "transmit": Words("发送时戳", "Transmit stamps"),
        "receive": Words("接收时戳", "Receive stamps"),
    }
    plan = f"""label_replace({agents(metrics.PLAN_INFO)}, "plan", "$1", "version", "(.*)")"""
    sheet.place(
        panels.rows(sheet, columns, hidden=("Time", "Value #A", "Value #B", "Value #C")),
        Words("版本、计划与时戳", "Versions, plans and stamps"),
        Words(
            "探针的程序版本、执行的计划与时戳来源；内核时戳优于用户态。",
            "What each agent runs, which plan it carries out, and where its stamps come from; the kernel's are better.",
        ),
        "none",
        [
            Query(
                f"max by (site, site_provider, version, python) ({agents(metrics.BUILD_INFO)})",
                shape=Shape.TABLE,
            ),
            Query(f"max by (site, plan) ({plan})", shape=Shape.TABLE),
            Query(
                f"max by (site, transmit, receive) ({agents(metrics.TIMESTAMPING_INFO)})", shape=Shape.TABLE
            ),
        ],
        (12, 9),
    )
    sheet.place(
        panels.lines(),
        Words("探针内存", "Memory of the agents"),
        Words("探针进程占用的物理内存。", "Resident memory of each agent's process."),
        "bytes",
        [Query(agents("process_resident_memory_bytes"), "{{site}}")],
        (12, 7),
    )
    sheet.place(
        panels.lines(),
        Words("探针处理器占用", "Processor use of the agents"),
        Words(
            "探针进程占用的处理器份额，1 为一个核。",
            "Share of one processor core that each agent's process takes.",
        ),
        "percentunit",
        [Query(queries.rate(agents("process_cpu_seconds_total")), "{{site}}")],
        (12, 7),
    )


def _clocks(sheet: Sheet) -> None:
    sheet.row(Words("时钟", "Clocks"))
    sheet.place(
        panels.timeline(sheet, SYNCHRONISED),
        Words("时钟是否同步", "Whether clocks are synchronised"),
        Words(
            "未同步的时钟不能证明任何单向时延。", "A clock that is not synchronised proves no one-way delay."
        ),
        "none",
        [Query(agents(metrics.CLOCK_SYNCHRONIZED), "{{site}} · {{clock_source}}")],
        (12, 8),
    )
    sheet.place(
        panels.lines(),
        Words("时钟误差界", "Clock error bound"),
        Words(
            "时钟相对 UTC 最多偏离多少；无从得知时为无穷大。",
            "How far each clock may be off UTC; infinite where nothing is known.",
        ),
        "s",
        [Query(agents(metrics.CLOCK_ERROR_BOUND), "{{site}} · {{clock_source}}")],
        (12, 8),
    )
    sheet.place(
        panels.lines(),
        Words("时钟跳变", "Clock steps"),
        Words(
            "时钟被拨动的次数；跨越跳变的包时延未知。",
            "How often clocks were set; replies across a step have no known delay.",
        ),
        "none",
        [Query(queries.increase(agents(metrics.CLOCK_STEPS)), "{{site}}")],
        (12, 7),
    )
    sheet.place(
        panels.lines(),
        Words("相互矛盾的测量", "Contradictions"),
        Words(
            "证明时钟偏差超出其误差界的回复，以及比物理下限还快的回复。",
            "Replies that prove a clock wrong by more than it admits, and replies faster than the distance allows.",
        ),
        "none",
        [
            Query(
                f"sum by (site) ({queries.increase(sent_from(metric))})",
                Words(f"{words.zh} {{{{site}}}}", f"{words.en} {{{{site}}}}"),
            )
            for metric, words in (
                (metrics.CLOCK_CONTRADICTIONS, Words("时钟", "clock")),
                (metrics.FLOOR_CONTRADICTIONS, Words("下限", "floor")),
            )
        ],
        (12, 7),
    )


def _sending(sheet: Sheet) -> None:
    sheet.row(Words("发送", "Sending"))
    lag = queries.rate(agents(metrics.SEND_LAG + "_bucket"))
    sheet.place(
        panels.lines(),
        Words("发送滞后", "Send lag"),
        Words(
            "探测包晚于计划多久发出；过大说明主机太忙。",
            "How much later than planned probes leave; much of it says that the host is too busy.",
        ),
        "s",
        [
            Query(f"histogram_quantile({of}, sum by (le, site) ({lag}))", f"{{{{site}}}} p{of * 100:g}")
            for of in (0.5, 0.99)
        ],
        (12, 8),
    )
    sent = queries.rate(sent_from(metrics.PROBE_SENT))
    sheet.place(
        panels.lines(),
        Words("发送速率", "Probes sent"),
        Words("每个站点每秒发出的探测包。", "Probes that each site sends per second."),
        "pps",
        [Query(f"sum by (site) ({sent})", "{{site}}")],
        (6, 8),
    )
    not_sent = queries.rate(sent_from(metrics.PROBE_NOT_SENT))
    sheet.place(
        panels.lines(),
        Words("未发送", "Not sent"),
        Words(
            "到期而未发出的探测包，按原因；从不计为丢失。",
            "Probes due that were not sent, by reason; never counted as loss.",
        ),
        "pps",
        [Query(f"sum by (site, reason) ({not_sent}) or 0 * sum by (site) ({sent})", "{{site}} {{reason}}")],
        (6, 8),
    )
    sheet.place(
        panels.lines(),
        Words("丢弃的回复", "Replies discarded"),
        Words(
            "收到但不是任何探测包回复的报文，按种类与原因。",
            "What came and was no reply to a probe, by kind and reason.",
        ),
        "pps",
        [
            Query(
                f"sum by (site, kind, reason) ({queries.rate(agents(metrics.SENDER_REPLIES))}) "
                f"or 0 * max by (site) ({agents(metrics.CLOCK_SYNCHRONIZED)})",
                "{{site}} {{kind}} {{reason}}",
            )
        ],
        (12, 8),
    )
    sheet.place(
        panels.timeline(sheet, RESOLVED),
        Words("目标地址解析", "Addresses of targets"),
        Words(
            "每行一条路径；地址未知时不发送。",
            "A line is a path; nothing is sent where the address is not known.",
        ),
        "none",
        [Query(sent_from(metrics.TARGET_RESOLVED), _PATH)],
        (12, 8),
    )


def _reflectors(sheet: Sheet) -> None:
    sheet.row(Words("反射端", "Reflectors"))
    sheet.place(
        panels.lines(),
        Words("反射端收到的报文", "Packets at the reflectors"),
        Words(
            "按处理结果：已回复，或被拒绝的原因。",
            "By what became of them: answered, or why they were refused.",
        ),
        "pps",
        [
            Query(
                f"sum by (site, result) ({queries.rate(agents(metrics.REFLECTOR_PACKETS))})",
                "{{site}} {{result}}",
            )
        ],
        (12, 8),
    )
    sheet.place(
        panels.lines(),
        Words("后续遥测", "Follow-up telemetry"),
        Words(
            "回复中，下一个回复是否报告了其真实发出时刻（RFC 8972 第 4.7 节）。",
            "Replies by whether the next one told when they really left (RFC 8972, section 4.7).",
        ),
        "pps",
        [Query(f"sum by (site, result) ({queries.rate(agents(metrics.FOLLOW_UPS))})", "{{site}} {{result}}")],
        (12, 8),
    )


def _collector(sheet: Sheet) -> None:
    sheet.row(Words("采集器", "Collector"))
    sheet.place(
        panels.named(sheet, panels.lines(stacked=True), FAULTS),
        Words("已知故障", "Known faults"),
        Words(
            "采集器由心跳、共用站点的路径与反射端的计数确认的故障，按类别计数；何处与依据见采集器页面。",
            "What heartbeats, paths that share a site and reflectors' counts prove to be broken, by kind; the "
            "collector's page says where.",
        ),
        "none",
        [Query(f"max by (kind) ({metrics.FAULTS})", "{{kind}}")],
        (24, 7),
    )
    sheet.place(
        panels.lines(),
        Words("评估耗时", "Duration of evaluations"),
        Words("一次评估所有目标的平均耗时。", "The mean time that judging everything once takes."),
        "s",
        [Query(queries.mean(metrics.EVALUATION_DURATION + "%s"), Words("平均", "mean"))],
        (6, 8),
    )
    sheet.place(
        panels.lines(),
        Words("评估频率", "Evaluations"),
        Words(
            "每秒评估次数；为 0 说明采集器停滞。",
            "How many there are per second; 0 says that the collector stands still.",
        ),
        "ops",
        [Query(f"sum({queries.rate(metrics.EVALUATION_DURATION + '_count')})", Words("评估", "evaluations"))],
        (6, 8),
    )
    sheet.place(
        panels.lines(),
        Words("通知", "Notifications"),
        Words("按渠道与结果统计的通知尝试。", "Tries to tell somebody, by channel and result."),
        "none",
        [Query(queries.increase(metrics.NOTIFICATIONS), "{{channel}} {{result}}")],
        (6, 8),
    )
    sheet.place(
        panels.lines(),
        Words("采集器内存", "Memory of the collector"),
        Words("采集器进程占用的物理内存。", "Resident memory of the collector's process."),
        "bytes",
        [Query(f"process_resident_memory_bytes {_OF_COLLECTOR}", "{{instance}}")],
        (6, 8),
    )
