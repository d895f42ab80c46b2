"""All that the collector's doctor looks at, together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from agent.runtime.apart import apart
from agent.runtime.doctor.bounded import TOTAL_S, Shared, Step, examine
from agent.runtime.doctor.diagnosis import Diagnosis
from agent.runtime.doctor.files import SecretFacts, gather_secret, judge_secrets
from agent.runtime.doctor.host import gather_host, judge_host
from agent.runtime.doctor.ports import Own, gather_port, judge_ports
from agent.runtime.doctor.reach import NameAnswer, judge_names, look_up
from agent.runtime.doctor.service import ServiceFacts, gather_service, judge_service
from agent.runtime.exceptions import ConfigError
from agent.runtime.quantities import Endpoint
from agent.runtime.wording import key_path
from collector.alerts.targets import UnusableFile, webhook_target
from collector.doctor.agents import gather_agents, judge_agents
from collector.doctor.clock import gather_difference, judge_difference
from collector.doctor.servers import Server, gather_servers, judge_servers
from collector.doctor.state import gather_database, gather_state, judge_database, judge_state
from collector.fleet.plan import Plan, compile_plan
from collector.fleet.settings import FleetSettings
from collector.fleet.source import PrometheusSourceSettings
from collector.sources.query_api import Access
from collector.store.location import UnusableAddress, location

PROGRAM: Final = "isochrone-collector"
_UNIT: Final = f"{PROGRAM}.service"
_STATE_FOLDER: Final = Path("/var/lib", PROGRAM)
"""The unit's StateDirectory."""


class CollectorExamination:
    """One examination; `run` makes it.

    Args:
        fleet: the fleet file; None: nothing is known of it.
        config: where it is; the files that it names are relative to its folder.
    """

    def __init__(self, fleet: FleetSettings | None, config: Path | None = None) -> None:
        self._fleet = fleet
        self._config = config
        self._folder = Path() if config is None else config.parent
        self._shared = Shared()

    async def run(self, total_s: float = TOTAL_S) -> list[Diagnosis]:
        """Look at everything at once, for no longer than this."""
        steps: dict[str, Step] = {"host": self._host(), "service": self._service_step()}
        if self._fleet is not None:
            fleet, plan = self._fleet, compile_plan(self._fleet)
            steps |= {
                "state": self._state(fleet, plan),
                "ports": self._ports(fleet),
                "files": self._files(fleet),
                "names": self._names_step(fleet),
                "agents": self._agents(fleet, plan),
                "servers": self._servers_step(fleet),
                "clock": self._clock(fleet),
            }
        try:
            return await examine(steps, total_s)
        finally:
            await self._shared.close()

    # What several steps need

    async def _service(self) -> ServiceFacts | None:
        return await self._shared.once("service", lambda: gather_service(_UNIT))

    async def _where(self, fleet: FleetSettings) -> Path | URL | None:
        async def found() -> Path | URL | None:
            return await apart(_located, fleet, self._folder, await self._service_folder())

        return await self._shared.once("where", found)

    async def _service_folder(self) -> Path | None:
        """Where the unit keeps its state, where this process is not of the unit; None: as the file says."""
        managed = await self._service() is not None and "STATE_DIRECTORY" not in os.environ
        return _STATE_FOLDER if managed else None

    async def _servers(self, fleet: FleetSettings) -> list[Server]:
        async def named() -> list[Server]:
            return await apart(_servers_of, fleet, self._folder)

        return await self._shared.once("servers", named)

    async def _names(self, fleet: FleetSettings) -> dict[str, NameAnswer]:
        async def looked_up() -> dict[str, NameAnswer]:
            agents = [site.agent.host for site in fleet.sites if site.agent is not None]
            return await look_up([*agents, *(server.host for server in await self._servers(fleet))])

        return await self._shared.once("names", looked_up)

    # The steps

    async def _host(self) -> list[Diagnosis]:
        return list(judge_host(await apart(gather_host)))

    async def _service_step(self) -> list[Diagnosis]:
        return list(judge_service(await self._service()))

    async def _state(self, fleet: FleetSettings, plan: Plan) -> list[Diagnosis]:
        where = await self._where(fleet)
        if where is None:
            return []  # the file that should tell it is told of among the files
        if isinstance(where, URL):
            return list(judge_database(await gather_database(where)))
        of_service = await self._service_folder() is not None
        paths, months = len(plan.paths), fleet.minutes_kept_months
        facts = await apart(lambda: gather_state(where, paths, months, of_service=of_service))
        return list(judge_state(facts))

    async def _ports(self, fleet: FleetSettings) -> list[Diagnosis]:
        service = await self._service()
        main_pid = 0 if service is None else service.pid
        own = Own(PROGRAM, self._config, main_pid)
        facts = await gather_port(fleet.listen, "tcp", own, fleet.listen)
        return list(judge_ports([facts], PROGRAM))

    async def _files(self, fleet: FleetSettings) -> list[Diagnosis]:
        named: dict[str, Path | None] = {
            "state_url_file": fleet.state_url_file,
            "api.token_file": None if fleet.api is None else fleet.api.token_file,
        }
        if isinstance(fleet.source, PrometheusSourceSettings):
            named["source.bearer_token_file"] = fleet.source.bearer_token_file
        for index, webhook in enumerate(fleet.alerts.webhooks):
            named[f"alerts.webhooks[{index}].url_file"] = webhook.url_file
            named[f"alerts.webhooks[{index}].secret_file"] = webhook.secret_file
        complaints = await apart(_complaints, fleet, self._folder)
        facts: list[SecretFacts] = await asyncio.gather(
            *(
                apart(gather_secret, key, self._folder / path, complaints.get(key, ""))
                for key, path in named.items()
                if path is not None
            )
        )
        return list(judge_secrets(facts))

    async def _names_step(self, fleet: FleetSettings) -> list[Diagnosis]:
        return list(judge_names(await self._names(fleet)))

    async def _agents(self, fleet: FleetSettings, plan: Plan) -> list[Diagnosis]:
        try:
            access = await apart(fleet.access, self._folder)
        except ConfigError:
            access = Access()  # what is wrong with the token is said of the secrets
        facts = await gather_agents(fleet, plan, await self._names(fleet), access)
        return list(judge_agents(facts, fleet.source.kind))

    async def _servers_step(self, fleet: FleetSettings) -> list[Diagnosis]:
        servers, names = await asyncio.gather(self._servers(fleet), self._names(fleet))
        return list(judge_servers(await gather_servers(servers, names)))

    async def _clock(self, fleet: FleetSettings) -> list[Diagnosis]:
        facts = await gather_difference(_compared(fleet), await self._names(fleet))
        return list(judge_difference(facts))


