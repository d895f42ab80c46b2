"""`isochrone-agent probe route`: trace once and print the hops."""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.route import AnswerKind, Hop, Route
from agent.probes.exceptions import TargetOutOfReach
from agent.probes.route import trace
from agent.runtime.lifecycle import ExitStatus
from agent.runtime.quantities import Endpoint, format_duration

_MILLISECOND_NS = 1e6


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """What to trace; as `agent.probes.route.trace` takes it."""

    target: Endpoint
    count: int
    max_hops: int
    source_port: int
    dscp: int
    timeout_ns: int
    as_json: bool


async def run_trace(request: TraceRequest) -> int:
    """Trace, print, and give the exit status."""
    try:
        route = await trace(
            request.target,
            source_port=request.source_port,
            dscp=request.dscp,
            count=request.count,
            max_hops=request.max_hops,
            timeout_ns=request.timeout_ns,
        )
    except TargetOutOfReach as error:  # a finding, as it is for all other kinds of probes
        print(error, file=sys.stderr)
        return ExitStatus.FAILED
    if request.as_json:
        document = {"target": str(request.target), "kind": "route", **route.document()}
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
        print()
    else:
        print("\n".join(table(request, route)))
    return ExitStatus.OK if route.reached else ExitStatus.FAILED


def table(request: TraceRequest, route: Route) -> Iterable[str]:
    """The lines for a person; times in ms."""
    flow = route.flow
    source, destination = (
        Endpoint(flow.source, flow.source_port),
        Endpoint(flow.destination, flow.destination_port),
    )
    yield f"Route to {request.target}: UDP {source} to {destination}, DSCP {flow.dscp}"
    width = max((len(_names(hop)) for hop in route.hops), default=0)
    width = max(width, len("address"))
    yield f"{'hop':>3}  {'address':<{width}}  answered  {'min':>8} {'median':>8} {'max':>8}  ms"
    for hop in route.hops:
        yield f"{hop.ttl:>3}  {_names(hop):<{width}}  {_answered(hop):>8}  {_times(hop)}{_notes(hop)}".rstrip()
    if route.unidentified:
        yield f"{route.unidentified} ICMP errors quoted too little to tell which probe they answer"
    if route.reached:
        yield f"reached in {len(route.hops)} hops, fingerprint {route.fingerprint}"
    else:
        heard = f"fingerprint {route.fingerprint}" if route.hops else "nothing answered"
        yield f"not reached within {request.max_hops} hops and {format_duration(request.timeout_ns)}, {heard}"


def _names(hop: Hop) -> str:
    """Who answered, most often first."""
    counts = Counter(sorted(answer.address for answer in hop.answers))
    return " ".join(address for address, _ in counts.most_common()) or "*"


def _answered(hop: Hop) -> str:
    return f"{len(hop.answers)}/{hop.sent}"


def _times(hop: Hop) -> str:
    times = [rtt_ns / _MILLISECOND_NS for rtt_ns in hop.rtts_ns]
    if not times:
        return ""
    return f"{min(times):8.3f} {statistics.median(times):8.3f} {max(times):8.3f}"


def _notes(hop: Hop) -> str:
    said = sorted(
        {answer.kind for answer in hop.answers} & {AnswerKind.PORT_UNREACHABLE, AnswerKind.UNREACHABLE}
    )
    return "".join(f"  {kind.value.replace('_', ' ')}" for kind in said)
