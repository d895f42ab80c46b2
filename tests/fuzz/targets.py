"""Every parser of octets that others write, as a function that raises where one of its promises does not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz import clocks, configuration, reflector, routes, sessions, sources, stamp, throughput

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {
    "packets": stamp.packets,
    "authenticated": stamp.authenticated,
    "tlvs": stamp.tlvs,
    "reflector": reflector.answers,
    "stamp-session": sessions.stamp,
    "icmp-session": sessions.icmp,
    "icmpv6-session": sessions.icmpv6,
    "icmp-errors": routes.icmp_errors,
    "candm": clocks.candm,
    "pmc": clocks.pmc,
    "throughput-preamble": throughput.preambles,
    "throughput-feedback": throughput.feedback,
    "throughput-documents": throughput.documents,
    "tcp-info": throughput.tcp_info,
    "exposition": sources.exposition,
    "prometheus": sources.prometheus,
    "agent-file": configuration.agent,
    "credentials-file": configuration.credentials,
    "fleet-file": configuration.fleet,
}

CORPORA: Final = Path(__file__).parents[1] / "data" / "fuzz"
"""A folder for each target: inputs that between them reach what it does, and every one that has broken it."""


def corpus(target: str) -> list[Path]:
    """The inputs of a target, in a fixed order."""
    return sorted((CORPORA / target).iterdir())
