"""Tests and turns of lines as JSON documents: the same on the command line and in the agent's API.

The rate of a way follows from its windows: of the last `windows` of them, those after the ramp, each as heavy as it is
long, with the interval of `agent.core.throughput.rates`; at the IP layer it is larger by the headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agent.core.throughput.cause import HostLoad, Pressure
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer, Rate
from agent.core.throughput.result import Outcome
from agent.core.throughput.trial import Trial
from agent.core.throughput.turn import Attempt, Result


def turn_document(
    attempts: Sequence[Attempt], results: Mapping[Way, Result], layer: Layer, at_ns: int
) -> dict[str, Any]:
    """A turn of a line.

    Args:
        attempts: one test or two.
        results: as what it counts, each way.
        layer: at which its floors are meant.
        at_ns: when it was over, Unix wall time.
    """
    return {
        "at_ns": at_ns,
        "ways": {
            way.value: {
                "result": result.value,
                "attempts": [_attempt_document(one, way, layer) for one in attempts if way in one.outcomes],
            }
            for way, result in results.items()
        },
    }


def _attempt_document(attempt: Attempt, way: Way, layer: Layer) -> dict[str, Any]:
    told = outcome_document(attempt.outcomes[way], layer)
    if isinstance(attempt, Trial) and attempt.windows:
        told |= effort_document(attempt, way)
    return told | {"began_ns": attempt.began_ns, "ended_ns": attempt.ended_ns}


def outcome_document(outcome: Outcome, layer: Layer) -> dict[str, Any]:
    """What a test, or a turn, came to one way; rates in bit/s, null where nothing is known."""
    floor = outcome.floor
    return {
        "verdict": outcome.verdict,
        "cause": outcome.cause,
        "error": outcome.error,
        "detail": outcome.detail or None,
        "floor_bits_per_second": None if floor is None else floor.rate,
        "layer": layer,
        "ip_layer": _rate(outcome.ip_layer),
        "goodput": _rate(outcome.goodput),
    }


def _rate(rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {
        "bits_per_second": rate.mean,
        "lower_bits_per_second": rate.lower,
        "upper_bits_per_second": rate.upper,
        "windows": rate.windows,
    }


def effort_document(trial: Trial, way: Way) -> dict[str, Any]:
    """What a test was reached with, one way: its windows, those of the ramp first, what stood in the way of its streams
    or became of its datagrams, and what both ends went through; data and CPU are of both ways.
    """
    counts = (trial.datagrams or {}).get(way)
    lasted = None
    if trial.began_ns is not None and trial.ended_ns is not None:
        lasted = (trial.ended_ns - trial.began_ns) / 1e9
    windows = (trial.windows or {}).get(way, ())
    return {
        "octets": (trial.octets or {}).get(way),
        "seconds": lasted,
        "datagrams": None if counts is None else {**asdict(counts), "lost": counts.lost},
        "congestion_control": (trial.congestion_control or {}).get(way) or None,
        "pressures": [_pressure(one) for one in (trial.pressures or {}).get(way, ())],
        "cpu_seconds": trial.cpu_ns / 1e9,
        "hosts": {"client": _load(trial.host), "server": _load(trial.server_host)},
        "window_goodputs_bits_per_second": [window.goodput for window in windows],
        "window_seconds": [(window.end_ns - window.begin_ns) / 1e9 for window in windows],
    }


def _pressure(pressure: Pressure) -> dict[str, Any]:
    """What stood in a TCP stream's way: shares, but for its goodput and how long it has queued."""
    shares = asdict(pressure)
    rate, queueing_ns = shares.pop("rate"), shares.pop("queueing_ns")
    return {"goodput_bits_per_second": rate, **shares, "queueing_seconds": queueing_ns / 1e9}


def _load(host: HostLoad | None) -> dict[str, Any] | None:
    """What an end went through after the ramp, as shares of its threads' time, of its cores' and of its packets."""
    if host is None:
        return None
    return {
        "threads": host.threads,
        "seconds": host.elapsed_ns / 1e9,
        "cpu_seconds": host.cpu_ns / 1e9,
        "run_delay_ratio": host.run_delay_ns / (host.elapsed_ns * host.threads),
        "steal_ratio": host.steal_ns / (host.elapsed_ns * host.cores),
        "dropped_ratio": host.dropped / max(host.arrived, 1),
    }
