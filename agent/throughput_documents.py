"""What goes over the control channel of throughput tests, in JSON; both ends read what the other says strictly, but for
what a newer agent's answer may tell beside it: a fleet is not upgraded at once.

Rates are bit/s, times seconds from the moment of the answer: the ends share no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agent.core.authentication import Key
from agent.core.exceptions import WireError
from agent.core.throughput.lease import (
    ID_OCTETS,
    MAX_OCTETS,
    MAX_RATE,
    MAX_STREAMS,
    TOKEN_OCTETS,
    Lease,
    LeaseRequest,
    LeaseState,
    Protocol,
    Share,
)
from agent.core.throughput.report import ServerReport
from agent.core.timestamps import SECOND_NS

MOST_OCTETS: Final = 4_096
"""Of a request."""

_LONGEST_S: Final = 3_600
_REPORTS: Final = TypeAdapter(ServerReport)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class _ShareDocument(_Document):
    bits_per_second: Annotated[int, Field(ge=1, le=MAX_RATE)]
    octets: Annotated[int, Field(ge=1, le=MAX_OCTETS)]

    @classmethod
    def of(cls, share: Share | None) -> _ShareDocument | None:
        return None if share is None else cls(bits_per_second=share.rate, octets=share.octets)

    def share(self) -> Share:
        return Share(self.bits_per_second, self.octets)


class _RequestDocument(_Document):
    protocol: Protocol
    seconds: Annotated[float, Field(gt=0, le=_LONGEST_S)]
    streams: Annotated[int, Field(ge=1, le=MAX_STREAMS)] = 1
    down: _ShareDocument | None = None
    up: _ShareDocument | None = None
    exclusive: bool = False


class _Answer(_Document):
    model_config = ConfigDict(extra="ignore")


class _GrantDocument(_Answer):
    id: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * ID_OCTETS}}}$")]
    token: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * TOKEN_OCTETS}}}$")]
    port: Annotated[int, Field(ge=1, le=65_535)]
    start_by_seconds: Annotated[float, Field(ge=0, le=_LONGEST_S)]
    stop_by_seconds: Annotated[float, Field(ge=0, le=_LONGEST_S)]


class _StateDocument(_Answer):
    state: LeaseState
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as who asked for it knows it.

    Attributes:
        id, token: of the lease.
        port: where data sockets are served, at the address that has granted it.
        start_by_ns: how long from now data sockets are admitted.
        stop_by_ns: how long from now data may flow.
    """

    id: bytes
    token: Key
    port: int
    start_by_ns: int
    stop_by_ns: int


def serialise_request(request: LeaseRequest) -> bytes:
    """The body of a request for a lease; whose it is the server sees for itself."""
    document = _RequestDocument(
        protocol=request.protocol,
        seconds=request.duration_ns / SECOND_NS,
        streams=request.streams,
        down=_ShareDocument.of(request.down),
        up=_ShareDocument.of(request.up),
        exclusive=request.exclusive,
    )
    return document.model_dump_json().encode()


def parse_request(data: bytes, peer: bytes) -> LeaseRequest:
    """Read what a peer asks for.

    Args:
        data: the body.
        peer: where it comes from, 4 or 16 octets.

    Raises:
        WireError: it is no such request; says what is wrong.
    """
    document = _parsed(_RequestDocument, data)
    try:
        return LeaseRequest(
            peer,
            document.protocol,
            round(document.seconds * SECOND_NS),
            document.down and document.down.share(),
            document.up and document.up.share(),
            document.streams,
            document.exclusive,
        )
    except ValueError as error:
        raise WireError(str(error)) from None


def serialise_grant(lease: Lease, port: int, now_ns: int) -> bytes:
    """The answer to a request that is granted.

    Args:
        lease: that is.
        port: of the data sockets.
        now_ns: the server's monotonic clock.
    """
    document = _GrantDocument(
        id=lease.id.hex(),
        token=lease.token.secret.hex(),
        port=port,
        start_by_seconds=max(0, lease.start_by_ns - now_ns) / SECOND_NS,
        stop_by_seconds=max(0, lease.stop_by_ns - now_ns) / SECOND_NS,
    )
    return document.model_dump_json().encode()


def parse_grant(data: bytes) -> Grant:
    """Read what was granted.

    Raises:
        WireError: it is no grant; the message shows no token.
    """
    document = _parsed(_GrantDocument, data)
    return Grant(
        bytes.fromhex(document.id),
        Key(bytes.fromhex(document.token)),
        document.port,
        round(document.start_by_seconds * SECOND_NS),
        round(document.stop_by_seconds * SECOND_NS),
    )


def serialise_state(state: LeaseState, report: ServerReport) -> bytes:
    """How far a lease is, and what the server says of its test."""
    told: dict[str, Any] = _REPORTS.dump_python(report, mode="json")
    return _StateDocument(state=state, report=told).model_dump_json().encode()


def parse_state(data: bytes) -> tuple[LeaseState, ServerReport]:
    """Read how far a lease is.

    Raises:
        WireError: it is no such answer.
    """
    document = _parsed(_StateDocument, data)
    try:
        return document.state, _REPORTS.validate_python(document.report, strict=False, extra="ignore")
    except ValidationError as error:
        raise WireError(_first(error)) from None


def parse_id(text: str) -> bytes | None:
    """The id of a lease as it stands in a URL; None: it is none."""
    try:
        lease = bytes.fromhex(text)
    except ValueError:
        return None
    return lease if len(lease) == ID_OCTETS else None


def _parsed(model: type[Any], data: bytes) -> Any:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise WireError(_first(error)) from None


def _first(error: ValidationError) -> str:
    """Where the first mistake is and what it is, without what was written there."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
