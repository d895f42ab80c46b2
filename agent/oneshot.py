"""`isochrone-agent probe`: measure once and say what is known of each packet."""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.core.authentication import KeyRing
from agent.core.measurement import Measurement, Measurements
from agent.core.outcome import Direction, Limit, Operator, Outcome
from agent.net.card_stamps import least_method
from agent.net.clock import Clock, DeclaredClock
from agent.net.clocks.automatic import AutomaticClock
from agent.net.clocks.card import choose_card
from agent.net.local_clock import LocalClock
from agent.net.timer import sharpen_timers
from agent.probes.icmp import IcmpProbes
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.probes.tcp import TcpProbes
from agent.runtime.lifecycle import ExitStatus, stop_requested
from agent.runtime.probe_address import ProbeKind, format_address
from agent.runtime.quantities import Endpoint
from agent.runtime.session_settings import SessionSettings
from agent.settings import FloorsSettings, LimitsSettings, PathSettings

_QUANTILES: Final = (0.5, 0.95, 0.99)
_NO_LIMIT: Final = Limit(1_000_000_000_000, Operator.AT_MOST)
_SECOND_NS: Final = 1e9
_NAMES: Final[dict[ProbeKind, str]] = {"stamp": "STAMP", "icmp": "ICMP echo to", "tcp": "TCP connect to"}


@dataclass(frozen=True, slots=True)
class OneShot:
    """What to measure.

    Attributes:
        kind: of probe.
        limit: one-way limit to judge by; None: only measure.
        floor_ns: one-way floor in both directions.
        clock_error_ns: declared bound of the local clock; None: ask who knows.
        session: what else is asked of the packets.
        keys: sign and verify, where the session is authenticated.
    """

    kind: ProbeKind
    target: Endpoint
    count: int
    interval_ns: int
    timeout_ns: int
    session: SessionSettings
    keys: KeyRing | None
    limit: Limit | None
    floor_ns: int | None
    clock_error_ns: int | None
    as_json: bool

    @property
    def address(self) -> str:
        """The target as one writes it."""
        return format_address(self.kind, self.target)

    def path(self) -> PathSettings:
        """The path that this comes down to."""
        limit = self.limit or _NO_LIMIT
        return PathSettings.model_construct(
            target=self.address,
            tier="",
            provider="",
            kind=self.kind,
            address=self.target,
            interval=self.interval_ns,
            timeout=self.timeout_ns,
            limits=LimitsSettings.model_construct(forward=limit, reverse=limit, round_trip=None),
            floors=FloorsSettings.model_construct(forward=self.floor_ns, reverse=self.floor_ns),
            **dict(self.session),
        )


async def probe(shot: OneShot) -> int:
    """Measure, print, and give the exit status; SIGINT ends early with what there is."""
    sharpen_timers()
    source: Clock = (
        AutomaticClock.usual() if shot.clock_error_ns is None else DeclaredClock(shot.clock_error_ns)
    )
    # for one look nobody's card is told to work otherwise
    card = choose_card(turn_on=False)
    clock = LocalClock(source, card=card.clock)
    await clock.refresh()
    measurements: list[Measurement] = []

    def record(measured: Measurements) -> None:
        for measurement in measured.each():
            measurements.append(measurement)
            if not shot.as_json:
                print(_line(measurement, shot.limit is not None, outlets.one_way), flush=True)

    hearing = StampProbes(shot.keys, describe=True) if shot.kind == "stamp" else None
    outlets = hearing or (IcmpProbes() if shot.kind == "icmp" else TcpProbes())
    prober = Prober(outlets, "probe", [shot.path()], clock, random.Random(), record=record, probes=shot.count)
    if not shot.as_json:
        print(_heading(shot, clock, outlets.one_way))
    stop = stop_requested()
    await prober.start()
    waiting = [asyncio.ensure_future(prober.idle()), asyncio.ensure_future(stop.wait())]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        await prober.stop()
    finally:
        for task in waiting:
            task.cancel()
        await prober.close()
        if card.clock is not None:
            card.clock.close()

    path = prober.paths[0]
    summary = summarise(shot, prober, clock, measurements)
    summary["timestamps"] |= {"card": card.explanation}
    if hearing is not None:
        for traits in hearing.traits():
            summary["reflector"] |= {**traits.document(), "remarks": traits.sentences()}
        summary["session"] = path.report.document()
        summary["icmp_errors"] = [
            {"reason": reason, "from": address or None, "count": count}
            for (reason, address), count in hearing.icmp_answers().most_common()
        ]
    if shot.as_json:
        json.dump(summary, sys.stdout, ensure_ascii=False, indent=2)
        print()
    else:
        print(_closing(summary))
    # a round trip over both limits together proves one direction over, whichever it was
    over = sum(counted.outcomes[Outcome.OVER] for _, counted in path.ledger.directions())
    answered = sum(path.ledger.round_trip.outcomes[: Outcome.LOST])
    return ExitStatus.OK if answered and not (shot.limit and over) else ExitStatus.FAILED


