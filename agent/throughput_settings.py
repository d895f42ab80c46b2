"""Throughput tests in the agent's file: what this agent grants others, and which lines it tests itself.

Both are off unless they are there. What is tested stands in a list of its own beside `paths`: a path sends a packet
now and then, a test fills the line, and has neither an interval nor a timeout nor a limit of delay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from agent.core.admission import AdmissionRules, PacketRate
from agent.core.ledger import PathLabels
from agent.core.throughput.lease import MAX_RATE, MAX_STREAMS, Directions, Protocol, Share, Way
from agent.core.throughput.lease_book import LeaseRules
from agent.core.throughput.rates import Layer, Packets
from agent.core.throughput.result import Floor
from agent.runtime.exceptions import ConfigError, UnreadError
from agent.runtime.label_text import LabelText, NameText
from agent.runtime.quantities import (
    BitRate,
    Endpoint,
    NetworkText,
    VolumeOctets,
    duration_between,
    endpoint_with_default_port,
    format_bit_rate,
    format_duration,
    reachable,
)
from agent.runtime.secret_files import load_token
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location

DATA_PORT: Final = 9462
"""Where data sockets listen unless told otherwise: beside the usual port of the agent's HTTP server."""

KIND: Final = "throughput"
"""The label `kind` of what is tested."""

MAX_TESTED: Final = 1_024
"""Lines of one agent: each takes its turn, and a day has only so many."""

_FULL_SIZED: Final = {
    Protocol.TCP: Packets.of(Protocol.TCP, 4, 1_448, timestamps=True),
    Protocol.UDP: Packets.of(Protocol.UDP, 4, 1_472),
}
_ETHERNET: Final = (10**9, 25 * 10**8, 5 * 10**9, 10**10, 25 * 10**9, 40 * 10**9, 50 * 10**9, 10**11)
_FRAME_OCTETS: Final = 38
"""What Ethernet adds to each packet: preamble, header, check sequence, gap."""
_USUAL_RATE: Final = 11 * 10**9
_PATHS: Final = "throughput_paths"
_ABOVE_FOR_CAPACITY: Final = 0.25
_LEAST_ABOVE: Final = 0.01
_REQUESTS: Final = PacketRate(1, 10)
_REQUESTS_OVERALL: Final = PacketRate(50, 500)
_MAX_SOURCES: Final = 4_096

DataAddress = Annotated[Endpoint, endpoint_with_default_port(DATA_PORT), AfterValidator(reachable)]
LongestTest = Annotated[
    int, BeforeValidator(duration_between("2s", "2m")), Accepts("a duration from 2s to 2m")
]
Every = Annotated[int, BeforeValidator(duration_between("1m", "30d")), Accepts("a duration from 1m to 30d")]
Offset = Annotated[int, BeforeValidator(duration_between("1s", "30d")), Accepts("a duration from 1s to 30d")]


class WayRatesSettings(Settings):
    """A rate for each way, bit/s."""

    down: BitRate | None = None
    up: BitRate | None = None

    def of(self, way: Way) -> int | None:
        """That of one way."""
        return self.down if way is Way.DOWN else self.up


class ThroughputServerSettings(Settings):
    """Who may test the line to this agent, and how much.

    Leases are asked for on the agent's HTTP server (`listen` of the file), which must be reachable for those who test.

    Attributes:
        listen: addresses of the data sockets, TCP and UDP at the same port.
        allow: networks whose tests are granted; nobody else's are, not even this host's.
        token_file: the one line that who asks has to send as a bearer token; only its owner may read the file.
        slots: tests at once.
        budget: of all tests together, bit/s at the IP layer, each way by itself; default: what the slots amount to.
        rates: of one test, at most; default: the budget, or 11G, which no 10GbE port exceeds.
        longest: test.
        per_day: octets that one IPv4 address or IPv6 /64 may transfer in a day of Asia/Shanghai, both ways together.
        streams: of one way, at most.
    """

    listen: Annotated[tuple[DataAddress, ...], Field(min_length=1)]
    allow: tuple[NetworkText, ...] = ()
    token_file: Path
    slots: Annotated[int, Field(ge=1, le=64)] = 1
    budget: BitRate | None = None
    rates: WayRatesSettings = WayRatesSettings()
    longest: LongestTest = 30_000_000_000
    per_day: VolumeOctets = 200 * 10**9
    streams: Annotated[int, Field(ge=1, le=MAX_STREAMS)] = MAX_STREAMS

    def rules(self) -> LeaseRules:
        """What is granted."""
        return LeaseRules(
            self.allow,
            self.slots,
            self.budget,
            self._most(Way.DOWN),
            self._most(Way.UP),
            self.longest,
            self.per_day,
            self.streams,
        )

    def admission(self) -> AdmissionRules:
        """Whose requests on the control channel are looked at, and how often."""
        return AdmissionRules(
            self.allow,
            per_source=_REQUESTS,
            overall=_REQUESTS_OVERALL,
            max_sources=_MAX_SOURCES,
        )

    def data_port(self, ip_version: int) -> int | None:
        """Where data sockets of an IP version are served; None: nowhere."""
        wanted = ip_version == 6
        return next((one.port for one in self.listen if (":" in one.host) == wanted), None)

    def token(self, folder: Path) -> str:
        """What who asks has to send.

        Raises:
            ConfigError: its file, which is named relative to a folder, is no good.
        """
        return load_token(folder / self.token_file)

    def located_problems(self) -> Iterator[tuple[Location, str]]:
        """A server for nobody, and limits that contradict each other; locations are within it."""
        yield from as_far_as_read(self._nobody())
        yield from as_far_as_read(self._over_budget())

    def _most(self, way: Way) -> int:
        return self.rates.of(way) or self.budget or _USUAL_RATE

    def _nobody(self) -> Iterator[tuple[Location, str]]:
        if not self.allow:
            yield (
                ("allow",),
                "nobody could test: list all networks that may, such as [10.0.0.0/8, 127.0.0.1, ::1]",
            )

    def _over_budget(self) -> Iterator[tuple[Location, str]]:
        for way in Way:
            rate = self.rates.of(way)
            if rate is not None and self.budget is not None and rate > self.budget:
                most, one = format_bit_rate(self.budget), format_bit_rate(rate)
                yield ("budget",), f"{most} are less than the {one} of rates.{way}, which no test could have"

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        for index, allowed in enumerate(self.allow):
            if allowed.prefixlen == 0:
                yield f"throughput.allow[{index}]: {allowed} is everybody who has the token"


