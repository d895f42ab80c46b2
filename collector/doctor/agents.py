"""The agents: whether they are read, directly or by way of Prometheus, measure what the plan asks, and how good their
clocks are for that.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.core.names import Name
from agent.core.outcome import ONE_WAY, Limit
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from agent.runtime.doctor.reach import MOST_SHOWN, NameAnswer, judge_more
from collector.doctor.resolver import KnownNames
from collector.fleet.plan import Plan
from collector.fleet.settings import FleetSettings
from collector.fleet.source import AgentsSourceSettings
from collector.sla.verdict import PathKey
from collector.sources import Source
from collector.sources.agents import AgentsSource
from collector.sources.prometheus import PrometheusSource
from collector.sources.query_api import Access
from collector.sources.samples import AgentReading

READ: Final = Check(
    "agent.read",
    Name(
        "读不到的代理没有数据：它的路径结论都是 NO_DATA。",
        "Of an agent that is not read all paths are NO_DATA.",
    ),
)
PLAN: Final = Check(
    "agent.plan",
    Name(
        "代理没有在测的路径不会有结论；限值或口径不同，结论就不是对这份文件的。",
        "Paths that an agent does not measure have no verdict, and its limits must be those of this file.",
    ),
)
CLOCK: Final = Check(
    "agent.clock",
    Name(
        "单向时延的误差界不小于限值时，除非往返足够短，否则每个包都无法判定。",
        "Where the bound is not below a one-way limit every packet is uncertain, unless round trips are short enough.",
    ),
)
UNRESOLVED: Final = Check(
    "agent.targets",
    Name("代理解析不了的目标不会被探测。", "A target whose name an agent cannot resolve is not probed."),
)

_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent.

    Attributes:
        site, address: whose it is, and where it listens.
        failure: why it was not read; empty where it was.
        clock_source, clock_bound_ns: what it says of its clock; None: nothing.
        strictest: of the one-way limits of its STAMP paths; None: it has none.
        asked: how many paths the plan gives it.
        missing: which of them it does not measure.
        unresolved: to which targets it cannot send.
    """

    site: str
    address: str
    failure: str = ""
    clock_source: str | None = None
    clock_bound_ns: int | None = None
    strictest: Limit | None = None
    asked: int = 0
    missing: tuple[PathKey, ...] = ()
    unresolved: tuple[str, ...] = ()


def judge_agents(facts: Sequence[AgentFacts], source: str) -> Iterator[Diagnosis]:
    """Who is read, does what the plan asks, and has a clock that can prove it.

    Args:
        source: agents or prometheus.
    """
    yield from _read(facts, source)
    read = [one for one in facts if not one.failure]
    yield from _plan(read)
    yield from _clocks(read)
    for one in [one for one in read if one.unresolved][:MOST_SHOWN]:
        named = ", ".join(one.unresolved[:5])
        yield UNRESOLVED.warning(
            Name(f"解析不了 {named}", f"cannot resolve {named}"),
            Name(
                "在那台主机上运行 isochrone-agent doctor，看 name.resolution。",
                "Run isochrone-agent doctor on that host and see name.resolution.",
            ),
            one.site,
            {"targets": len(one.unresolved)},
        )


def _read(facts: Sequence[AgentFacts], source: str) -> Iterator[Diagnosis]:
    failed = [one for one in facts if one.failure]
    numbers: Numbers = {"agents": len(facts), "read": len(facts) - len(failed), "source": source}
    if not facts:
        yield READ.warning(
            Name("没有站点有代理", "no site has an agent"),
            Name("给要测量的站点写 agent: 主机:端口。", "Give the sites that measure `agent: HOST:PORT`."),
            numbers=numbers,
        )
        return
    if len(failed) < len(facts):
        count = len(facts) - len(failed)
        yield READ.ok(
            Name(
                f"{len(facts)} 个代理中读到 {count} 个（{source}）",
                f"{count} of {len(facts)} agents read ({source})",
            ),
            numbers=numbers,
        )
    remedy = Name(
        "看那台主机的 isochrone-agent 是否在运行、listen 是否是采集器到得了的地址、TCP 端口是否放行；"
        "在那里运行 isochrone-agent doctor。",
        "See whether isochrone-agent runs there, listens at an address that the collector can reach, and firewalls let "
        "its TCP port pass; run isochrone-agent doctor there.",
    )
    if source == "prometheus":
        remedy = Name(
            "先看 server.prometheus；再看 Prometheus 的 Targets 页：抓取任务要 honor_labels: true，"
            "并有 /sd/prometheus 给出的 site 标签。",
            "See to server.prometheus first, then to Prometheus' page Targets: the job needs honor_labels: true and "
            "the label site of /sd/prometheus.",
        )
    for one in failed[:MOST_SHOWN]:
        yield READ.problem(
            Name(f"读不到：{one.failure}", f"not read: {one.failure}"),
            remedy,
            f"{one.site} ({one.address})",
            numbers,
        )
    yield from judge_more(READ, len(failed), remedy)


