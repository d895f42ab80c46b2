"""The targets: one probe to each, by the agent's own probers, sockets and keys, and what came of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agent.core.authentication import KeyRing
from agent.core.measurement import Measurements
from agent.core.names import Name
from agent.core.outcome import Direction
from agent.core.route import AnswerKind
from agent.core.schedule import Schedule
from agent.doctor.clock import PromisedLimit
from agent.doctor.stamps import StampFacts
from agent.net.addresses import decode_address
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.icmp import IcmpProbes
from agent.probes.probed import OutletKind
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.probes.tcp import TcpProbes
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from agent.runtime.doctor.reach import MOST_SHOWN, NameAnswer, connect, judge_more
from agent.runtime.probe_address import KINDS, ProbeKind, format_address
from agent.runtime.quantities import Endpoint
from agent.settings import PathSettings

REACH: Final = Check(
    "target.reach",
    Name(
        "目标不应答，这条路径的每个包都记为丢失。",
        "All packets of a path whose target is silent are lost.",
    ),
)

MOST_PROBED: Final = 1000
"""Of more targets an even choice is probed."""
_PER_SECOND: Final = 500
_SHORTEST_INTERVAL_NS: Final = 100_000_000
_LONGEST_TIMEOUT_NS: Final = 2_000_000_000
_SECOND_NS: Final = 1_000_000_000
_OVERDUE: Final = "overdue"
_ROUND_TRIP: Final = tuple(Direction).index(Direction.ROUND_TRIP)


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One path, probed once.

    Attributes:
        path: its settings.
        round_trip_ns: of its reply; None: none came.
        failure: why no probe was sent, or what came in its reply's stead; empty: nothing.
        sent: whether the probe was sent.
    """

    path: PathSettings
    round_trip_ns: int | None = None
    failure: str = ""
    sent: bool = False

    @property
    def shown(self) -> str:
        """The path as a person knows it."""
        return f"{self.path.target} ({self.path.kind} {format_address(self.path.kind, self.path.address)})"


def judge_targets(facts: Sequence[TargetFacts], paths: int) -> Iterator[Diagnosis]:
    """Who answers and who does not.

    Args:
        facts: of those that were probed.
        paths: how many are configured.
    """
    if not facts:
        return
    answered = sorted(one.round_trip_ns for one in facts if one.round_trip_ns is not None)
    silent = [one for one in facts if one.round_trip_ns is None]
    numbers: Numbers = {
        "paths": paths,
        "probed": len(facts),
        "answered": len(answered),
        "round_trip_min_seconds": answered[0] / 1e9 if answered else None,
        "round_trip_max_seconds": answered[-1] / 1e9 if answered else None,
    }
    if answered:
        least, most = answered[0] / 1e6, answered[-1] / 1e6
        part = Name("", "")
        if paths > MOST_PROBED:
            part = Name(f"（{paths} 条路径中抽查）", f" (an even choice of {paths} paths)")
        found = Name(
            f"{len(facts)} 个目标中 {len(answered)} 个应答，往返 {least:.3f} 至 {most:.3f} 毫秒{part.zh}",
            f"{len(answered)} of {len(facts)} targets answer, round trips {least:.3f} to {most:.3f} ms{part.en}",
        )
        yield REACH.ok(found, numbers=numbers)
    for one in silent[:MOST_SHOWN]:
        yield _silent(one)
    yield from judge_more(REACH, len(silent), _REMEDIES["stamp"])


_REMEDIES: Final[Mapping[ProbeKind, Name]] = {
    "stamp": Name(
        "看对端的代理是否在运行、反射器监听的地址和端口（UDP 862）、它的 allow 名单里有没有本机，途中的防火墙；"
        "对端 isochrone_reflector_packets_total 会说出拒绝的原因。",
        "See whether the agent there runs, where its reflector listens (UDP 862), whether this host is on its allow "
        "list, and the firewalls on the way: its isochrone_reflector_packets_total tells why it refuses.",
    ),
    "icmp": Name(
        "看对端与途中的防火墙是否放行 ICMP echo：ping 同一个地址对照。",
        "See whether the host and the firewalls on the way let ICMP echo pass: compare with ping.",
    ),
    "tcp": Name(
        "看那个服务是否在运行、端口是否正确、防火墙是否放行。",
        "See whether the service runs, the port is right, and firewalls let it pass.",
    ),
}
_NOT_SENT: Final = Name(
    "看这台主机去那里的路由与出口防火墙：ip route get 地址。",
    "See this host's route to it and its own firewall: ip route get ADDRESS.",
)
_PERMISSION: Final = Name(
    "以 root 运行 doctor，或先解决 privilege.net_raw。",
    "Run doctor as root, or see to privilege.net_raw first.",
)


