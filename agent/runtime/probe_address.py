"""What each kind of probe needs to know of its target, and for how long it can wait for an answer.

stamp   HOST[:PORT], the port of STAMP where none is given
icmp    HOST: there are no ports
tcp     HOST:PORT: every service has its own
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from agent.core.stamp import DEFAULT_PORT
from agent.runtime.exceptions import DEPENDS_ON_UNREAD
from agent.runtime.quantities import Endpoint, format_duration, reachable

ProbeKind = Literal["stamp", "icmp", "tcp"]
KINDS: Final[tuple[ProbeKind, ...]] = get_args(ProbeKind)

LONGEST_TCP_TIMEOUT_NS: Final = 1_000_000_000
"""When the kernel sends a SYN again (RFC 6298, section 2), after which no answer can be told from another."""


def parse_address(kind: str, value: Any) -> Endpoint:
    """The target of a probe of some kind; port 0 where the kind has none.

    Raises:
        ValueError: not an address of this kind, with what would be accepted.
    """
    if kind == "icmp":
        return value if isinstance(value, Endpoint) else Endpoint.parse_host(value)
    if isinstance(value, Endpoint):
        return reachable(value)
    return reachable(Endpoint.parse(value) if kind == "tcp" else Endpoint.parse(value, DEFAULT_PORT))


def address_of_kind(value: Any, info: ValidationInfo) -> Endpoint:
    """Validate the address of a model that has its `kind` in a field before.

    Raises:
        ValueError: as of `parse_address`.
        PydanticCustomError: of a kind that nobody knows any address may be right.
    """
    kind = info.data.get("kind")
    if kind is None:
        raise PydanticCustomError(DEPENDS_ON_UNREAD, "depends on kind")
    return parse_address(kind, value)


def format_address(kind: str, address: Endpoint) -> str:
    """The text that `parse_address` reads as the same target."""
    if kind != "icmp":
        return str(address)
    return f"[{address.host}]" if ":" in address.host else address.host


def timeout_problem(kind: str, timeout_ns: int) -> str | None:
    """What is wrong with the time that a probe is to wait for its answer; None: nothing."""
    if kind != "tcp" or timeout_ns <= LONGEST_TCP_TIMEOUT_NS:
        return None
    longest = format_duration(LONGEST_TCP_TIMEOUT_NS)
    return (
        f"{format_duration(timeout_ns)} is too long for tcp: after {longest} the kernel sends the SYN again, and an "
        f"answer cannot be told from one to the first; at most {longest}"
    )