def summarise(
    shot: OneShot,
    prober: Prober,
    clock: LocalClock,
    measurements: Sequence[Measurement],
) -> dict[str, Any]:
    """The whole result; delays in seconds, None where nothing is known."""
    ledger = prober.paths[0].ledger
    answered = [measured for measured in measurements if measured.round_trip_ns is not None]
    # one-way delays mean something only where both clocks vouched for themselves
    trusted = [measured for measured in answered if measured.uncertainty_ns is not None]
    directions: dict[str, Any] = {}
    for direction, counted in ledger.directions():
        counting = answered if direction is Direction.ROUND_TRIP else trusted
        delays = [getattr(measured, f"{direction.value}_ns") for measured in counting]
        directions[direction.value] = {
            "delay": delay_statistics(delays),
            "outcomes": {outcome.label: counted.outcomes[outcome] for outcome in Outcome}
            if shot.limit
            else None,
            "lost": counted.outcomes[Outcome.LOST],
            "unattributed": counted.outcomes[Outcome.UNATTRIBUTED],
            "duplicates": counted.duplicates,
            "reordered": counted.reordered,
        }
    for name in ("forward", "reverse"):
        bounds = [getattr(measured, f"{name}_bounds") for measured in answered]
        directions[name]["proven"] = {
            "least_seconds": _seconds(min((lower for lower, _ in bounds), default=None)),
            "most_seconds": _seconds(max((upper for _, upper in bounds), default=None)),
        }
    summary: dict[str, Any] = {
        "target": shot.address,
        "kind": shot.kind,
        "sent": ledger.sent,
        "answered": len(answered),
        "not_sent": dict(ledger.not_sent),
        "late": ledger.late,
        "in_flight": ledger.in_flight,
        "discarded": dict(prober.discarded),
        "law": ledger.broken_laws() or "holds",
        "limit": None if shot.limit is None else str(shot.limit),
        "clock": {
            "source": clock.quality.source,
            "synchronized": clock.quality.synchronized,
            "error_bound_seconds": _seconds(clock.quality.error_bound_ns),
            "explanation": clock.quality.explanation,
        },
        "timestamps": _methods(shot, prober),
        "uncertainty_seconds": _seconds(
            max((measured.uncertainty_ns or 0 for measured in trusted), default=None)
        ),
        "clock_contradictions": ledger.clock_contradictions,
        "floor_contradictions": ledger.floor_contradictions,
        "directions": directions,
    }
    if shot.kind == "stamp":
        summary["reflector"] = {"stateful": prober.sessions.reflector_is_stateful(ledger.row)}
    return summary


def _methods(shot: OneShot, prober: Prober) -> dict[str, str]:
    """Who took the times: hardware, kernel or user."""
    if shot.kind == "tcp":
        return {"transmit": "kernel", "receive": "kernel"}
    sockets = prober.sockets
    return {
        "transmit": least_method(one.transmit_method for one in sockets),
        "receive": least_method(one.receive_method for one in sockets),
    }


