"""What a running agent serves over HTTP: its metrics, its health, its API, and throughput tests.

Importing this takes as long as importing all that probes: aiohttp brings a client too, which reads the certificates
that this host trusts. So it is imported when the first packets are on their way.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.api import Evidence, add_api
from agent.connections import Closed
from agent.exposition import AgentView, registry, render
from agent.http import HttpServer, create_app, serve
from agent.settings import AgentSettings
from agent.throughput_settings import ThroughputServerSettings

if TYPE_CHECKING:
    from agent.throughput.server import ThroughputServer
    from agent.throughput_api import ThroughputControl


class Served(AgentView, Evidence, Protocol):
    """The agent whose state is shown."""

    @property
    def not_ready(self) -> str:
        """Why it is not ready; empty where it is."""

    def give_way(self) -> None:
        """Let what is overdue be sent, in between."""

    async def reload(self) -> None:
        """Take over the settings as they are now; raises IsochroneError where that cannot be."""

    def serve_load(self, peer: str, until_ns: int) -> None:
        """A test of another agent fills the line to him until then (Unix wall time)."""


class Serving:
    """Serves one agent.

    Args:
        agent: whose state is shown.
        settings: of the agent.
        folder: of the files that they name.

    Attributes:
        throughput: grants tests; None: it does not.

    Raises:
        ConfigError: the file of a token is no good.
    """

    def __init__(self, agent: Served, settings: AgentSettings, folder: Path) -> None:
        token = settings.token(folder)
        own = registry(agent)
        self._app = create_app(
            lambda names: render(agent, own, names),
            agent.give_way,
            agent.reload,
            lambda: agent.not_ready,
            token,
        )
        add_api(self._app, agent, token)
        self.throughput: ThroughputControl | None = None
        if settings.throughput is not None:
            self.throughput = _control_of(settings.throughput, folder)
            self.throughput.serve(self._app)
            self.throughput.desk.load = agent.serve_load
        self._settings = settings
        self._http: HttpServer | None = None
        self._data: ThroughputServer | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve who connects to these sockets, and open those that tests need.

        Raises:
            ThroughputBindError: one of those is taken or is not ours.
        """
        self._http = await serve(self._app, sockets)
        if self.throughput is not None and self._settings.throughput is not None:
            from agent.throughput.server import ThroughputServer

            self._watching = asyncio.create_task(self.throughput.desk.run(), name="watch leases")
            self._data = ThroughputServer(self.throughput.desk, self._settings.throughput.listen)
            self._data.start()

    @property
    def closed(self) -> dict[str, int]:
        """Connections that were not kept, by reason."""
        if self._http is None:
            return {}
        return {why.value: self._http.connections.closed[why] for why in Closed}

    def update(self, settings: ThroughputServerSettings, token: str) -> None:
        """Grant tests by other rules, and to who has another token."""
        if self.throughput is not None:
            self.throughput.desk.update(settings.rules())
            self.throughput.update(settings.admission(), token)

    async def close(self) -> None:
        """Serve nobody any more, and end all tests."""
        if self._http is not None:
            await self._http.close()
        if self._watching is not None and self.throughput is not None:
            self._watching.cancel()
            await self.throughput.desk.close()
        if self._data is not None:
            await self._data.close()


def _control_of(settings: ThroughputServerSettings, folder: Path) -> ThroughputControl:
    # not many grant tests, and the others need none of this
    from agent.reflector.leases import LeaseDesk
    from agent.throughput_api import ThroughputControl

    ports = {version: settings.data_port(version) for version in (4, 6)}
    return ThroughputControl(
        LeaseDesk(settings.rules()),
        settings.admission(),
        settings.token(folder),
        {version: port for version, port in ports.items() if port is not None},
    )
