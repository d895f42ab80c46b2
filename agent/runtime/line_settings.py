"""What a test of a line's throughput asks, the same in the agent's file and in the fleet's."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from math import ceil
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from agent.core.throughput.lease import MAX_RATE, MAX_STREAMS, Directions, Protocol, Share, Way
from agent.core.throughput.rates import Layer, Packets
from agent.core.throughput.result import Floor
from agent.core.throughput.turn import Confirmation
from agent.runtime.quantities import (
    BitRate,
    Endpoint,
    duration_between,
    endpoint_with_default_port,
    format_bit_rate,
    format_duration,
    reachable,
)
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location

DATA_PORT: Final = 9462
"""Where data sockets listen unless told otherwise: beside the usual port of the agent's HTTP server."""

MAX_TESTED: Final = 1_024
"""Lines of one agent: each takes its turn, and a day has only so many."""

_FULL_SIZED: Final = {
    Protocol.TCP: Packets.of(Protocol.TCP, 4, 1_448, timestamps=True),
    Protocol.UDP: Packets.of(Protocol.UDP, 4, 1_472),
}
_ETHERNET: Final = (10**9, 25 * 10**8, 5 * 10**9, 10**10, 25 * 10**9, 40 * 10**9, 50 * 10**9, 10**11)
_FRAME_OCTETS: Final = 38
"""What Ethernet adds to each packet: preamble, header, check sequence, gap."""
_ABOVE_FOR_CAPACITY: Final = 0.25
_LEAST_ABOVE: Final = 0.01
_SETTLING_NS: Final = 5_000_000_000
"""What a test takes beside its data: the lease, the handshakes of its sockets, what the server has to tell."""
_TESTS_A_TURN: Final = 2
"""One that finds a floor missed is repeated at once."""

DataAddress = Annotated[Endpoint, endpoint_with_default_port(DATA_PORT), AfterValidator(reachable)]
LongestTest = Annotated[
    int, BeforeValidator(duration_between("2s", "2m")), Accepts("a duration from 2s to 2m")
]


class WayRatesSettings(Settings):
    """A rate for each way, bit/s."""

    down: BitRate | None = None
    up: BitRate | None = None

    def of(self, way: Way) -> int | None:
        """That of one way."""
        return self.down if way is Way.DOWN else self.up


class Mode(StrEnum):
    """How a line is tested.

    VERIFY: paced just above the floors, and over as soon as they are proven or refuted. CAPACITY: as fast as the line
    lets, alone; rarely.
    """

    VERIFY = "verify"
    CAPACITY = "capacity"


class ConfirmSettings(Settings):
    """When a line that missed its floor is held to break it.

    Attributes:
        missed: so many turns must have missed it,
        of: of the last so many that proved it met or missed.
    """

    missed: Annotated[int, Field(ge=1, le=20)] = 2
    of: Annotated[int, Field(ge=1, le=20)] = 3


class UsersSettings(Settings):
    """When users need the line, so that it is not tested.

    Attributes:
        above: what its interface carries then, bit/s, the busier way.
        interface: whose counters tell that; default: the one that leads to the target.
    """

    above: BitRate = 50_000_000
    interface: Annotated[str, Field(pattern=r"^[^/:\s]{1,15}$")] | None = None


