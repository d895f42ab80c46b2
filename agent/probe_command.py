"""`isochrone-agent probe`: its arguments, and what is asked for by them.

What is asked for by hand brings what it needs when it is.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, get_args

from agent.core.stamp import BASE_OCTETS, MAX_PAYLOAD
from agent.core.stamp import DEFAULT_PORT as STAMP_PORT
from agent.core.throughput.lease import MAX_STREAMS, Directions, Protocol, Way
from agent.core.throughput.rates import Layer
from agent.credentials import load_credentials
from agent.runtime import logs
from agent.runtime.exceptions import IsochroneError
from agent.runtime.line_settings import Mode, WayRatesSettings
from agent.runtime.pace import Pace, parse_interval, parse_timeout, too_much_of_one
from agent.runtime.probe_address import ProbeKind, parse_address, timeout_problem
from agent.runtime.quantities import Endpoint, parse_bit_rate, parse_duration, parse_limit
from agent.runtime.session_settings import AskedTlv, SessionSettings
from agent.throughput.iperf3 import PORT as IPERF3_PORT
from agent.throughput_settings import SlotSettings, ThroughputPathSettings

T = TypeVar("T")
_MAX_COUNT: Final = 1_000_000
AGENT_PORT: Final = 9_461
"""Where agents serve HTTP, unless their file says something else."""

_OPTIONS: Final = {"packet_size": "size", "tlvs": "tlv", "authenticated_ssid": "ssid", "ecn": "ecn"}


class UsageError(IsochroneError):
    """Arguments that are right one by one and yet ask too much."""


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments; `command` of what is parsed runs it."""
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    stamp = kinds.add_parser(
        "stamp",
        help="STAMP (RFC 8762): one-way and round-trip delay to a reflector",
        description="Send STAMP probes and print what is known of each. Exit status 1 where no reply came, or where "
        "--limit is given and a packet was over it.",
    )
    _measuring(stamp, "stamp", "HOST[:PORT]")
    stamp.add_argument(
        "--clock-error",
        type=_argument(parse_duration),
        metavar="TIME",
        help="declare the local clock's error bound instead of asking the kernel",
    )
    stamp.add_argument(
        "--size", type=_whole(BASE_OCTETS, MAX_PAYLOAD), metavar="N", help="octets of the UDP payload"
    )
    stamp.add_argument(
        "--ecn", type=int, choices=range(4), default=0, metavar="0..3", help="default 0: not ECT"
    )
    stamp.add_argument(
        "--tlv",
        action="append",
        choices=get_args(AskedTlv),
        default=[],
        help="ask for more than times (RFC 8972); may be given more than once",
    )
    stamp.add_argument(
        "--credentials", type=Path, metavar="FILE", help="keys: authenticated mode (RFC 8762, section 4.2.2)"
    )
    stamp.add_argument(
        "--ssid", type=_whole(1, 65_535), metavar="N", help="session identifier whose key signs, 1 to 65535"
    )
    icmp = kinds.add_parser(
        "icmp",
        help="ICMP echo: round trips to any host, which bound both directions",
        description="Send ICMP echo requests and print what is known of each. Needs CAP_NET_RAW, or a group within "
        "net.ipv4.ping_group_range. Exit status 1 where no reply came, or where --limit is given and the round trip "
        "proves it broken.",
    )
    _measuring(icmp, "icmp", "HOST")
    tcp = kinds.add_parser(
        "tcp",
        help="TCP connect: round trips to a service, which bound both directions",
        description="Time TCP handshakes, SYN to SYN-ACK, by the kernel's own measurement; connections are reset at "
        "once. A refused one is lost. Exit status 1 where no reply came, or where --limit is given and the round trip "
        "proves it broken.",
    )
    _measuring(tcp, "tcp", "HOST:PORT")

    _add_throughput(
        kinds.add_parser(
            "throughput",
            help="rates down and up to an agent that grants tests, against floors",
            description="Test the line to an agent with `throughput:` in its file, both ways at once: paced just above "
            "the floors and over as soon as they are proven or refuted (verify), or as fast as the line lets "
            "(capacity). Says what bounded each way, and the latency before, during and after. What does not pass is "
            "tested a second time at once. Exit status 1 where a floor is not proven, or nothing was measured.",
        )
    )
    route = kinds.add_parser(
        "route",
        help="the way that a STAMP session's packets take, hop by hop",
        description="Trace the way of one UDP five-tuple (Paris-style) and print its hops and fingerprint. Needs no "
        "privilege, except with the --source-port of a running session. Exit status 1 where the target was not "
        "reached.",
    )
    route.add_argument(
        "target", type=_argument(functools.partial(parse_address, "stamp")), metavar="HOST[:PORT]"
    )
    route.add_argument(
        "--count", type=_whole(1, 100), default=3, metavar="N", help="probes for each hop (default 3)"
    )
    route.add_argument(
        "--max-hops", type=_whole(1, 64), default=30, metavar="N", help="how far to go (default 30)"
    )
    route.add_argument(
        "--source-port",
        type=_whole(1, 65_535),
        default=0,
        metavar="PORT",
        help="of the session whose way is asked for (default: a free one)",
    )
    route.add_argument("--dscp", type=int, choices=range(64), default=0, metavar="0..63", help="default 0")
    route.add_argument(
        "--timeout",
        type=_argument(parse_timeout),
        default="2s",
        metavar="TIME",
        help="for the whole trace (default 2s)",
    )
    route.add_argument("--json", action="store_true", help="print one JSON document")
    route.set_defaults(command=_probe_route)