class Mode(StrEnum):
    """How a line is tested.

    VERIFY: paced just above the floors, and over as soon as they are proven or refuted. CAPACITY: as fast as the line
    lets, alone; rarely.
    """

    VERIFY = "verify"
    CAPACITY = "capacity"


class SlotSettings(Settings):
    """When a line is tested: at `offset` after each whole `every` of UTC.

    Attributes:
        every: from test to test.
        offset: less than that; the collector hands them out so that no two tests meet.
    """

    every: Every
    offset: Offset | None = None

    def next_ns(self, unix_ns: int) -> int:
        """When the next test is due: the first such time after `unix_ns`."""
        offset_ns = self.offset or 0
        return (unix_ns - offset_ns) // self.every * self.every + self.every + offset_ns


class ThroughputPathSettings(Settings):
    """One line to test.

    Attributes:
        target, tier, provider: labels; `kind` is throughput.
        address: of the target agent's HTTP server.
        token_file: with which it grants tests.
        direction: what is tested: down is from the target to here.
        floors: what each way is promised to carry.
        layer: at which the floors are meant: ip, or goodput, the payload of TCP or UDP.
        protocol: tcp or udp.
        streams: of each way.
        mode: verify or capacity.
        ceilings: that are never exceeded, at the IP layer; default: the pace, a quarter above the floors for capacity.
        above: percent by which a floor is exceeded to verify it.
        longest: the test, whatever is known by then.
        slot: when.
    """

    target: NameText
    tier: LabelText = ""
    provider: LabelText = ""
    address: Annotated[Endpoint, AfterValidator(reachable)]
    token_file: Path
    direction: Directions = Directions.BOTH
    floors: WayRatesSettings = WayRatesSettings()
    layer: Layer = Layer.IP
    protocol: Protocol = Protocol.TCP
    streams: Annotated[int, Field(ge=1, le=MAX_STREAMS)] = 4
    mode: Mode = Mode.VERIFY
    ceilings: WayRatesSettings = WayRatesSettings()
    above: Annotated[int, Field(ge=1, le=20)] = 4
    longest: LongestTest = 10_000_000_000
    slot: SlotSettings

    def labels(self, site: str) -> PathLabels:
        """What names it in the metrics."""
        return PathLabels(site, self.target, self.tier, self.provider, KIND, 0)

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

    def token(self, folder: Path) -> str:
        """With which tests are asked for.

        Raises:
            ConfigError: its file, which is named relative to a folder, is no good.
        """
        return load_token(folder / self.token_file)

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

    def located_problems(self) -> Iterator[tuple[Location, str]]:
        """What cannot be tested as it is written; locations are within the path."""
        for problems in (self._floor_problems(), self._ceiling_problems(), self._slot_problems()):
            yield from as_far_as_read(problems)

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

    def _slot_problems(self) -> Iterator[tuple[Location, str]]:
        slot = self.slot
        if slot.offset is not None and slot.offset >= slot.every:
            yield (
                ("slot", "offset"),
                f"{format_duration(slot.offset)} never comes: it must be less than every {format_duration(slot.every)}",
            )
        if 2 * self.longest > slot.every:
            yield (
                ("slot", "every"),
                f"{format_duration(slot.every)} is less than two tests of {format_duration(self.longest)} take",
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


def tested_problems(paths: Sequence[ThroughputPathSettings]) -> Iterator[tuple[Location, str]]:
    """What is wrong with each of the lines, and those that are there twice; locations are those of the whole file."""
    first: dict[tuple[str, str, str], int] = {}
    for index, path in enumerate(paths):
        at = (_PATHS, index)
        for location, message in path.located_problems():
            yield (*at, *location), message
        try:
            key = path.target, path.tier, path.provider
        except UnreadError:
            continue
        if first.setdefault(key, index) != index:
            yield (
                at,
                f"the same line as {_PATHS}[{first[key]}]: target, tier and provider together name a line",
            )


def tokenless(
    folder: Path, server: ThroughputServerSettings | None, paths: Sequence[ThroughputPathSettings]
) -> Iterator[tuple[Location, str]]:
    """Files of tokens, named relative to a folder, that cannot be used; locations are those of the whole file."""
    holders: list[tuple[Location, ThroughputServerSettings | ThroughputPathSettings]] = [
        ((_PATHS, index), path) for index, path in enumerate(paths)
    ]
    if server is not None:
        holders.insert(0, (("throughput",), server))
    for location, holder in holders:
        try:
            holder.token(folder)
        except ConfigError as error:
            for problem in error.problems:
                yield (*location, "token_file"), str(problem)
        except UnreadError:
            continue
