"""A collector whose fleet file changes while it runs, as a process of its own under a service manager's eyes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from tests.support.processes import collector_command, eventually, free_port, running

FLEET = """
listen: 127.0.0.1:{port}
sites:
- {{id: wuhan, name: {{zh: 武汉, en: Wuhan}}, lat: 30.59, lon: 114.31, agent: "127.0.0.1:1"}}
- {{id: yichang, name: {{zh: 宜昌, en: Yichang}}, lat: 30.69, lon: 111.29, reflector: 127.0.0.1}}
tiers: {{province: {{name: {{zh: 省内, en: In the province}}, limit: "{limit}"}}}}
paths: [{{source: wuhan, target: yichang, tier: province}}]
objectives: [{objectives}]
"""
ONE = "{id: detection, percentile: 95, window: 1m}"
TWO = f"{ONE}, {{id: hour, percentile: 99.9, window: 1h}}"


@contextlib.contextmanager
def service_manager(folder: Path) -> Iterator[tuple[list[str], socket.socket]]:
    """What puts a command under a service manager, and the manager's end of the line."""
    address = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(address))
        line.setblocking(False)
        yield ["env", f"NOTIFY_SOCKET={address}"], line


async def test_a_changed_fleet_file_is_taken_over_in_place(tmp_path: Path) -> None:
    """SIGHUP: a bad file is named and changes nothing; a good one is judged by, in the same process, on the same port.
    The service manager is told of both, and of the end only when there is one."""
    file, log, port = tmp_path / "fleet.yaml", tmp_path / "log", free_port()
    told: list[str] = []

    def write(limit: str, objectives: str) -> None:
        file.write_text(FLEET.format(port=port, limit=limit, objectives=objectives), encoding="utf-8")

    with service_manager(tmp_path) as (manage, line):

        async def has_told(*states: str) -> None:
            async def seen() -> bool:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        told.append(line.recv(4096).decode().splitlines()[0])
                return told == list(states)

            await eventually(seen, f"it has told {states}")

        write("< 3ms", ONE)
        async with (
            aiohttp.ClientSession() as session,
            running([*manage, *collector_command("run", "--config", file)], log) as process,
        ):

            async def objectives() -> set[str]:
                async with session.get(f"http://127.0.0.1:{port}/api/v1/verdicts") as response:
                    return {one["objective"] for one in (await response.json())["verdicts"]}

            async def judged() -> bool:
                return await objectives() == {"detection", "hour"}

            await has_told("READY=1")
            write("3 apples", ONE)
            os.kill(process.pid, signal.SIGHUP)
            await has_told("READY=1", "RELOADING=1", "READY=1")
            assert "not reloaded: " in log.read_text(encoding="utf-8")
            assert "3 apples" in log.read_text(encoding="utf-8")
            assert await objectives() <= {"detection"}
            write("< 3ms", TWO)
            os.kill(process.pid, signal.SIGHUP)
            await has_told("READY=1", *["RELOADING=1", "READY=1"] * 2)
            await eventually(judged, "both objectives are judged")
            process.terminate()
            assert await process.wait() == 0
            await has_told("READY=1", *["RELOADING=1", "READY=1"] * 2, "STOPPING=1")