def _located(fleet: FleetSettings, folder: Path, service_folder: Path | None) -> Path | URL | None:
    """Where the state is; None where the file that tells it is no good."""
    state_folder = service_folder or Path(os.environ.get("STATE_DIRECTORY", folder))
    try:
        return location(fleet.state, fleet.state_url_file, folder, state_folder)
    except UnusableAddress:
        return None


def _servers_of(fleet: FleetSettings, folder: Path) -> list[Server]:
    found: list[Server] = []
    if isinstance(fleet.source, PrometheusSourceSettings):
        found.append(Server.of_url("prometheus", "", fleet.source.url))
    found += [Server.of_url("alertmanager", "", url) for url in fleet.alerts.alertmanagers]
    for webhook in fleet.alerts.webhooks:
        try:
            found.append(Server.of_url("webhook", webhook.name, webhook_target(webhook, folder).url))
        except UnusableFile:
            continue  # which is told of among the files
    return found


def _compared(fleet: FleetSettings) -> Sequence[str]:
    """What is asked for the time: health checks, which cost nobody anything."""
    bases = [fleet.source.url] if isinstance(fleet.source, PrometheusSourceSettings) else []
    bases += fleet.alerts.alertmanagers
    agents = [] if bases else [_http(site.agent) for site in fleet.sites if site.agent is not None]
    return [f"{base.rstrip('/')}/-/healthy" for base in (*bases, *agents)]


def _http(endpoint: Endpoint) -> str:
    return f"http://{endpoint}"


def _complaints(fleet: FleetSettings, folder: Path) -> dict[str, str]:
    """What is wrong with each file of secrets, by the key that names it; the first thing of each."""
    found: dict[str, str] = {}
    for at, message in fleet.problems_beside(folder):
        found.setdefault(key_path(at), message)
    return found
