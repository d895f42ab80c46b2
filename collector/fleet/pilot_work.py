"""What agents are told of throughput tests: whose they grant, and which lines they test when; and what that leaves to
expect of them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.core.networks import Network
from agent.core.outcome import Direction
from agent.core.throughput.lease import Way
from agent.core.throughput.result import Floor
from agent.runtime.quantities import format_bit_rate, format_duration
from collector.fleet.pilots import PilotedSettings, PilotSettings
from collector.fleet.sites import SiteSettings
from collector.fleet.slots import Slots
from collector.sla.promise import DIRECTION_OF
from collector.sla.throughput import LineSlots, SlotTable

_GIGABYTE: Final = 10**9
_READ_WITHIN_NS: Final = 60_000_000_000
"""A turn may begin a little after its jitter, and what it came to is counted in the minute in which it is read."""


def throughput_work(fleet: PilotedSettings, site: SiteSettings) -> dict[str, Any]:
    """The keys `throughput` and `throughput_paths` of a site's agent, those that it needs."""
    planned = list(zip(fleet.lines, fleet.slot_plan.slots, strict=True))
    work: dict[str, Any] = {}
    granted = [(line, slots) for line, slots in planned if line.target == site.id]
    if granted and site.throughput is not None and site.throughput.listen is not None:
        work["throughput"] = _server(fleet, site, granted)
    tested = [(line, slots) for line, slots in planned if line.source == site.id and slots.offsets_ns]
    if tested and site.throughput is not None:
        work["throughput_paths"] = [
            _path(fleet, line, slots, site.throughput.token_file) for line, slots in tested
        ]
    return work


def floors_of(line: PilotSettings) -> Mapping[Direction, Floor]:
    """What each way of a line is promised to carry, where something is."""
    floors = {DIRECTION_OF[way]: line.floor(way) for way in line.direction.ways}
    return {
        direction: Floor(float(one.rate), one.layer) for direction, one in floors.items() if one is not None
    }


def slot_table(fleet: PilotedSettings) -> SlotTable:
    """When each line is tested, by its row among the paths of the fleet: after those that are probed."""
    return SlotTable(
        {
            len(fleet.paths) + index: LineSlots(
                slots.every_ns, slots.offsets_ns, fleet.throughput.turn_ns(line) + _READ_WITHIN_NS
            )
            for index, (line, slots) in enumerate(zip(fleet.lines, fleet.slot_plan.slots, strict=True))
        }
    )


def _server(
    fleet: PilotedSettings, site: SiteSettings, granted: list[tuple[PilotSettings, Slots]]
) -> dict[str, Any]:
    """Whose tests a site grants: of those that are planned each as large as it is, and no others."""
    assert site.throughput is not None
    lines = [line for line, _ in granted]
    networks: dict[Network, int] = defaultdict(int)
    for line, slots in granted:
        source = fleet.site(line.source)
        assert source is not None
        for network in source.sources():
            networks[network] += max(1, round(slots.a_day)) * line.turn_octets
    by_family = sorted(networks, key=lambda network: (network.version, network.network_address.packed))
    rates = {way.value: rate for way in Way if (rate := _largest(lines, way)) is not None}
    return {
        "listen": [str(site.throughput.listen)],
        "allow": [str(network) for network in by_family],
        "token_file": site.throughput.token_file,
        "rates": {way: format_bit_rate(rate) for way, rate in rates.items()},
        "longest": format_duration(max(line.longest for line in lines)),
        "per_day": f"{-(-max(networks.values()) // _GIGABYTE)}GB",
    }


def _largest(lines: Iterable[PilotSettings], way: Way) -> int | None:
    shares = (line.share(way) for line in lines)
    return max((share.rate for share in shares if share is not None), default=None)


def _path(fleet: PilotedSettings, line: PilotSettings, slots: Slots, token_file: str) -> dict[str, Any]:
    target = fleet.site(line.target)
    assert target is not None
    key = fleet.pilot_key(line)
    # no text says 0 ns: at the beginning of a period is at the end of the one before
    offsets = [format_duration(offset_ns or slots.every_ns) for offset_ns in slots.offsets_ns]
    return {
        "target": key.target,
        "tier": key.tier,
        "provider": key.provider,
        "address": str(target.agent),
        "token_file": token_file,
        **line.line_document(),
        "slot": {
            "every": format_duration(slots.every_ns),
            "offsets": offsets,
            "jitter": format_duration(fleet.throughput.jitter),
        },
    }