def _silent(facts: TargetFacts) -> Diagnosis:
    path = facts.path
    numbers = {"kind": path.kind, "sent": facts.sent, "failure": facts.failure or None}
    if not facts.sent:
        permitted = facts.failure != "not_permitted"
        return REACH.problem(
            Name(f"探测包没有发出：{facts.failure}", f"the probe was not sent: {facts.failure}"),
            _NOT_SENT if permitted else _PERMISSION,
            facts.shown,
            numbers,
        )
    said = Name(f"：{facts.failure}", f": {facts.failure}") if facts.failure else Name("", "")
    return REACH.problem(
        Name(f"没有应答{said.zh}", f"no answer{said.en}"), _REMEDIES[path.kind], facts.shown, numbers
    )


def promised_limits(
    paths: Sequence[PathSettings], probed: Sequence[TargetFacts]
) -> tuple[PromisedLimit, ...]:
    """The one-way limits that STAMP paths are promised, those of a tier and a limit together.

    Where only the round trip is promised, the clock need prove nothing.
    """
    proofs: dict[int, bool] = {
        id(one.path): _proves(one.path, one.round_trip_ns) for one in probed if one.round_trip_ns is not None
    }
    grouped: dict[tuple[str, str, Any], PromisedLimit] = {}
    for path in paths:
        if path.kind != "stamp" or (path.limits.forward is None and path.limits.reverse is None):
            continue
        forward, reverse, _ = path.limits.complete()
        floors = path.floors_ns()
        both = [("", forward)] if forward == reverse else [("forward", forward), ("reverse", reverse)]
        for direction, limit in both:
            floor_ns = max(floors) if not direction else floors[direction == "reverse"]
            known = grouped.get((path.tier, direction, limit), PromisedLimit(path.tier, direction, limit))
            proof = proofs.get(id(path))
            if proof is None or known.by_round_trip is None:
                proof = proof if known.by_round_trip is None else known.by_round_trip
            else:
                proof = proof and known.by_round_trip
            grouped[path.tier, direction, limit] = replace(
                known,
                floor_ns=max(known.floor_ns, floor_ns),
                paths=known.paths + 1,
                by_round_trip=proof,
            )
    return tuple(grouped.values())


def _proves(path: PathSettings, round_trip_ns: int) -> bool:
    """Whether a round trip is short enough to prove both one-way limits."""
    forward, reverse, _ = path.limits.complete()
    floor_forward, floor_reverse = path.floors_ns()
    return forward.met_by(round_trip_ns - floor_reverse) and reverse.met_by(round_trip_ns - floor_forward)


# Gathering


