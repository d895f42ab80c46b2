"""Pilot lines as the fleet file has them: what they are promised to carry, what they share, and when tests come."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from agent.core.metrics import LINE_KIND
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer
from agent.runtime.exceptions import UnreadError
from agent.runtime.label_text import LabelText
from agent.runtime.line_settings import MAX_TESTED, LineSettings, WayRatesSettings
from agent.runtime.quantities import VolumeOctets, duration_between, format_duration
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.wording import Accepts, quoted
from agent.runtime.yaml_lines import Location
from collector.fleet.names import Identifier, NameSettings, listed
from collector.fleet.slots import (
    DAY_NS,
    DAYS,
    Demand,
    Quiet,
    SlotPlan,
    hand_out,
    line_resource,
    turn_fits,
)
from collector.fleet.topology import TopologySettings
from collector.sla.selector import PathFacts
from collector.sla.verdict import PathKey

_HOURS: Final = "times of day in Asia/Shanghai such as 19:00-23:30"
_HOURS_FORM: Final = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$")
_EVERY: Final = "a day divided by a whole number, such as 6h or 1d, or 2d, 4d, 7d, 14d, 28d"
_MINUTE_NS: Final = 60_000_000_000
_PER_DAY: Final = 200 * 10**9


def parse_quiet(value: Any) -> Quiet:
    """The time of day that a text such as `19:00-23:30` tells; it may pass midnight.

    Raises:
        ValueError: it tells none.
    """
    if isinstance(value, Quiet):
        return value
    match = _HOURS_FORM.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{quoted(value)} is no time of day: {_HOURS}")
    begin, end = (60 * int(match[at]) + int(match[at + 1]) for at in (1, 3))
    if begin == end or end > 24 * 60:
        raise ValueError(f"{quoted(value)} is no time of day: {_HOURS}")
    return Quiet(begin * _MINUTE_NS, end * _MINUTE_NS)


def parse_every(value: Any) -> int:
    """How often a line is tested, ns.

    Raises:
        ValueError: days of such tests would not all be alike, or not alike after 28.
    """
    every_ns = duration_between("15m", "28d")(value)
    if DAY_NS % every_ns and every_ns not in [days * DAY_NS for days in DAYS]:
        raise ValueError(f"{quoted(value)} does not fit into days: {_EVERY}")
    return every_ns


QuietHours = Annotated[Quiet, BeforeValidator(parse_quiet), Accepts(_HOURS)]
EveryNs = Annotated[int, BeforeValidator(parse_every), Accepts(_EVERY)]
JitterNs = Annotated[int, BeforeValidator(duration_between("1s", "1h")), Accepts("a duration from 1s to 1h")]


class PilotTierSettings(Settings):
    """A clause of the plan that promises throughput.

    Attributes:
        floors: what each way is promised to carry.
        layer: at which that is meant: ip, or goodput.
    """

    name: NameSettings
    floors: WayRatesSettings
    layer: Layer = Layer.IP


class SegmentSettings(Settings):
    """What lines share, so that no two of them can be tested at once: a PON tree, a cell, a link between cities.

    Attributes:
        per_day: octets that all tests through it may transfer in a day of Asia/Shanghai.
    """

    name: NameSettings
    per_day: VolumeOctets | None = None


class PilotSettings(LineSettings):
    """A line that is tested.

    Attributes:
        source: the site that tests; down comes there.
        target: the site that grants its tests.
        tier: one of `throughput.tiers`, whose floors and layer hold unless the line has its own.
        provider: label; default: that of the target's site.
        segments: what it shares with others.
        quiet_hours: when it is not tested; default: those of all pilots.
        every: from test to test, at least.
        per_day: octets that its tests may transfer in a day of Asia/Shanghai, retests included.

    What `LineSettings` has is as in the agent's configuration.
    """

    source: Identifier
    target: Identifier
    tier: Identifier
    provider: LabelText | None = None
    segments: tuple[Identifier, ...] = ()
    quiet_hours: tuple[QuietHours, ...] | None = None
    every: EveryNs = 21_600_000_000_000
    per_day: VolumeOctets = _PER_DAY


class ThroughputSettings(Settings):
    """Throughput of pilot lines.

    Attributes:
        tiers: what is promised, by label.
        segments: what lines share, by name.
        quiet_hours: when no line is tested, unless it has its own.
        jitter: by how much after the beginning of its slot a test begins at most.
        pilots: the lines.
    """

    tiers: dict[Identifier, PilotTierSettings] = Field(default_factory=dict)
    segments: dict[Identifier, SegmentSettings] = Field(default_factory=dict)
    quiet_hours: tuple[QuietHours, ...] = ()
    jitter: JitterNs = 30_000_000_000
    pilots: tuple[PilotSettings, ...] = ()

    def line(self, pilot: PilotSettings) -> PilotSettings:
        """A pilot with the floors that hold for it."""
        tier = self.tiers.get(pilot.tier)
        if tier is None or pilot.floors != WayRatesSettings():
            return pilot
        untested = {way.value: None for way in Way if way not in pilot.direction.ways}
        floors = tier.floors.model_copy(update=untested)
        return pilot.model_copy(update={"floors": floors, "layer": tier.layer})

    def quiet(self, pilot: PilotSettings) -> tuple[Quiet, ...]:
        """When a pilot is not tested."""
        return self.quiet_hours if pilot.quiet_hours is None else pilot.quiet_hours

    def turn_ns(self, pilot: PilotSettings) -> int:
        """What a test takes of what it shares: the jitter, the test and its retest."""
        return self.jitter + pilot.turn_ns

    def caps(self) -> Mapping[str, int]:
        """Octets a day of the segments that have such a bound."""
        return {
            _segment(name): segment.per_day
            for name, segment in self.segments.items()
            if segment.per_day is not None
        }


class PilotedSettings(TopologySettings):
    """Sites and paths, and the lines between sites whose throughput is tested."""

    throughput: ThroughputSettings = ThroughputSettings()

    def pilot_key(self, pilot: PilotSettings) -> PathKey:
        """The labels that the line's metrics carry."""
        return PathKey(
            pilot.source,
            pilot.target,
            pilot.tier,
            self.provider_of(pilot.target, pilot.provider),
            LINE_KIND,
            0,
        )

    @functools.cached_property
    def lines(self) -> Sequence[PilotSettings]:
        """All pilots with the floors that hold for them."""
        return [self.throughput.line(pilot) for pilot in self.throughput.pilots]

    @functools.cached_property
    def slot_plan(self) -> SlotPlan:
        """When each of them is tested."""
        return hand_out([self._demand(line) for line in self.lines], self.throughput.caps())

    def line_facts(self, pilot: PilotSettings) -> PathFacts:
        """What selectors ask of a line, as of a path."""
        return self.facts_between(self.pilot_key(pilot), ())

    def _demand(self, line: PilotSettings) -> Demand:
        ends = (_site(line.source), _site(line.target))
        return Demand(
            self._line_name(line),
            line.every,
            self.throughput.turn_ns(line),
            line.turn_octets,
            (*ends, *map(_segment, line.segments)),
            self.throughput.quiet(line),
            line.per_day,
        )

    def _line_name(self, line: PilotSettings) -> str:
        key = self.pilot_key(line)
        return f"{key.source} {key.target} {key.tier} {key.provider}"

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together, and what physics forbids."""
        yield from super().problems()
        yield from as_far_as_read(self._tier_names())
        yield from as_far_as_read(self._pilots())

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        yield from super().warnings()
        yield from self._unable()
        yield from self._overload()

    def _tier_names(self) -> Iterator[tuple[Location, str]]:
        for name in self.throughput.tiers:
            if name in self.tiers:
                yield (
                    ("throughput", "tiers", name),
                    f"{name} is already a tier of delays: give it another name",
                )

    def _pilots(self) -> Iterator[tuple[Location, str]]:
        first: dict[PathKey, int] = {}
        of_source: dict[str, int] = {}
        for index, pilot in enumerate(self.throughput.pilots):
            at: Location = ("throughput", "pilots", index)
            for within, message in self._pilot_problems(pilot):
                yield (*at, *within), message
            with contextlib.suppress(UnreadError):
                key = self.pilot_key(pilot)
                if first.setdefault(key, index) != index:
                    yield at, f"the same line as pilots[{first[key]}]"
                of_source[pilot.source] = of_source.get(pilot.source, 0) + 1
                if of_source[pilot.source] == MAX_TESTED + 1:
                    yield at, f"more than {MAX_TESTED} lines of one agent, {pilot.source}"

    def _pilot_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        for problems in (
            self._tester_problems(pilot),
            self._granter_problems(pilot),
            self._named_problems(pilot),
            self._line_problems(pilot),
            self._time_problems(pilot),
            self._volume_problems(pilot),
        ):
            yield from as_far_as_read(problems)

    def _tester_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        source = self.site(pilot.source)
        if source is None:
            yield ("source",), f"{pilot.source} is no site; sites: {listed(self._sites)}"
        elif source.agent is None:
            yield ("source",), f"{pilot.source} has no agent to test from"
        elif source.throughput is None:
            yield (
                ("source",),
                f"{pilot.source} has no throughput with a token_file, with which it asks for tests",
            )
        elif not source.sources():
            yield ("source",), f"which address {pilot.source} tests from is not known: give it probes_from"

    def _granter_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        target = self.site(pilot.target)
        if target is None:
            yield ("target",), f"{pilot.target} is no site; sites: {listed(self._sites)}"
        elif target.agent is None:
            yield ("target",), f"{pilot.target} has no agent that would grant tests"
        elif target.throughput is None or target.throughput.listen is None:
            yield (
                ("target",),
                f"{pilot.target} grants no tests: give it throughput with token_file and listen",
            )
        if pilot.source == pilot.target:
            yield ("target",), f"{pilot.source} tests itself"

    def _named_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        if pilot.tier not in self.throughput.tiers:
            known = listed(self.throughput.tiers) or "none"
            yield ("tier",), f"{pilot.tier} is no tier of throughput; its tiers: {known}"
        for index, name in enumerate(pilot.segments):
            if name not in self.throughput.segments:
                known = listed(self.throughput.segments) or "none"
                yield ("segments", index), f"{name} is no segment; segments: {known}"

    def _line_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        if pilot.tier in self.throughput.tiers:
            yield from self.throughput.line(pilot).line_problems()

    def _time_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        turn_ns = self.throughput.turn_ns(pilot)
        if turn_ns > pilot.every:
            yield ("every",), f"{format_duration(pilot.every)} are less than {self._turn(turn_ns)}"
        elif not turn_fits(turn_ns, self.throughput.quiet(pilot)):
            place = "quiet_hours" if pilot.quiet_hours is not None else "every"
            yield (place,), f"the quiet hours of a day leave no time for {self._turn(turn_ns)}"

    def _turn(self, turn_ns: int) -> str:
        return f"a test, its retest and the jitter, {format_duration(turn_ns)}"

    def _volume_problems(self, pilot: PilotSettings) -> Iterator[tuple[Location, str]]:
        line = self.throughput.line(pilot)
        if any(True for _ in line.line_problems()) or pilot.tier not in self.throughput.tiers:
            return
        needed = f"a test and its retest, {line.turn_octets / 1e9:.1f} GB"
        if line.turn_octets > line.per_day:
            yield ("per_day",), f"{line.per_day / 1e9:.1f} GB are less than {needed}"
        for index, name in enumerate(line.segments):
            segment = self.throughput.segments.get(name)
            if segment is not None and segment.per_day is not None and line.turn_octets > segment.per_day:
                yield (
                    ("segments", index),
                    f"the {segment.per_day / 1e9:.1f} GB a day of {name} are less than {needed}",
                )

    def _unable(self) -> Iterator[str]:
        """Floors that no port can carry; of a tier they are told once."""
        told: set[str] = set()
        for index, (pilot, line) in enumerate(zip(self.throughput.pilots, self.lines, strict=True)):
            own = pilot.floors != WayRatesSettings()
            place = f"throughput.pilots[{index}]" if own else f"throughput.tiers.{pilot.tier}"
            for warning in line.warnings():
                message = f"{place}.{warning}"
                if message not in told:
                    told.add(message)
                    yield message

    def _overload(self) -> Iterator[str]:
        """More demand than the day has, of time or of data."""
        for resource, share in self.slot_plan.asked.items():
            if not resource.startswith(line_resource("")):
                yield (
                    f"throughput: {share:.1f} times the tests that a day has time and data for are asked of "
                    f"{resource}: lines that share it are tested more rarely"
                )
        rarer = []
        for index, (line, slots) in enumerate(zip(self.lines, self.slot_plan.slots, strict=True)):
            if not slots.offsets_ns:
                yield f"throughput.pilots[{index}]: no slot is left for it: it is never tested"
            elif slots.a_day * line.every < DAY_NS * (1 - 1e-9):
                rarer.append((index, line, slots))
        if rarer:
            index, line, slots = rarer[0]
            often = f"{len(slots.offsets_ns)} times in {format_duration(slots.every_ns)}"
            more = f", as {len(rarer) - 1} others" if len(rarer) > 1 else ""
            yield f"throughput.pilots[{index}]: tested {often} and not every {format_duration(line.every)}{more}"


def _site(identifier: str) -> str:
    return f"site {identifier}"


def _segment(name: str) -> str:
    return f"segment {name}"
