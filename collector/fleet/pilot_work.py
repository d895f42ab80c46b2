"""What agents are told of throughput tests: whose they grant, and which lines they test when. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from agent.core.networks import Network
from agent.core.throughput.lease import Way
from agent.runtime.quantities import format_bit_rate, format_duration
from collector.fleet.pilots import PilotedSettings, PilotSettings
from collector.fleet.sites import SiteSettings
from collector.fleet.slots import Slots

_GIGABYTE: Final = 10**9


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
