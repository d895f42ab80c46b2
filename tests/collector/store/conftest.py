"""The databases that the store is tested on: SQLite always, PostgreSQL where it is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from collector.store.store import Store
from tests.support.postgres import new_database


@pytest.fixture(params=["sqlite", "postgresql"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | URL:
    """An empty database."""
    if request.param == "sqlite":
        return tmp_path / "state.sqlite"
    server: URL = request.getfixturevalue("server")
    return await new_database(server)


@pytest.fixture
async def store(where: Path | URL) -> AsyncIterator[Store]:
    """A new store."""
    made = await Store.open(where)
    yield made
    await made.close()