def _add_throughput(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        type=_argument(lambda text: Endpoint.parse(text, AGENT_PORT)),
        metavar="HOST[:PORT]",
        help=f"`listen` of the target's agent (default port {AGENT_PORT})",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        default=Path("/etc/isochrone/throughput.token"),
        metavar="FILE",
        help="the token that the target's `throughput:` has (default /etc/isochrone/throughput.token)",
    )
    parser.add_argument(
        "--direction", choices=[*map(str, Directions)], default="both", help="default both; down comes here"
    )
    for way in Way:
        parser.add_argument(
            f"--floor-{way}",
            type=_argument(parse_bit_rate),
            metavar="RATE",
            help=f"to be proven {way}, such as 10G",
        )
    for way in Way:
        parser.add_argument(
            f"--ceiling-{way}",
            type=_argument(parse_bit_rate),
            metavar="RATE",
            help=f"never to be exceeded {way}, at the IP layer; capacity needs it where there is no floor",
        )
    parser.add_argument(
        "--layer", choices=[*map(str, Layer)], default="ip", help="at which floors are meant (default ip)"
    )
    parser.add_argument("--protocol", choices=[*map(str, Protocol)], default="tcp", help="default tcp")
    parser.add_argument(
        "--streams", type=_whole(1, MAX_STREAMS), default=4, metavar="N", help="of each way (default 4)"
    )
    parser.add_argument("--mode", choices=[*map(str, Mode)], default="verify", help="default verify")
    parser.add_argument(
        "--above",
        type=_whole(1, 20),
        default=4,
        metavar="PERCENT",
        help="paced so much above the floors (default 4)",
    )
    parser.add_argument(
        "--seconds", type=_whole(2, 120), default=10, metavar="N", help="the longest test (default 10)"
    )
    parser.add_argument(
        "--reflector",
        type=_argument(functools.partial(parse_address, "stamp")),
        metavar="HOST[:PORT]",
        help="whose answers tell the latency meanwhile (default: STAMP's port of the target)",
    )
    parser.add_argument("--no-latency", action="store_true", help="do not look at the latency")
    parser.add_argument("--no-retest", action="store_true", help="test once, whatever comes of it")
    parser.add_argument(
        "--iperf3",
        type=_argument(lambda text: Endpoint.parse(text, IPERF3_PORT)),
        metavar="HOST[:PORT]",
        help="an iperf3 server to be asked for its opinion afterwards",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(command=_probe_throughput)


def _measuring(parser: argparse.ArgumentParser, kind: ProbeKind, target: str) -> None:
    """What all kinds that measure a path have in common."""
    parser.add_argument("target", type=_argument(functools.partial(parse_address, kind)), metavar=target)
    parser.add_argument("--count", type=_count, default=5, metavar="N", help="probes to send (default 5)")
    parser.add_argument(
        "--interval", type=_argument(parse_interval), default="200ms", metavar="TIME", help="default 200ms"
    )
    parser.add_argument(
        "--timeout",
        type=_argument(functools.partial(_timeout, kind)),
        default="1s",
        metavar="TIME",
        help="default 1s",
    )
    parser.add_argument("--dscp", type=int, choices=range(64), default=0, metavar="0..63", help="default 0")
    parser.add_argument(
        "--limit",
        type=_argument(parse_limit),
        metavar="LIMIT",
        help="one-way limit to judge by, such as '< 1ms'",
    )
    parser.add_argument(
        "--floor",
        type=_argument(parse_duration),
        metavar="TIME",
        help="one-way delay that the distance makes necessary; sharpens what is known without synchronised clocks",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(
        command=_probe, kind=kind, clock_error=None, size=None, ecn=0, tlv=[], credentials=None, ssid=None
    )


def _timeout(kind: ProbeKind, text: str) -> int:
    timeout_ns = parse_timeout(text)
    problem = timeout_problem(kind, timeout_ns)
    if problem is not None:
        raise ValueError(problem)
    return timeout_ns


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make a parser of ours one of argparse's: its ValueError becomes the usage message."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: 1 to {_MAX_COUNT}")
    return int(text)


def _whole(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers within bounds."""

    def parsed(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is out of range: {least} to {most}")
        return int(text)

    return parsed


def _probe(chosen: argparse.Namespace) -> int:
    from agent.oneshot import OneShot, probe

    too_much = too_much_of_one(Pace(chosen.interval, chosen.timeout))
    if too_much is not None:
        raise UsageError(f"--timeout {too_much}")
    if chosen.limit is not None and chosen.floor is not None and not chosen.limit.met_by(chosen.floor):
        raise UsageError(
            f"--limit: impossible: the floor is {chosen.floor / 1e6:.2f} ms, the limit is {chosen.limit}"
        )
    logs.configure("warning")
    return asyncio.run(
        probe(
            OneShot(
                kind=chosen.kind,
                target=chosen.target,
                count=chosen.count,
                interval_ns=chosen.interval,
                timeout_ns=chosen.timeout,
                session=_session(chosen),
                keys=None if chosen.credentials is None else load_credentials(chosen.credentials),
                limit=chosen.limit,
                floor_ns=chosen.floor,
                clock_error_ns=chosen.clock_error,
                as_json=chosen.json,
            )
        )
    )


def _session(chosen: argparse.Namespace) -> SessionSettings:
    """What is asked of the packets beyond times.

    Raises:
        UsageError: it does not fit together.
    """
    asked = SessionSettings.model_construct(
        dscp=chosen.dscp,
        ecn=chosen.ecn,
        tlvs=tuple(chosen.tlv),
        packet_size=chosen.size,
        authenticated_ssid=chosen.ssid,
    )
    for location, problem in asked.session_problems(chosen.kind):
        raise UsageError(f"--{_OPTIONS[str(location[0])]}: {problem}")
    if (chosen.ssid is None) is not (chosen.credentials is None):
        raise UsageError("--ssid and --credentials belong together: a session and the file that has its key")
    if chosen.credentials is not None and not load_credentials(chosen.credentials).keys(chosen.ssid):
        raise UsageError(f"--ssid: {chosen.credentials} has no key for {chosen.ssid}")
    return asked


def _probe_route(chosen: argparse.Namespace) -> int:
    from agent.traceroute import TraceRequest, run_trace

    logs.configure("warning")
    return asyncio.run(
        run_trace(
            TraceRequest(
                target=chosen.target,
                count=chosen.count,
                max_hops=chosen.max_hops,
                source_port=chosen.source_port,
                dscp=chosen.dscp,
                timeout_ns=chosen.timeout,
                as_json=chosen.json,
            )
        )
    )


def _probe_throughput(chosen: argparse.Namespace) -> int:
    from agent.throughput.command import ThroughputShot, probe_throughput

    logs.configure("warning")
    line = ThroughputPathSettings(
        target=str(chosen.target),
        address=chosen.target,
        token_file=chosen.token_file,
        direction=Directions(chosen.direction),
        floors=WayRatesSettings.model_construct(down=chosen.floor_down, up=chosen.floor_up),
        ceilings=WayRatesSettings.model_construct(down=chosen.ceiling_down, up=chosen.ceiling_up),
        layer=Layer(chosen.layer),
        protocol=Protocol(chosen.protocol),
        streams=chosen.streams,
        mode=Mode(chosen.mode),
        above=chosen.above,
        longest=f"{chosen.seconds}s",
        slot=SlotSettings(every="1d"),
    )
    for location, problem in line.located_problems():
        raise UsageError(f"--{str(location[0]).removesuffix('s')}-{location[-1]}: {problem}")
    reflector = None
    if not chosen.no_latency:
        reflector = chosen.reflector or Endpoint(chosen.target.host, STAMP_PORT)
    shot = ThroughputShot(
        line,
        line.token(Path()),
        reflector,
        chosen.iperf3,
        not chosen.no_retest,
        chosen.json,
    )
    return asyncio.run(probe_throughput(shot))