def _plan(read: Sequence[AgentFacts]) -> Iterator[Diagnosis]:
    behind = [one for one in read if one.missing]
    asked = sum(one.asked for one in read)
    missing = sum(len(one.missing) for one in behind)
    numbers: Numbers = {"paths": asked, "missing": missing}
    if read and not behind:
        yield PLAN.ok(
            Name(
                f"计划给它们的 {asked} 条路径都在测",
                f"all {asked} paths that the plan gives them are measured",
            ),
            numbers=numbers,
        )
    for one in behind[:MOST_SHOWN]:
        first = one.missing[0]
        yield PLAN.warning(
            Name(
                f"计划的 {one.asked} 条路径中有 {len(one.missing)} 条没有测，"
                f"例如到 {first.target}（{first.tier}，{first.kind}）",
                f"{len(one.missing)} of the plan's {one.asked} paths are not measured, such as to {first.target} "
                f"({first.tier}, {first.kind})",
            ),
            Name(
                f"isochrone-collector plan --site {one.site} --config … > agent.yaml，放到那台主机上，"
                "systemctl reload isochrone-agent。",
                f"isochrone-collector plan --site {one.site} --config … > agent.yaml, put it there, systemctl reload "
                "isochrone-agent.",
            ),
            one.site,
            {"paths": one.asked, "missing": len(one.missing)},
        )


def _clocks(read: Sequence[AgentFacts]) -> Iterator[Diagnosis]:
    judged = [one for one in read if one.strictest is not None]
    short = [one for one in judged if not _proves(one)]
    if judged and not short:
        largest_ns = max(one.clock_bound_ns or 0 for one in judged)
        yield CLOCK.ok(
            Name(
                f"{len(judged)} 个代理的时钟都够用，最大误差界 {largest_ns / 1e6:.3f} 毫秒",
                f"the clocks of {len(judged)} agents suffice, the largest bound is {largest_ns / 1e6:.3f} ms",
            ),
            numbers={"agents": len(judged), "largest_bound_seconds": largest_ns / 1e9},
        )
    remedy = Name(
        "在那台主机上运行 isochrone-agent doctor，看 clock.limit 的处理办法（chrony、PTP 或 GNSS）。",
        "Run isochrone-agent doctor on that host and see the remedy of clock.limit (chrony, PTP or GNSS).",
    )
    for one in short[:MOST_SHOWN]:
        assert one.strictest is not None
        limit_ms = one.strictest.limit_ns / 1e6
        bound_ns = one.clock_bound_ns
        bound = "∞" if bound_ns is None else f"{bound_ns / 1e6:.3f} ms"
        yield CLOCK.warning(
            Name(
                f"时钟（{one.clock_source or '未知'}）证明不了单向 {limit_ms:g} 毫秒：误差界 {bound}",
                f"its clock ({one.clock_source or 'unknown'}) cannot prove {limit_ms:g} ms one-way: bound {bound}",
            ),
            remedy,
            one.site,
            {
                "bound_seconds": None if bound_ns is None else bound_ns / 1e9,
                "limit_seconds": one.strictest.limit_ns / 1e9,
                "source": one.clock_source,
            },
        )
    if len(short) > MOST_SHOWN:
        more = len(short) - MOST_SHOWN
        yield CLOCK.warning(
            Name(f"另有 {more} 个同样的代理", f"and {more} more"), remedy, "…", {"more": more}
        )


def _proves(facts: AgentFacts) -> bool:
    assert facts.strictest is not None
    return facts.clock_bound_ns is not None and facts.strictest.met_by(facts.clock_bound_ns)


# Gathering


async def gather_agents(
    fleet: FleetSettings, plan: Plan, names: Mapping[str, NameAnswer], access: Access
) -> list[AgentFacts]:
    """Read the source once, as the collector does every interval; `access` is how a Prometheus is asked."""
    source = _opened(fleet, plan, names, access)
    try:
        readings = await source.read()
    finally:
        await source.close()
    return facts_of(plan, readings)


def _opened(fleet: FleetSettings, plan: Plan, names: Mapping[str, NameAnswer], access: Access) -> Source:
    settings, resolver = fleet.source, KnownNames(names)
    if isinstance(settings, AgentsSourceSettings):
        return AgentsSource(plan.agents, _TIMEOUT_S, time.time_ns, resolver)
    return PrometheusSource(
        settings.url, list(plan.agents), settings.interval, _TIMEOUT_S, time.time_ns, access, resolver
    )


def facts_of(plan: Plan, readings: Sequence[AgentReading]) -> list[AgentFacts]:
    """What readings say, held against the plan."""
    asked: dict[str, list[PathKey]] = defaultdict(list)
    for path in plan.paths:
        asked[path.source].append(path)
    found = []
    for reading in readings:
        measured = {one.path for one in reading.readings}
        paths = asked[reading.site]
        found.append(
            AgentFacts(
                reading.site,
                plan.agents.get(reading.site, ""),
                "" if reading.up else reading.reason,
                reading.clock_source,
                reading.clock_bound_ns,
                _strictest(plan, paths),
                len(paths),
                tuple(path for path in paths if path not in measured) if reading.up else (),
                tuple(sorted({one.path.target for one in reading.readings if not one.resolved})),
            )
        )
    return found


def _strictest(plan: Plan, paths: Sequence[PathKey]) -> Limit | None:
    """The smallest one-way limit that STAMP paths are held against."""
    limits = [
        limit
        for path in paths
        if path.kind == "stamp"
        for direction, limit in plan.promised[path].items()
        if direction in ONE_WAY and isinstance(limit, Limit)
    ]
    return min(limits, key=lambda limit: limit.limit_ns, default=None)
