"""What the agent needs a privilege for, and whether it has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from agent.runtime.doctor.service import ServiceFacts

NET_RAW: Final = Check(
    "privilege.net_raw",
    Name(
        "icmp 路径和路由追踪要开原始套接字；没有权限时这些包不会发出，记为未发送。",
        "icmp paths and traced routes need raw sockets: without, none of their packets is sent.",
    ),
)
NET_BIND_SERVICE: Final = Check(
    "privilege.net_bind_service",
    Name(
        "监听 1024 以下的端口（STAMP 是 862）需要权限；没有就不能启动。",
        "Listening below port 1024 (862 is STAMP's) needs it; the agent does not start without.",
    ),
)

_BITS: Final = {"cap_net_bind_service": 10, "cap_net_raw": 13}


@dataclass(frozen=True, slots=True)
class PrivilegeFacts:
    """What is needed and what is there.

    Attributes:
        held: capabilities of whoever is to run the agent: its unit's where there is one, else this process's.
        by_unit: whether they are the unit's.
        icmp_paths, traced_paths: how many paths need raw sockets.
        lowest_port: of those that are listened at; None: none is.
        unprivileged_from: the first port that needs no privilege.
        ping_groups: net.ipv4.ping_group_range; None: not known.
        groups: of this process; None: another's are not known.
    """

    held: frozenset[str]
    by_unit: bool = False
    icmp_paths: int = 0
    traced_paths: int = 0
    lowest_port: int | None = None
    unprivileged_from: int = 1024
    ping_groups: tuple[int, int] | None = None
    groups: frozenset[int] | None = None

    @property
    def pings(self) -> bool:
        """Whether ping sockets may be opened, as far as that is known."""
        if self.ping_groups is None or self.groups is None:
            return False
        least, most = self.ping_groups
        return any(least <= group <= most for group in self.groups)


def judge_privileges(facts: PrivilegeFacts) -> Iterator[Diagnosis]:
    """Whether what the configuration needs is there."""
    yield _net_raw(facts)
    yield _net_bind_service(facts)


def _net_raw(facts: PrivilegeFacts) -> Diagnosis:
    has = "cap_net_raw" in facts.held
    who = Name("单元", "the unit") if facts.by_unit else Name("这个进程", "this process")
    numbers: Numbers = {
        "held": has,
        "by_unit": facts.by_unit,
        "icmp_paths": facts.icmp_paths,
        "traced_paths": facts.traced_paths,
        "ping_socket": facts.pings,
    }
    use = Name(
        f"{facts.icmp_paths} 条 icmp 路径、{facts.traced_paths} 条追踪路由的路径需要 CAP_NET_RAW",
        f"{facts.icmp_paths} icmp paths and {facts.traced_paths} traced ones need CAP_NET_RAW",
    )
    if not facts.icmp_paths and not facts.traced_paths:
        state = Name("有", "has it") if has else Name("没有", "does not have it")
        return NET_RAW.ok(
            Name(
                f"不需要 CAP_NET_RAW（{who.zh}{state.zh}）",
                f"CAP_NET_RAW is not needed ({who.en} {state.en})",
            ),
            numbers=numbers,
        )
    if has:
        return NET_RAW.ok(Name(f"{use.zh}，{who.zh}有", f"{use.en}, and {who.en} has it"), numbers=numbers)
    if facts.pings and not facts.traced_paths:
        return NET_RAW.ok(
            Name(
                f"{use.zh}，{who.zh}没有，但 ping_group_range 允许 ping 套接字",
                f"{use.en}, {who.en} has it not, and ping_group_range lets it open ping sockets",
            ),
            numbers=numbers,
        )
    group = os.getegid() if facts.groups is None else min(facts.groups)
    return NET_RAW.problem(
        Name(f"{use.zh}，{who.zh}没有", f"{use.en}, and {who.en} has it not"),
        Name(
            "单元里写 AmbientCapabilities=CAP_NET_RAW（自带的单元有）；只用 icmp 时也可以 sysctl "
            f"net.ipv4.ping_group_range='{group} {group}'。",
            "AmbientCapabilities=CAP_NET_RAW in its unit (the shipped one has it); for icmp alone also sysctl "
            f"net.ipv4.ping_group_range='{group} {group}'.",
        ),
        numbers=numbers,
    )


def _net_bind_service(facts: PrivilegeFacts) -> Diagnosis:
    has = "cap_net_bind_service" in facts.held
    who = Name("单元", "the unit") if facts.by_unit else Name("这个进程", "this process")
    numbers: Numbers = {
        "held": has,
        "by_unit": facts.by_unit,
        "lowest_port": facts.lowest_port,
        "unprivileged_from": facts.unprivileged_from,
    }
    if facts.lowest_port is None or facts.lowest_port >= facts.unprivileged_from:
        return NET_BIND_SERVICE.ok(
            Name(
                f"不需要：{facts.unprivileged_from} 以下的端口一个也不监听",
                f"not needed: no port below {facts.unprivileged_from} is listened at",
            ),
            numbers=numbers,
        )
    use = Name(
        f"端口 {facts.lowest_port} 需要 CAP_NET_BIND_SERVICE",
        f"port {facts.lowest_port} needs CAP_NET_BIND_SERVICE",
    )
    if has:
        return NET_BIND_SERVICE.ok(
            Name(f"{use.zh}，{who.zh}有", f"{use.en}, and {who.en} has it"), numbers=numbers
        )
    return NET_BIND_SERVICE.problem(
        Name(f"{use.zh}，{who.zh}没有", f"{use.en}, and {who.en} has it not"),
        Name(
            "单元里写 AmbientCapabilities=CAP_NET_BIND_SERVICE（自带的单元有），或监听 1024 以上的端口。",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit (the shipped one has it), or a port from 1024 on.",
        ),
        numbers=numbers,
    )


def gather_privileges(
    service: ServiceFacts | None,
    icmp_paths: int,
    traced_paths: int,
    lowest_port: int | None,
    proc: Path = Path("/proc"),
) -> PrivilegeFacts:
    """What there is, for what is needed."""
    ours = _effective(proc)
    return PrivilegeFacts(
        held=ours if service is None else service.capabilities,
        by_unit=service is not None,
        icmp_paths=icmp_paths,
        traced_paths=traced_paths,
        lowest_port=lowest_port,
        unprivileged_from=(_numbers(proc / "sys/net/ipv4/ip_unprivileged_port_start") or [1024])[0],
        ping_groups=_range(_numbers(proc / "sys/net/ipv4/ping_group_range")),
        groups=None if service is not None else frozenset({os.getegid(), *os.getgroups()}),
    )


def _effective(proc: Path) -> frozenset[str]:
    try:
        lines = (proc / "self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    mask = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return frozenset(name for name, bit in _BITS.items() if mask >> bit & 1)


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def _range(numbers: list[int]) -> tuple[int, int] | None:
    return (numbers[0], numbers[1]) if len(numbers) > 1 else None
