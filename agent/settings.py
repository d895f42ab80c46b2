"""The agent's configuration file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from agent.clock_settings import AutomaticClockSettings, ClockSettings
from agent.core.authentication import KeyRing
from agent.core.ledger import Ledgers, PathLabels, PathLedger, Promise
from agent.core.outcome import Limit, Operator
from agent.core.schedule import Schedule
from agent.credentials import load_credentials
from agent.reflector_settings import ReflectorSettings
from agent.runtime.exceptions import ConfigError, UnreadError
from agent.runtime.label_text import LabelText, NameText
from agent.runtime.line_settings import MAX_TESTED
from agent.runtime.pace import MAX_PATHS, IntervalNs, Pace, TimeoutNs, too_much_in_all, too_much_of_one
from agent.runtime.probe_address import ProbeKind, address_of_kind, timeout_problem
from agent.runtime.quantities import (
    DurationNs,
    Endpoint,
    LimitText,
    SizeOctets,
    format_duration,
)
from agent.runtime.secret_files import load_token
from agent.runtime.session_settings import SessionSettings
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.yaml_lines import Location
from agent.throughput_settings import (
    ThroughputPathSettings,
    ThroughputServerSettings,
    tested_problems,
    tokenless,
)


class RecorderSettings(Settings):
    """The flight recorder.

    Attributes:
        length: for how long packets are remembered, at most.
        memory: what that may take; where it does not suffice, the record is shorter.
    """

    length: DurationNs = 600_000_000_000
    memory: SizeOctets = 32_000_000


class ApiSettings(Settings):
    """The API below /api/v1.

    Attributes:
        token_file: the one line that who reads it has to send as a bearer token; only its owner may read the file.
    """

    token_file: Path


class LimitsSettings(Settings):
    """What outcomes are counted against; a missing one follows from the others."""

    forward: LimitText | None = None
    reverse: LimitText | None = None
    round_trip: LimitText | None = None

    def complete(self) -> tuple[Limit, Limit, Limit]:
        """Forward, reverse and round-trip limit.

        A missing round-trip limit is the sum of the one-way limits. A missing one-way limit is the round trip's, for
        no direction takes longer than both together, or else that of the other direction.
        """
        forward = self.forward or self.round_trip or self.reverse
        reverse = self.reverse or self.round_trip or self.forward
        assert forward is not None
        assert reverse is not None
        if self.round_trip is not None:
            return forward, reverse, self.round_trip
        inclusive = forward.operator is reverse.operator is Operator.AT_MOST
        total = forward.limit_ns + reverse.limit_ns
        return forward, reverse, Limit(total, Operator.AT_MOST if inclusive else Operator.BELOW)


class FloorsSettings(Settings):
    """The least one-way delays that physics allows: fibre length times 4.9 µs/km."""

    forward: DurationNs | None = None
    reverse: DurationNs | None = None


class PathSettings(SessionSettings):
    """One path to probe.

    Attributes:
        target, tier, provider: labels.
        kind: stamp: one-way delays to a STAMP reflector. icmp: round trips to any host. tcp: round trips to a service.
        address: of the target, HOST[:PORT] for stamp, HOST for icmp, HOST:PORT for tcp.
        interval: from probe to probe, in the mean.
        schedule: periodic; jittered: each probe at a random time of its interval; poisson: exponential gaps.
        timeout: after which a probe without reply is lost.

    Beyond the code point, what `SessionSettings` has is for stamp alone.
    """

    target: NameText
    tier: LabelText = ""
    provider: LabelText = ""
    kind: ProbeKind = "stamp"
    address: Endpoint
    interval: IntervalNs = 100_000_000
    schedule: Schedule = Schedule.PERIODIC
    timeout: TimeoutNs = 1_000_000_000
    limits: LimitsSettings
    floors: FloorsSettings = FloorsSettings()

    @field_validator("address", mode="before")
    @classmethod
    def _address_of_kind(cls, value: Any, info: ValidationInfo) -> Endpoint:
        return address_of_kind(value, info)

    def floors_ns(self) -> tuple[int, int]:
        """Forward and reverse floor; none configured is none known."""
        return self.floors.forward or 0, self.floors.reverse or 0

    def ledger(self, site: str, table: Ledgers, begun_ns: int | None = None) -> PathLedger:
        """A fresh ledger of this path, probed from `site` from `begun_ns` on (Unix wall time), in a table."""
        labels = PathLabels(site, self.target, self.tier, self.provider, self.kind, self.dscp)
        return table.open(labels, *self.promises(), begun_ns)

    def promises(self) -> tuple[Promise, Promise, Limit]:
        """What the path is held against: forward, reverse, and the round trip's limit."""
        forward, reverse, round_trip = self.limits.complete()
        floor_forward, floor_reverse = self.floors_ns()
        return Promise(forward, floor_forward), Promise(reverse, floor_reverse), round_trip

    def identity(self) -> tuple[str, str, str, str, int]:
        """What names the path in the metrics, at one site."""
        return self.target, self.tier, self.provider, self.kind, self.dscp

    def pace(self) -> Pace:
        """How often it is probed, and how long a reply is waited for."""
        return Pace(self.interval, self.timeout, self.schedule)

    def sending(self) -> tuple[object, ...]:
        """All that sending depends on: where it differs, a path begins anew with the next probe."""
        session = (getattr(self, name) for name in SessionSettings.model_fields if name != "route")
        return self.interval, self.schedule, self.address, *session

    def located_problems(self) -> Iterator[tuple[Location, str]]:
        """What this path leaves unsaid, promises against physics, or asks too much; locations are within the path."""
        yield from as_far_as_read(self._timeout_problems())
        yield from as_far_as_read(self._limits_problems())
        yield from as_far_as_read(self.session_problems(self.kind))

    def _timeout_problems(self) -> Iterator[tuple[Location, str]]:
        too_long = timeout_problem(self.kind, self.timeout) or too_much_of_one(self.pace())
        if too_long is not None:
            yield ("timeout",), too_long

    def _limits_problems(self) -> Iterator[tuple[Location, str]]:
        if self.limits == LimitsSettings():
            yield (
                ("limits",),
                "no limit given; one of forward, reverse, round_trip is needed, such as '< 1ms'",
            )
            return
        limits = self.limits.complete()
        floor_forward, floor_reverse = self.floors_ns()
        floors = (floor_forward, floor_reverse, floor_forward + floor_reverse)
        for name, limit, floor_ns in zip(("forward", "reverse", "round_trip"), limits, floors, strict=True):
            if getattr(self.limits, name) is not None and floor_ns and not limit.met_by(floor_ns):
                yield (
                    ("limits", name),
                    f"impossible: light in fibre needs {floor_ns / 1e6:.2f} ms to {self.target}, the limit is {limit}",
                )


