"""Throughput tests between two namespaces: an agent that grants them in one, `probe throughput` in the other."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.runtime.quantities import Endpoint
from tests.bench.rig import process
from tests.support.netns import Namespace
from tests.support.throughput import written

HTTP: Final = 9461
DATA: Final = 9462
REFLECTOR: Final = 8620
_ANYWHERE: Final = "0.0.0.0"
_STARTS_S: Final = 20.0
_ENDS_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line that can be tested.

    Attributes:
        client, server: who tests, and who grants.
        folder: of the server's file and token.
        agent: process id of the server.
        wrapped: a command that the client's is put behind, such as taskset.
    """

    client: Namespace
    server: Namespace
    folder: Path
    agent: int
    wrapped: Sequence[str] = ()

    def command(self, *arguments: str) -> list[str]:
        """The command line of a test that prints a document."""
        return self.client.command(
            *(*self.wrapped, sys.executable, "-m", "agent", "probe", "throughput", self.server.ipv4),
            *("--json", "--reflector", f"{self.server.ipv4}:{REFLECTOR}"),
            *("--token-file", str(self.folder / "token"), *arguments),
        )

    def test(self, *arguments: str) -> dict[str, Any]:
        """Test it; the document.

        Raises:
            RuntimeError: there is none.
        """
        done = subprocess.run(self.command(*arguments), capture_output=True, timeout=_ENDS_S, check=False)
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise RuntimeError(f"no document: {done.stderr.decode()}") from None
        return found


@contextlib.contextmanager
def line(
    client: Namespace, server: Namespace, wrapped: Sequence[str] = (), serving: Sequence[str] = ()
) -> Iterator[Line]:
    """Start an agent that grants tests, and stop it.

    Args:
        client, server: joined namespaces.
        wrapped, serving: commands that the client's, and the server's, is put behind.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = written(
            folder, Endpoint(_ANYWHERE, HTTP), Endpoint(_ANYWHERE, DATA), Endpoint(_ANYWHERE, REFLECTOR)
        )
        command = server.command(*serving, sys.executable, "-m", "agent", "run", "--config", str(file))
        with process(command) as agent:
            end = time.monotonic() + _STARTS_S
            while not _listens(server):
                if agent.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("no agent that grants tests")
                time.sleep(0.05)
            yield Line(client, server, folder, agent.pid, wrapped)


def _listens(server: Namespace) -> bool:
    """Whether the data sockets are there: they come before the agent says that it is ready, and tests need them."""
    lines = server.run("cat", "/proc/net/tcp").splitlines()[1:]
    listening = {int(line.split()[1].partition(":")[2], 16) for line in lines if line.split()[3] == "0A"}
    return {HTTP, DATA} <= listening
