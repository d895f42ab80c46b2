"""What a path asks of its packets besides a time, the same in the agent's file and in the fleet's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from agent.core.extended_session import Extensions
from agent.core.stamp import BASE_OCTETS, MAX_PAYLOAD
from agent.runtime.quantities import duration_between, format_duration
from agent.runtime.settings import Settings
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location

_ALWAYS: Final = ("dscp", "follow_up")

RouteInterval = Annotated[
    int, BeforeValidator(duration_between("10s", "1d")), Accepts("a duration from 10s to 1d")
]
AskedTlv = Literal["timestamp_information", "class_of_service", "direct_measurement"]


class SessionSettings(Settings):
    """Marking, size, signature and extensions of a path's packets.

    Attributes:
        dscp: code point of the probes, 0 to 63.
        ecn: 0 not ECT, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168, section 5).
        follow_up: ask the reflector to tell with each reply when the one before really left (RFC 8972, section 4.7),
            which makes the reverse delay as true as the forward one.
        tlvs: what else to ask (RFC 8972, sections 4.3 to 4.5): how its times are taken, with which marking packets
            arrive, how many it has received and sent.
        packet_size: octets of the UDP payload, filled up with Extra Padding; default: as few as it takes.
        authenticated_ssid: sign with the key that the file of credentials has for this session identifier (RFC 8762,
            section 4.2.2), and believe only replies that are signed; default: unauthenticated.
        route: how often the way of the session's packets is traced; default: never.
    """

    dscp: Annotated[int, Field(ge=0, le=63)] = 0
    ecn: Annotated[int, Field(ge=0, le=3)] = 0
    follow_up: bool = True
    tlvs: tuple[AskedTlv, ...] = ()
    packet_size: Annotated[int, Field(ge=BASE_OCTETS, le=MAX_PAYLOAD)] | None = None
    authenticated_ssid: Annotated[int, Field(ge=1, le=65_535)] | None = None
    route: RouteInterval | None = None

    @property
    def signed(self) -> bool:
        """Whether the session is authenticated."""
        return self.authenticated_ssid is not None

    @property
    def extended(self) -> bool:
        """Whether its packets differ from a plain session's in more than the code point."""
        return self.signed or self.packet_size is not None or bool(self.ecn or self.tlvs)

    def extensions(self) -> Extensions:
        """What its requests ask for."""
        return Extensions(
            follow_up=self.follow_up,
            timestamp_information="timestamp_information" in self.tlvs,
            class_of_service="class_of_service" in self.tlvs,
            direct_measurement="direct_measurement" in self.tlvs,
            dscp=self.dscp,
            ecn=self.ecn,
            octets=self.packet_size,
        )

    def session_document(self) -> dict[str, Any]:
        """The settings as a file has them, those that are left at their default left out, but for the code point."""
        written = {name: getattr(self, name) for name in SessionSettings.model_fields}
        written["route"] = None if self.route is None else format_duration(self.route)
        fields = SessionSettings.model_fields
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in written.items()
            if name in _ALWAYS or value != fields[name].default
        }

    def session_problems(self, kind: str) -> Iterator[tuple[Location, str]]:
        """What cannot be asked of a kind of probe, or does not fit into a packet."""
        if kind != "stamp":
            for name in ("ecn", "tlvs", "packet_size", "authenticated_ssid", "route"):
                if getattr(self, name) != SessionSettings.model_fields[name].default:
                    yield (name,), f"only a stamp path takes {name}, this one is {kind}"
            return
        extensions = self.extensions()
        if not extensions.fits(signed=self.signed):
            least = extensions.least_octets(signed=self.signed)
            yield (
                ("packet_size",),
                f"{self.packet_size} octets do not hold what is asked for: {least}, or {least + 4} and more",
            )