def delay_statistics(delays_ns: Sequence[int]) -> dict[str, float] | None:
    """How many delays there are, the least, the mean, the greatest and nearest-rank percentiles, in seconds."""
    if not delays_ns:
        return None
    ranked = sorted(delays_ns)
    found: dict[str, float] = {
        "samples": len(ranked),
        "min_seconds": ranked[0] / _SECOND_NS,
        "mean_seconds": sum(ranked) / len(ranked) / _SECOND_NS,
        "max_seconds": ranked[-1] / _SECOND_NS,
    }
    for quantile in _QUANTILES:
        rank = math.ceil(quantile * len(ranked))
        found[f"p{quantile * 100:g}_seconds"] = ranked[rank - 1] / _SECOND_NS
    return found


def _seconds(value_ns: float | None) -> float | None:
    return None if value_ns is None else value_ns / _SECOND_NS


def _heading(shot: OneShot, clock: LocalClock, one_way: bool) -> str:
    count = "1 probe" if shot.count == 1 else f"{shot.count} probes"
    probes = f"{_NAMES[shot.kind]} {shot.address}, {count}"
    if not one_way:
        return f"{probes}; round trips, which bound both directions whatever the clocks say"
    bound_ns = clock.quality.error_bound_ns
    if bound_ns is None:
        quality = f"not synchronised ({clock.quality.explanation}): one-way delays are bounds only"
    else:
        quality = f"{clock.quality.source}, off by at most {bound_ns / 1e6:.3f} ms"
    numbering = "number 1 is left out, to tell a reflector that counts by itself from one that copies"
    return f"{probes}; local clock {quality}\n{numbering}"


def _line(measured: Measurement, judged: bool, one_way: bool) -> str:
    if measured.round_trip_ns is None or measured.forward_bounds is None or measured.reverse_bounds is None:
        where = {Outcome.LOST: "on the way there", Outcome.UNATTRIBUTED: "direction unknown"}
        return f"seq={measured.sequence} lost ({where.get(measured.outcomes[0], 'on the way back')})"
    text = f"seq={measured.sequence} rtt={measured.round_trip_ns / 1e6:.3f} ms"
    if measured.uncertainty_ns is None:
        there, back = _range(measured.forward_bounds), _range(measured.reverse_bounds)
        text += f" forward={there} reverse={back}" + (" (no common clock)" if one_way else "")
    else:
        text += f" forward={(measured.forward_ns or 0) / 1e6:.3f} reverse={(measured.reverse_ns or 0) / 1e6:.3f} ms"
        text += f" ±{measured.uncertainty_ns / 1e6:.3f}"
    if judged:
        forward, reverse, _ = measured.outcomes
        text += f" {forward.label}/{reverse.label if reverse is not None else '-'}"
    return text


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0] / 1e6:.3f}..{bounds[1] / 1e6:.3f} ms"


def _closing(summary: dict[str, Any]) -> str:
    lost = Counter({name: counts["lost"] for name, counts in summary["directions"].items()})
    totals = f"{summary['sent']} sent, {summary['answered']} answered, {lost['round_trip']} lost"
    where = [
        f"{number} {place}"
        for number, place in (
            (lost["forward"], "on the way there"),
            (lost["reverse"], "on the way back"),
            (summary["directions"]["forward"]["unattributed"], "nobody knows where"),
        )
        if number
    ]
    lines = [f"{totals}{' (' + ', '.join(where) + ')' if where else ''}, law {summary['law']}"]
    lines += [f"{count} not sent: {reason}" for reason, count in summary["not_sent"].items()]
    lines += [
        f"{error['count']} answered by ICMP: {error['reason'].replace('_', ' ')}"
        + (f", says {error['from']}" if error["from"] else "")
        for error in summary.get("icmp_errors", ())
    ]
    lines += [f"the reflector {remark}" for remark in summary.get("reflector", {}).get("remarks", ())]
    lines += [f"{count} discarded: {reason}" for reason, count in summary["discarded"].items()]
    for name, counts in summary["directions"].items():
        delay = counts["delay"]
        if delay is not None:
            times = {key.removesuffix("_seconds"): delay[key] for key in delay if key.endswith("_seconds")}
            values = " ".join(f"{key}={value * 1e3:.3f}" for key, value in times.items())
            lines.append(f"{name}: {values} ms")
    return "\n".join(lines)