class AgentSettings(Settings):
    """The whole file.

    Attributes:
        site: this node's name, the label `source`.
        listen: where /metrics and the health checks are served; none: nowhere.
        throughput: whose throughput tests are granted; none: nobody's.
        hardware_timestamps: use the times of a network card that stamps, where there is one.
        credentials: file of keys, with which authenticated paths are signed.
        throughput_paths: lines whose throughput is tested from here.
        plan_version: which compiled plan this file is.
    """

    site: NameText
    listen: Endpoint | None = None
    clock: ClockSettings = AutomaticClockSettings()
    hardware_timestamps: bool = True
    reflector: ReflectorSettings | None = None
    throughput: ThroughputServerSettings | None = None
    recorder: RecorderSettings = RecorderSettings()
    api: ApiSettings | None = None
    credentials: Path | None = None
    plan_version: LabelText = ""
    paths: Annotated[tuple[PathSettings, ...], Field(max_length=MAX_PATHS)] = ()
    throughput_paths: Annotated[tuple[ThroughputPathSettings, ...], Field(max_length=MAX_TESTED)] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def problems(self) -> Iterator[tuple[Location, str]]:
        """A file that does nothing, a reflector or paths that cannot be as they are, and paths too many together."""
        yield from as_far_as_read(self._nothing_to_do())
        yield from as_far_as_read(self._reflector_problems())
        for index, path in enumerate(self.paths):
            for location, message in path.located_problems():
                yield ("paths", index, *location), message
        yield from as_far_as_read(self._throughput_problems())
        yield from tested_problems(self.throughput_paths)
        yield from as_far_as_read(self._listened_twice())
        yield from self._same_twice()
        yield from as_far_as_read(self._authenticated_problems())
        for message in too_much_in_all(path.pace() for path in self.paths):
            yield ("paths",), message

    def _nothing_to_do(self) -> Iterator[tuple[Location, str]]:
        serving = self.reflector is not None or self.throughput is not None
        if not (serving or self.paths or self.throughput_paths):
            yield (), "nothing to do: neither paths nor a reflector"

    def _reflector_problems(self) -> Iterator[tuple[Location, str]]:
        if self.reflector is not None:
            for location, message in self.reflector.located_problems():
                yield ("reflector", *location), message

    def _throughput_problems(self) -> Iterator[tuple[Location, str]]:
        if self.throughput is None:
            return
        for location, message in self.throughput.located_problems():
            yield ("throughput", *location), message
        if self.listen is None:
            yield ("throughput",), "needs listen: throughput tests are asked for on the HTTP server"

    def _listened_twice(self) -> Iterator[tuple[Location, str]]:
        """Addresses that the kernel would not give to two sockets of a protocol."""
        reflector = [] if self.reflector is None else [("reflector", one) for one in self.reflector.listen]
        http = [] if self.listen is None else [("", self.listen)]
        data = [] if self.throughput is None else [("throughput", one) for one in self.throughput.listen]
        for protocol, sockets in (("UDP", reflector + data), ("TCP", http + data)):
            for index, (key, endpoint) in enumerate(sockets):
                if any(endpoint.clashes(other) for _, other in sockets[:index]):
                    yield (key, "listen"), f"{endpoint} is listened at twice, by {protocol}"

    def _same_twice(self) -> Iterator[tuple[Location, str]]:
        first: dict[tuple[str, str, str, str, int], int] = {}
        for index, path in enumerate(self.paths):
            try:
                key = path.identity()
            except UnreadError:
                continue
            if key in first:
                yield (
                    ("paths", index),
                    f"the same path as paths[{first[key]}]: target, tier, provider, kind and dscp together name a path",
                )
            first.setdefault(key, index)

    def _authenticated_problems(self) -> Iterator[tuple[Location, str]]:
        first: dict[int, int] = {}
        for index, path in enumerate(self.paths):
            ssid = path.authenticated_ssid
            if ssid is None:
                continue
            at = ("paths", index, "authenticated_ssid")
            if self.credentials is None:
                yield at, "authenticated paths need credentials, a file of keys"
            if first.setdefault(ssid, index) != index:
                yield at, f"{ssid} is already that of paths[{first[ssid]}]"

    def keys(self, folder: Path) -> KeyRing | None:
        """The keys of the credentials file, which is named relative to a folder; None where there is none.

        Raises:
            ConfigError: it is no good.
        """
        return None if self.credentials is None else load_credentials(folder / self.credentials)

    def _keyless(self, folder: Path) -> Iterator[tuple[Location, str]]:
        ring = self.keys(folder)
        for index, path in enumerate(self.paths):
            ssid = path.authenticated_ssid
            if ring is not None and ssid is not None and not ring.keys(ssid):
                yield ("paths", index, "authenticated_ssid"), f"{self.credentials} has no key for {ssid}"

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """Files of secrets that cannot be used."""
        try:
            yield from as_far_as_read(self._keyless(folder))
        except ConfigError as error:
            for problem in error.problems:
                yield ("credentials",), str(problem)
        try:
            if self.reflector is not None:
                self.reflector.keys(folder)
        except ConfigError as error:
            for problem in error.problems:
                yield ("reflector", "credentials"), str(problem)
        try:
            self.token(folder)
        except ConfigError as error:
            for problem in error.problems:
                yield ("api", "token_file"), str(problem)
        yield from as_far_as_read(tokenless(folder, self.throughput, self.throughput_paths))

    def token(self, folder: Path) -> str | None:
        """The API's token; None where there is no API.

        Raises:
            ConfigError: its file, which is named relative to a folder, is no good.
        """
        return None if self.api is None else load_token(folder / self.api.token_file)

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        if self.reflector is not None:
            yield from self.reflector.warnings()
        if self.throughput is not None:
            yield from self.throughput.warnings()
        for index, tested in enumerate(self.throughput_paths):
            yield from (f"throughput_paths[{index}].{warning}" for warning in tested.warnings())
        for index, path in enumerate(self.paths):
            if path.kind == "stamp" and path.timeout <= path.interval:
                yield (
                    f"paths[{index}]: timeout {format_duration(path.timeout)} is not above interval "
                    f"{format_duration(path.interval)}: the direction of a loss can rarely be proven, for the next "
                    "reply comes too late to prove it"
                )
        yield from self._told_apart_by_reflector()

    def _told_apart_by_reflector(self) -> Iterator[str]:
        """Sessions between the same two sockets: only identifiers tell them apart (RFC 8972, section 3)."""
        first: dict[tuple[Endpoint, int | None], int] = {}
        for index, path in enumerate(self.paths):
            if path.kind != "stamp":
                continue
            marking = None if path.extended else path.dscp
            other = first.setdefault((path.address, marking), index)
            if other != index:
                yield (
                    f"paths[{index}]: goes to {path.address} from the same socket as paths[{other}]: of a reflector "
                    "that returns no session identifiers (TWAMP Light, STAMP before RFC 8972) neither gets a reply"
                )
