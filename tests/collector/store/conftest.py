"""The databases that the store is tested on: SQLite always, PostgreSQL where it is installed."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from collector.store.database import server_engine
from collector.store.store import Store
from tests.support import postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """A PostgreSQL server."""
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | URL:
    """An empty database."""
    if request.param == "sqlite":
        return tmp_path / "state.sqlite"
    url: URL = request.getfixturevalue("server")
    name = f"test{next(_numbers)}"
    engine = server_engine(url)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return url.set(database=name)


@pytest.fixture
async def store(where: Path | URL) -> AsyncIterator[Store]:
    """A new store."""
    made = await Store.open(where)
    yield made
    await made.close()