async def gather_targets(
    paths: Sequence[PathSettings],
    names: Mapping[str, NameAnswer],
    clock: LocalClock,
    keys: KeyRing | None,
) -> tuple[list[TargetFacts], list[StampFacts]]:
    """Probe each path once, at 500 a second at most; and what the sockets that were used gave for times.

    Args:
        names: what the targets' hosts resolve to; those that do not are left out.
        keys: sign; paths whose key is missing are left out.
    """
    step = -(-len(paths) // MOST_PROBED) or 1
    chosen = [path for path in paths[::step] if names.get(path.address.host, NameAnswer()).addresses]
    chosen = [
        path for path in chosen if path.authenticated_ssid is None or _has_key(keys, path.authenticated_ssid)
    ]
    targets: list[TargetFacts] = []
    stamps: list[StampFacts] = []
    for kind in KINDS:
        of_kind = [path for path in chosen if path.kind == kind]
        if of_kind:
            probed, used = await _probe(kind, of_kind, names, clock, keys)
            targets += probed
            stamps += used
    return targets, stamps


def _has_key(keys: KeyRing | None, ssid: int) -> bool:
    return keys is not None and bool(keys.keys(ssid))


def _once(path: PathSettings, paths: int, names: Mapping[str, NameAnswer]) -> PathSettings:
    """The path as it is probed here: at an address, and with so many others within a bounded rate."""
    address = names[path.address.host].addresses[0]
    interval_ns = max(_SHORTEST_INTERVAL_NS, paths * _SECOND_NS // _PER_SECOND)
    return path.model_copy(
        update={
            "address": Endpoint(address, path.address.port),
            "interval": interval_ns,
            "schedule": Schedule.PERIODIC,
            "timeout": min(path.timeout, _LONGEST_TIMEOUT_NS),
            "follow_up": False,  # no next reply comes to tell when the one before left
            "route": None,
        }
    )


async def _probe(
    kind: ProbeKind,
    paths: Sequence[PathSettings],
    names: Mapping[str, NameAnswer],
    clock: LocalClock,
    keys: KeyRing | None,
) -> tuple[list[TargetFacts], list[StampFacts]]:
    round_trips: dict[int, int] = {}

    def record(measured: Measurements) -> None:
        if measured.answered:
            rows, delays_ns = measured.probes.rows.tolist(), measured.delays_ns[_ROUND_TRIP].tolist()
            round_trips.update(zip(rows, delays_ns, strict=True))

    outlets: dict[ProbeKind, OutletKind] = {
        "stamp": StampProbes(keys, describe=True),
        "icmp": IcmpProbes(),
        "tcp": TcpProbes(),
    }
    once = [_once(path, len(paths), names) for path in paths]
    prober = Prober(outlets[kind], "doctor", once, clock, random.Random(), record=record, probes=1)
    try:
        await prober.start()
        await prober.idle()
        sockets = prober.sockets
        await prober.stop()
    finally:
        await prober.close()
    said = _icmp_errors(sockets)
    probed = []
    for path, probing in zip(paths, prober.paths, strict=True):
        ledger = probing.ledger
        assert not ledger.broken_laws(), ledger.broken_laws()
        address = str(probing.settings.address)
        failure = _why_not_sent(ledger.not_sent) if not ledger.sent else said.get(address, "")
        probed.append(TargetFacts(path, round_trips.get(ledger.row), failure, bool(ledger.sent)))
    if kind == "tcp":
        probed = [await _asked_why(one, names) for one in probed]
    sent = sum(probing.ledger.sent for probing in prober.paths)
    return probed, _stamps_of(kind, sockets, sent, len(round_trips))


def _why_not_sent(reasons: Mapping[str, int]) -> str:
    """The reason that lasts: a probe that was overdue was tried again."""
    return next((reason for reason in reasons if reason != _OVERDUE), _OVERDUE if reasons else "")


def _stamps_of(
    kind: ProbeKind, sockets: Sequence[TimestampedSocket], sent: int, answered: int
) -> list[StampFacts]:
    """What the sockets gave for times; TCP has none, for the kernel times its handshakes by itself."""
    if not sockets or not sent:
        return []
    transmitted = sum(one.transmit_times for one in sockets)
    stamped = answered if all(one.kernel_receive_stamps for one in sockets) else 0
    return [StampFacts(f"{kind} paths", sent, transmitted, answered, stamped)]


def _icmp_errors(sockets: Sequence[TimestampedSocket]) -> dict[str, str]:
    """What ICMP errors said of each destination, `HOST:PORT`."""
    found: dict[str, Counter[str]] = {}
    for one in sockets:
        for answer, count in one.icmp_answers.items():
            host, port = decode_address(answer.destination)
            said = AnswerKind.of_icmp(6 if ":" in host else 4, answer.kind, answer.code)
            words = f"ICMP {answer.kind}/{answer.code}" if said is None else said.value.replace("_", " ")
            found.setdefault(str(Endpoint(host, port)), Counter())[words] += count
    return {address: counted.most_common(1)[0][0] for address, counted in found.items()}


async def _asked_why(facts: TargetFacts, names: Mapping[str, NameAnswer]) -> TargetFacts:
    """Of a TCP target that did not answer in time, what connecting to it in the usual way says."""
    if facts.round_trip_ns is not None or not facts.sent:
        return facts
    path = facts.path
    said = await connect(names[path.address.host].addresses[0], path.address.port)
    return replace(facts, failure=said.failure or f"answered only after {said.seconds:.1f} s")
