"""What a fault is, in words, in Chinese and English."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.core.outcome import Direction
from collector.sla.faults import FaultKind
from collector.sla.names import Name
from collector.sla.verdict import Fault

KIND_NAMES: Final = {
    FaultKind.SOURCE_DOWN: Name("采集端读不到数据", "the collector's own source is down"),
    FaultKind.AGENT_DOWN: Name("代理停止", "agent down"),
    FaultKind.UPLINK_DOWN: Name("站点失联", "site cut off"),
    FaultKind.TARGET_DOWN: Name("目标无应答", "target down"),
    FaultKind.DIRECTION_DOWN: Name("单方向中断", "one direction down"),
    FaultKind.PATH_DOWN: Name("路径中断", "path down"),
    FaultKind.CLOCK_BAD: Name("代理时钟失效", "agent's clock bad"),
}


def same_name(identifier: str) -> Name:
    """What a site is called where nobody knows its name."""
    return Name(identifier, identifier)


def describe(fault: Fault, name_of: Callable[[str], Name] = same_name) -> Name:
    """One sentence on a fault: what is broken and what says so.

    Args:
        fault: the fault.
        name_of: gives the name of a site.
    """
    kind = KIND_NAMES[fault.kind]
    what = _what(fault, name_of)
    why = _why(fault)
    return Name(f"{kind.zh}：{what.zh}（{why.zh}）", f"{kind.en}: {what.en} ({why.en})")


def _what(fault: Fault, name_of: Callable[[str], Name]) -> Name:
    if fault.path is not None:
        source, target = name_of(fault.path.source), name_of(fault.path.target)
        where = Name(f"{source.zh} → {target.zh}", f"{source.en} → {target.en}")
    elif fault.site is not None:
        where = name_of(fault.site)
    elif fault.witnesses:
        agents = "1 agent" if fault.witnesses == 1 else f"{fault.witnesses} agents"
        return Name(f"来源缺 {fault.witnesses} 个代理", f"it leaves out {agents}")
    else:
        return Name("所有代理", "all agents")
    match fault.direction:
        case Direction.FORWARD:
            return Name(f"{where.zh} 去程", f"{where.en}, forward")
        case Direction.REVERSE:
            return Name(f"{where.zh} 回程", f"{where.en}, reverse")
        case _:
            return where


def _why(fault: Fault) -> Name:
    match fault.kind:
        case FaultKind.SOURCE_DOWN:
            return Name(
                "结论保持不变，随后为无数据，不判好坏",
                "verdicts stay, then become NO_DATA: neither good nor bad",
            )
        case FaultKind.AGENT_DOWN:
            return Name("读不到该代理，其他代理可以读到", "it is not read, others are")
        case FaultKind.UPLINK_DOWN:
            return Name(
                f"与 {fault.witnesses} 个站点之间的所有路径都无应答",
                f"no path between it and {_sites(fault.witnesses)} is answered",
            )
        case FaultKind.TARGET_DOWN if fault.witnesses == 1:
            return Name(
                "只有一个站点探测它，不能排除路径中断",
                "a single site probes it: the path may be down instead",
            )
        case FaultKind.TARGET_DOWN:
            return Name(f"{fault.witnesses} 个站点都得不到应答", f"{fault.witnesses} sites get no answer")
        case FaultKind.DIRECTION_DOWN if fault.direction is Direction.REVERSE:
            return Name("探测包到达目标，应答没有返回", "probes reach the target, its replies do not return")
        case FaultKind.DIRECTION_DOWN:
            return Name("目标在运行，但收不到探测包", "the target is up and receives no probe")
        case FaultKind.PATH_DOWN:
            return Name("无应答，方向不明", "no answer, and nothing tells the direction")
        case _ if fault.path is not None:
            return Name(
                "测得的时延低于光纤下限：两端时钟之一的误差超出其声明",
                "a delay below what light in fibre takes: one of its two clocks is further off than it says",
            )
        case _ if fault.witnesses:
            return Name(
                f"与 {fault.witnesses} 个站点之间测得的时延低于光纤下限：时钟误差超出其声明",
                f"delays between it and {_sites(fault.witnesses)} below what light in fibre takes: it is further off "
                "than it says",
            )
        case _:
            return Name("时钟不再提供误差上界", "it vouches for no bound of its error")


def _sites(number: int) -> str:
    return "1 site" if number == 1 else f"{number} sites"
