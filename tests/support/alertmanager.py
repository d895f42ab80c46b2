"""A real Alertmanager on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.processes import free_port, running, serving
from tests.support.requirements import require_binary


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, config: str) -> AsyncIterator[str]:
    """Debian's Alertmanager with this configuration, alone; its address."""
    binary = require_binary("prometheus-alertmanager")
    file = folder / "alertmanager.yml"
    file.write_text(config, encoding="utf-8")
    port = free_port()
    command = [
        binary,
        f"--config.file={file}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    url = f"http://127.0.0.1:{port}"
    async with running(command, folder / "alertmanager.log"):
        await serving(f"{url}/-/ready", "Alertmanager")
        yield url
