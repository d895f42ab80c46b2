"""A real PostgreSQL server of a test run's own: in a folder of its own, reached through a socket in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, text

from collector.store.database import server_engine
from tests.support.requirements import require

_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = "nobody"
_START_DEADLINE_S = 30.0
_numbers = itertools.count(1)


def _program(name: str) -> str:
    """A program of the server, which Debian keeps beside the others of its version rather than on the PATH."""
    versions = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = shutil.which(name) or (str(versions[-1]) if versions else None)
    require(found is not None, "postgresql is not installed")
    return str(found)


@contextlib.contextmanager
def server() -> Iterator[URL]:
    """A server; the address of its first database. As root, who it refuses to serve, it runs as somebody else."""
    user, group = (_UNPRIVILEGED, "nogroup") if os.geteuid() == 0 else (None, None)
    initdb, postgres = _program("initdb"), _program("postgres")
    with tempfile.TemporaryDirectory(prefix="isochrone-pg-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user, group)
        data = folder / "data"
        subprocess.run(
            [
                initdb,
                "--pgdata",
                data,
                "--username=isochrone",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            user=user,
            group=group,
        )
        options = {"listen_addresses": "", "unix_socket_directories": name, "fsync": "off"}
        command = [postgres, "-D", str(data), *(f"--{key}={value}" for key, value in options.items())]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, user=user, group=group)
        try:
            deadline = time.monotonic() + _START_DEADLINE_S
            ready = b"database system is ready to accept connections"
            while ready not in (folder / "log").read_bytes():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield URL.create("postgresql", username="isochrone", database="postgres", query={"host": name})
        finally:
            process.send_signal(signal.SIGINT)  # "fast": it does not wait for whoever is still connected
            process.wait(20)


async def new_database(server: URL) -> URL:
    """An empty database of a server."""
    name = f"test{next(_numbers)}"
    engine = server_engine(server)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return server.set(database=name)
