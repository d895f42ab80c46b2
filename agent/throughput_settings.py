"""Throughput tests in the agent's file: what this agent grants others, and which lines it tests itself.

Both are off unless they are there. What is tested stands in a list of its own beside `paths`: a path sends a packet
now and then, a test fills the line, and has neither an interval nor a timeout nor a limit of delay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from agent.core.admission import AdmissionRules, PacketRate
from agent.core.ledger import PathLabels
from agent.core.metrics import LINE_KIND
from agent.core.throughput.lease import MAX_STREAMS, Way
from agent.core.throughput.lease_book import LeaseRules
from agent.runtime.exceptions import ConfigError, UnreadError
from agent.runtime.label_text import LabelText, NameText
from agent.runtime.line_settings import (
    DataAddress,
    LineSettings,
    LongestTest,
    WayRatesSettings,
)
from agent.runtime.quantities import (
    BitRate,
    Endpoint,
    NetworkText,
    VolumeOctets,
    duration_between,
    format_bit_rate,
    format_duration,
    reachable,
)
from agent.runtime.secret_files import load_token
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location

_USUAL_RATE: Final = 11 * 10**9
_PATHS: Final = "throughput_paths"
_REQUESTS: Final = PacketRate(1, 10)
_REQUESTS_OVERALL: Final = PacketRate(50, 500)
_MAX_SOURCES: Final = 4_096

Every = Annotated[int, BeforeValidator(duration_between("1m", "30d")), Accepts("a duration from 1m to 30d")]
Offset = Annotated[int, BeforeValidator(duration_between("1s", "30d")), Accepts("a duration from 1s to 30d")]
Jitter = Annotated[int, BeforeValidator(duration_between("1s", "1h")), Accepts("a duration from 1s to 1h")]


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
        per_day: octets that one IPv4 address or IPv6 /64 may transfer in a day of Asia/Shanghai, both ways together;
            what it has is forgotten when the agent ends.
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


class SlotSettings(Settings):
    """When a line is tested: at each of `offsets` after each whole `every` of UTC, or a little later.

    They recur for ever, so an agent needs nobody to tell it of the next one. The collector hands them out so that no
    two tests meet.

    Attributes:
        every: after which the offsets recur.
        offsets: each at most that; none: at the whole `every` itself.
        jitter: by how much later a test begins at most.
    """

    every: Every
    offsets: Annotated[tuple[Offset, ...], Field(max_length=1_440)] = ()
    jitter: Jitter = 0

    def next_ns(self, unix_ns: int) -> int:
        """When the next slot begins: the first time after `unix_ns`."""
        return min(
            (unix_ns - offset_ns) // self.every * self.every + self.every + offset_ns
            for offset_ns in self.offsets or (0,)
        )

    @property
    def least_gap_ns(self) -> int:
        """From one beginning to the next, at least."""
        begins = sorted(self.offsets) or [0]
        return min(after - before for before, after in pairwise((*begins, begins[0] + self.every)))


class ThroughputPathSettings(LineSettings):
    """One line to test.

    Attributes:
        target, tier, provider: labels; `kind` is throughput.
        address: of the target agent's HTTP server.
        token_file: with which it grants tests.
        slot: when.
    """

    target: NameText
    tier: LabelText = ""
    provider: LabelText = ""
    address: Annotated[Endpoint, AfterValidator(reachable)]
    token_file: Path
    slot: SlotSettings

    def labels(self, site: str) -> PathLabels:
        """What names it in the metrics."""
        return PathLabels(site, self.target, self.tier, self.provider, LINE_KIND, 0)

    def token(self, folder: Path) -> str:
        """With which tests are asked for.

        Raises:
            ConfigError: its file, which is named relative to a folder, is no good.
        """
        return load_token(folder / self.token_file)

    def located_problems(self) -> Iterator[tuple[Location, str]]:
        """What cannot be tested as it is written; locations are within the path."""
        yield from self.line_problems()
        yield from as_far_as_read(self._slot_problems())

    def _slot_problems(self) -> Iterator[tuple[Location, str]]:
        slot = self.slot
        for index, offset in enumerate(slot.offsets):
            if offset > slot.every:
                never = f"{format_duration(offset)} never comes"
                yield (
                    ("slot", "offsets", index),
                    f"{never}: it must be at most every, {format_duration(slot.every)}",
                )
        needed = slot.jitter + self.turn_ns
        if needed > slot.least_gap_ns:
            place = "offsets" if len(slot.offsets) > 1 else "every"
            gap = format_duration(slot.least_gap_ns)
            yield (
                ("slot", place),
                f"{gap} are too short: a test, its retest and the jitter take {format_duration(needed)}",
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