class LineSettings(Settings):
    """How a line is tested, and what it is held against.

    Attributes:
        direction: what is tested: down is from the target to here.
        floors: what each way is promised to carry.
        layer: at which the floors are meant: ip, or goodput, the payload of TCP or UDP.
        protocol: tcp or udp.
        streams: of each way.
        mode: verify or capacity.
        ceilings: that are never exceeded, at the IP layer; default: the pace, a quarter above the floors for capacity.
        above: percent by which a floor is exceeded to verify it.
        longest: the test, whatever is known by then.
        confirm: how many turns of how many must miss a floor before it is held to be broken.
        users: when they need the line; a test waits for them, and is left out where its slot ends before.
    """

    direction: Directions = Directions.BOTH
    floors: WayRatesSettings = WayRatesSettings()
    layer: Layer = Layer.IP
    protocol: Protocol = Protocol.TCP
    streams: Annotated[int, Field(ge=1, le=MAX_STREAMS)] = 4
    mode: Mode = Mode.VERIFY
    ceilings: WayRatesSettings = WayRatesSettings()
    above: Annotated[int, Field(ge=1, le=20)] = 4
    longest: LongestTest = 10_000_000_000
    confirm: ConfirmSettings = ConfirmSettings()
    users: UsersSettings = UsersSettings()

    def floor(self, way: Way) -> Floor | None:
        """What a way is held against; None: nothing is promised."""
        rate = self.floors.of(way)
        return None if rate is None else Floor(rate, self.layer)

    def share(self, way: Way) -> Share | None:
        """What a lease has to grant for a way; None: it is not tested.

        A rate is that of the IP layer, with the headers of packets of MTU 1500 where the floor is one of goodput.
        """
        if way not in self.direction.ways:
            return None
        return Share.lasting(min(self._rate(way), MAX_RATE), self.longest)

    @property
    def test_ns(self) -> int:
        """What a test takes at most, with all that is beside its data."""
        return self.longest + _SETTLING_NS

    @property
    def turn_ns(self) -> int:
        """What a test and its retest take at most."""
        return _TESTS_A_TURN * self.test_ns

    @property
    def turn_octets(self) -> int:
        """What a test and its retest transfer at most, both ways together."""
        shares = (self.share(way) for way in self.direction.ways)
        return _TESTS_A_TURN * sum(share.octets for share in shares if share is not None)

    def line_document(self) -> dict[str, Any]:
        """The settings as a file has them, those that are left at their default left out."""
        fields = LineSettings.model_fields
        given = [name for name in fields if getattr(self, name) != fields[name].default]
        return {name: _written(name, getattr(self, name)) for name in given}

    def line_problems(self) -> Iterator[tuple[Location, str]]:
        """Ways without a floor, and ceilings that leave no room for one."""
        yield from as_far_as_read(self._floor_problems())
        yield from as_far_as_read(self._ceiling_problems())
        if self.confirm.missed > self.confirm.of:
            most = self.confirm.of
            yield (
                ("confirm", "missed"),
                f"{self.confirm.missed} of {most} turns cannot have missed: at most {most}",
            )

    def confirmation(self) -> Confirmation:
        """How many turns must miss a floor."""
        return Confirmation(self.confirm.missed, self.confirm.of)

    def _rate(self, way: Way) -> int:
        ceiling, floor = self.ceilings.of(way), self.floors.of(way)
        if floor is None:
            assert ceiling is not None
            return ceiling
        above = _ABOVE_FOR_CAPACITY if self.mode is Mode.CAPACITY else self.above / 100
        wanted = round(self._ip_layer(floor) * (1 + above))
        return wanted if ceiling is None else min(ceiling, wanted)

    def _ip_layer(self, floor: int) -> float:
        return _FULL_SIZED[self.protocol].ip_layer(floor) if self.layer is Layer.GOODPUT else floor

    def _floor_problems(self) -> Iterator[tuple[Location, str]]:
        for way in Way:
            floor = self.floors.of(way)
            if way not in self.direction.ways:
                if floor is not None:
                    yield ("floors", way.value), f"{way} is not tested: direction is {self.direction}"
            elif floor is None and self.mode is Mode.VERIFY:
                yield ("floors",), f"no floor for {way}: mode verify needs one, such as {way}: 1G"
            elif floor is None and self.ceilings.of(way) is None:
                yield ("ceilings",), f"neither a floor nor a ceiling for {way}, such as {way}: 11G"

    def _ceiling_problems(self) -> Iterator[tuple[Location, str]]:
        for way in self.direction.ways:
            floor, ceiling = self.floors.of(way), self.ceilings.of(way)
            if floor is None or ceiling is None:
                continue
            least = ceil(self._ip_layer(floor) * (1 + _LEAST_ABOVE))
            if ceiling < least:
                needed = format_bit_rate(least)
                yield (
                    ("ceilings", way.value),
                    f"{format_bit_rate(ceiling)} leaves no room to prove the floor: at least {needed} at the IP layer",
                )

    def warnings(self) -> Iterator[str]:
        """Floors that no port of their name can carry; places are within the path."""
        for way in self.direction.ways:
            floor = self.floors.of(way)
            if floor in _ETHERNET:
                port = format_bit_rate(floor)
                packets = _FULL_SIZED[self.protocol]
                ip_octets = packets.payload + packets.headers
                ip_layer = floor * ip_octets / (ip_octets + _FRAME_OCTETS)
                rate = packets.goodput(ip_layer) if self.layer is Layer.GOODPUT else ip_layer
                yield (
                    f"floors.{way}: {port} cannot pass through an Ethernet port of {port}, which carries "
                    f"{rate / floor:.1%} of that ({self.layer}, MTU 1500)"
                )


def _written(name: str, value: Any) -> Any:
    if isinstance(value, ConfirmSettings):
        return {"missed": value.missed, "of": value.of}
    if isinstance(value, UsersSettings):
        written = {"above": format_bit_rate(value.above), "interface": value.interface}
        return {key: one for key, one in written.items() if one is not None}
    if isinstance(value, WayRatesSettings):
        rates = {way.value: value.of(way) for way in Way}
        return {way: format_bit_rate(rate) for way, rate in rates.items() if rate is not None}
    if name == "longest":
        return format_duration(value)
    return value.value if isinstance(value, StrEnum) else value
