"""All that the agent's doctor looks at, together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.clock_choice import clock_of
from agent.clock_settings import AutomaticClockSettings
from agent.core.authentication import KeyRing
from agent.doctor.buffers import gather_buffers, judge_buffers
from agent.doctor.clock import USUAL_LIMITS, ClockFacts, PromisedLimit, judge_clock
from agent.doctor.lines import gather_lines, judge_lines
from agent.doctor.privileges import gather_privileges, judge_privileges
from agent.doctor.stamps import StampFacts, gather_loopback, judge_all_stamps
from agent.doctor.targets import TargetFacts, gather_targets, judge_targets, promised_limits
from agent.net.local_clock import LocalClock
from agent.runtime.apart import apart
from agent.runtime.doctor.bounded import TOTAL_S, Shared, Step, examine
from agent.runtime.doctor.diagnosis import Diagnosis
from agent.runtime.doctor.files import SecretFacts, gather_secret, judge_secrets
from agent.runtime.doctor.host import gather_host, judge_host
from agent.runtime.doctor.ports import Own, PortFacts, Protocol, gather_port, judge_ports
from agent.runtime.doctor.reach import NameAnswer, judge_names, look_up
from agent.runtime.doctor.service import ServiceFacts, gather_service, judge_service
from agent.runtime.exceptions import ConfigError
from agent.runtime.quantities import Endpoint
from agent.runtime.wording import key_path
from agent.settings import AgentSettings, PathSettings

PROGRAM: Final = "isochrone-agent"
_UNIT: Final = f"{PROGRAM}.service"
_SECOND_NS: Final = 1_000_000_000


class AgentExamination:
    """One examination; `run` makes it.

    Args:
        settings: what the agent is to do; None: nothing is known of it.
        config: their file; the files that it names are relative to its folder.
    """

    def __init__(self, settings: AgentSettings | None, config: Path | None = None) -> None:
        self._settings = settings
        self._config = config
        self._folder = Path() if config is None else config.parent
        self._paths: Sequence[PathSettings] = () if settings is None else settings.paths
        self._shared = Shared()

    async def run(self, total_s: float = TOTAL_S) -> list[Diagnosis]:
        """Look at everything at once, for no longer than this."""
        steps: dict[str, Step] = {
            "host": self._host(),
            "service": self._service_step(),
            "privileges": self._privileges(),
            "timestamps": self._timestamps(),
            "clock": self._clock_step(),
            "buffers": self._buffers(),
        }
        if self._settings is not None:
            steps |= {
                "ports": self._ports(self._settings),
                "files": self._files(self._settings),
                "names": self._names_step(),
                "targets": self._targets_step(),
            }
            if self._settings.throughput is not None or self._settings.throughput_paths:
                steps["lines"] = self._lines()
        try:
            return await examine(steps, total_s)
        finally:
            await self._shared.close()

    # What several steps need

    async def _service(self) -> ServiceFacts | None:
        return await self._shared.once("service", lambda: gather_service(_UNIT))

    async def _names(self) -> dict[str, NameAnswer]:
        return await self._shared.once("names", lambda: look_up(path.address.host for path in self._paths))

    async def _clock(self) -> LocalClock:
        async def asked() -> LocalClock:
            settings = AutomaticClockSettings() if self._settings is None else self._settings.clock
            clock = LocalClock(clock_of(settings))
            await clock.refresh()
            return clock

        return await self._shared.once("clock", asked)

    async def _targets(self) -> tuple[list[TargetFacts], list[StampFacts]]:
        async def probed() -> tuple[list[TargetFacts], list[StampFacts]]:
            names, clock = await asyncio.gather(self._names(), self._clock())
            return await gather_targets(self._paths, names, clock, await apart(self._keys))

        return await self._shared.once("targets", probed)

    def _keys(self) -> KeyRing | None:
        try:
            return None if self._settings is None else self._settings.keys(self._folder)
        except ConfigError:
            return None  # which `_files` tells of

    # The steps

    async def _host(self) -> list[Diagnosis]:
        return list(judge_host(await apart(gather_host)))

    async def _service_step(self) -> list[Diagnosis]:
        return list(judge_service(await self._service()))

    async def _privileges(self) -> list[Diagnosis]:
        service = await self._service()
        icmp = sum(path.kind == "icmp" for path in self._paths)
        traced = sum(path.route is not None for path in self._paths)
        ports = [] if self._settings is None else [port.port for port in _listened(self._settings)]
        facts = await apart(gather_privileges, service, icmp, traced, min(ports, default=None))
        return list(judge_privileges(facts))

    async def _timestamps(self) -> list[Diagnosis]:
        found = await gather_loopback()
        if self._paths:
            _, used = await self._targets()
            found += used
        return list(judge_all_stamps(found))

    async def _clock_step(self) -> list[Diagnosis]:
        clock = await self._clock()
        limits = tuple(PromisedLimit(tier, "", limit) for tier, limit in USUAL_LIMITS)
        needed = True
        if self._settings is not None:
            probed, _ = await self._targets() if self._paths else ([], [])
            limits = promised_limits(self._paths, probed)
            needed = bool(limits) or self._settings.reflector is not None
        quality = clock.quality
        return list(
            judge_clock(ClockFacts(quality.source, clock.bound_ns, quality.explanation, limits, needed))
        )

    async def _buffers(self) -> list[Diagnosis]:
        reflector = None if self._settings is None else self._settings.reflector
        datagrams = sum(_SECOND_NS / path.interval for path in self._paths if path.kind != "tcp")
        under_way = sum(path.timeout / path.interval for path in self._paths if path.kind == "tcp")
        requests = 0 if reflector is None else reflector.rate.overall
        return list(judge_buffers(await apart(gather_buffers, datagrams, requests, under_way)))

    async def _lines(self) -> list[Diagnosis]:
        return list(judge_lines(await apart(gather_lines)))

    async def _ports(self, settings: AgentSettings) -> list[Diagnosis]:
        service = await self._service()
        own = Own(PROGRAM, self._config, 0 if service is None else service.pid)
        granted = service is not None and "cap_net_bind_service" in service.capabilities
        asked: list[tuple[Protocol, Endpoint]] = []
        if settings.reflector is not None:
            asked += [("udp", endpoint) for endpoint in settings.reflector.listen]
        if settings.throughput is not None:
            for endpoint in settings.throughput.listen:
                asked += [("tcp", endpoint), ("udp", endpoint)]
        if settings.listen is not None:
            asked.append(("tcp", settings.listen))
        facts: list[PortFacts] = await asyncio.gather(
            *(
                gather_port(endpoint, protocol, own, settings.listen, granted=granted)
                for protocol, endpoint in asked
            )
        )
        return list(judge_ports(facts, PROGRAM))

    async def _files(self, settings: AgentSettings) -> list[Diagnosis]:
        granting = settings.throughput
        named = {
            "credentials": settings.credentials,
            "reflector.credentials": None if settings.reflector is None else settings.reflector.credentials,
            "api.token_file": None if settings.api is None else settings.api.token_file,
            "throughput.token_file": None if granting is None else granting.token_file,
            **{
                f"throughput_paths[{index}].token_file": tested.token_file
                for index, tested in enumerate(settings.throughput_paths)
            },
        }
        complaints = await apart(_complaints, settings, self._folder)
        facts: list[SecretFacts] = await asyncio.gather(
            *(
                apart(gather_secret, key, self._folder / path, complaints.get(key, ""))
                for key, path in named.items()
                if path is not None
            )
        )
        return list(judge_secrets(facts))

    async def _names_step(self) -> list[Diagnosis]:
        return list(judge_names(await self._names()))

    async def _targets_step(self) -> list[Diagnosis]:
        probed, _ = await self._targets()
        return list(judge_targets(probed, len(self._paths)))


def _listened(settings: AgentSettings) -> list[Endpoint]:
    reflector = () if settings.reflector is None else settings.reflector.listen
    granting = () if settings.throughput is None else settings.throughput.listen
    return [endpoint for endpoint in (*reflector, *granting, settings.listen) if endpoint is not None]


def _complaints(settings: AgentSettings, folder: Path) -> dict[str, str]:
    """What is wrong with each file of secrets, by the key that names it; the first thing of each."""
    found: dict[str, str] = {}
    for location, message in settings.problems_beside(folder):
        found.setdefault(key_path(location if location[0] != "paths" else ("credentials",)), message)
    return found
