"""`isochrone-agent probe throughput`: test a line, a second time where it does not pass, and say what came of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Verdict
from agent.core.throughput.trial import Trial
from agent.core.throughput.turn import is_worth_another, settled
from agent.net.clocks.automatic import AutomaticClock
from agent.net.timer import sharpen_timers
from agent.runtime.lifecycle import ExitStatus, stop_requested
from agent.runtime.quantities import Endpoint
from agent.throughput.iperf3 import Iperf3Result, cross_check
from agent.throughput.latency import LatencyWatch, Phase
from agent.throughput.trial import try_line
from agent.throughput.trial_document import effort_document, outcome_document
from agent.throughput_settings import ThroughputPathSettings

_WORST_FIRST: Final = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
_IPERF3_S: Final = 5
_GIGABIT: Final = 1e9


@dataclass(frozen=True, slots=True)
class ThroughputShot:
    """What to test.

    Attributes:
        line: the line and how.
        token: with which the target grants tests.
        reflector: that tells the latency meanwhile; None: nobody does.
        iperf3: a server to be asked too; None: none.
        retest: whether to test again at once where not all passes.
        as_json: one document instead of lines.
    """

    line: ThroughputPathSettings
    token: str
    reflector: Endpoint | None
    iperf3: Endpoint | None
    retest: bool
    as_json: bool


async def probe_throughput(shot: ThroughputShot) -> int:
    """Test, print, and give the exit status; SIGINT ends it early, as an error."""
    stop = asyncio.ensure_future(stop_requested().wait())
    testing = asyncio.ensure_future(_tested(shot))
    await asyncio.wait((stop, testing), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not testing.done():
        testing.cancel()
        await asyncio.gather(testing, return_exceptions=True)
        print("interrupted", file=sys.stderr)
        return ExitStatus.FAILED
    document = testing.result()
    if shot.as_json:
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
        print()
    else:
        print("\n".join(lines_of(document)))
    return ExitStatus.OK if document["verdict"] in (None, Verdict.PASS) else ExitStatus.FAILED


async def _tested(shot: ThroughputShot) -> dict[str, Any]:
    watch = None
    if shot.reflector is not None:
        sharpen_timers()
        watch = LatencyWatch(shot.reflector, AutomaticClock.usual())
    try:
        if watch is not None:
            await watch.start()
        trials = [await try_line(shot.line, shot.token)]
        if shot.retest and is_worth_another(trials[0].outcomes):
            trials.append(await try_line(shot.line, shot.token))
        if watch is not None:
            await watch.stop()
    finally:
        if watch is not None:
            await watch.close()
    opinions: dict[Way, Iperf3Result] = {}
    if shot.iperf3 is not None:
        for way in shot.line.direction.ways:
            opinions[way] = await cross_check(shot.iperf3, way, _IPERF3_S, shot.line.streams)
    return summarise(shot.line, trials, watch, opinions)


def summarise(
    line: ThroughputPathSettings,
    trials: Sequence[Trial],
    watch: LatencyWatch | None,
    opinions: Mapping[Way, Iperf3Result],
) -> dict[str, Any]:
    """The whole result; rates in bit/s, times in seconds, None where nothing is known."""
    ways: dict[str, Any] = {}
    verdicts: list[Verdict] = []
    for way in line.direction.ways:
        attempts = [trial.outcomes[way] for trial in trials]
        outcome = settled(attempts)
        if outcome.verdict is not None:
            verdicts.append(outcome.verdict)
        ways[way.value] = outcome_document(outcome, line.layer)
        ways[way.value]["attempts"] = [
            {**outcome_document(outcome, line.layer), **effort_document(trial, way)}
            for outcome, trial in zip(attempts, trials, strict=True)
        ]
        if way in opinions:
            opinion = opinions[way]
            ways[way.value]["iperf3"] = {
                "goodput_bits_per_second": opinion.goodput,
                "error": opinion.error or None,
            }
    loads = [
        (trial.began_ns, trial.ended_ns)
        for trial in trials
        if trial.began_ns is not None and trial.ended_ns is not None
    ]
    return {
        "target": str(line.address),
        "kind": "throughput",
        "protocol": line.protocol,
        "streams": line.streams,
        "mode": line.mode,
        "layer": line.layer,
        "verdict": next((verdict for verdict in _WORST_FIRST if verdict in verdicts), None),
        "ways": ways,
        "latency": None if watch is None else watch.document(loads),
        "retry_after_seconds": trials[-1].retry_after_s,
    }


def lines_of(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines for a person."""
    count = document["streams"]
    streams = "1 stream" if count == 1 else f"{count} streams"
    yield f"Throughput of {document['target']}: {document['protocol'].upper()}, {streams}, {document['mode']}"
    for way, found in document["ways"].items():
        yield f"{way}: {_told(found)}"
        if len(found["attempts"]) > 1:
            yield f"  after {len(found['attempts'])} tests; the first: {_told(found['attempts'][0])}"
        if "iperf3" in found:
            opinion = found["iperf3"]
            said = opinion["error"] or f"{_gigabits(opinion['goodput_bits_per_second'])} of goodput"
            yield f"  iperf3: {said}"
    if document["latency"] is not None:
        for phase in Phase:
            yield f"latency {phase.value.replace('_', ' ')}: {_delays(document['latency'][phase.value])}"
    if document["retry_after_seconds"] is not None:
        yield f"it may be worth asking again in {document['retry_after_seconds']:g} s"


def _told(found: Mapping[str, Any]) -> str:
    if found["error"] is not None:
        return f"error: {found['error'].replace('_', ' ')}: {found['detail']}"
    ip_layer, goodput = found["ip_layer"], found["goodput"]
    parts = [found["verdict"] or "measured"]
    rate, lower, upper = (
        ip_layer[name] for name in ("bits_per_second", "lower_bits_per_second", "upper_bits_per_second")
    )
    parts.append(
        f"{_gigabits(rate)} at the IP layer ({lower / _GIGABIT:.3f} to {upper / _GIGABIT:.3f} with 99 %), "
        f"{_gigabits(goodput['bits_per_second'])} of goodput"
    )
    if found["floor_bits_per_second"] is not None:
        layer = "goodput" if found["layer"] == Layer.GOODPUT else "at the IP layer"
        parts.append(f"floor {_gigabits(found['floor_bits_per_second'])} {layer}")
    if found["cause"] is not None:
        parts.append(f"bounded by {found['cause'].replace('_', ' ')}")
    return "; ".join(parts)


def _gigabits(rate: float) -> str:
    return f"{rate / _GIGABIT:.3f} Gbit/s"


def _delays(series: Mapping[str, Any]) -> str:
    delays = series["round_trip"]
    if delays is None:
        return f"{series['sent']} sent, none answered"
    shown = " ".join(
        f"{name}={delays[f'{name}_seconds'] * 1e3:.3f}" for name in ("min", "p50", "p95", "p99", "max")
    )
    return f"round trip {shown} ms, {series['lost']} of {series['sent']} lost"
