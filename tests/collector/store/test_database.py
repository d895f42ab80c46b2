"""Opening a database: at this version whatever it was before, and refused where it is of something else."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import IntegrityError

from collector.alerts.outbox import Notification
from collector.sla.breach import BreachKey, Watch
from collector.store import schema
from collector.store.database import Database, server_engine
from collector.store.exceptions import StateAway, StateGone, StoreError
from collector.store.lock import held
from collector.store.store import Store
from tests.support.counting import PATH, reading
from tests.support.ledgers import totals
from tests.support.verdicts import HUB_PATH, NOW_NS, breach

FIRST_VERSION = """
CREATE TABLE about (version INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE paths (id INTEGER NOT NULL PRIMARY KEY, source VARCHAR NOT NULL, target VARCHAR NOT NULL,
  tier VARCHAR NOT NULL, provider VARCHAR NOT NULL, kind VARCHAR NOT NULL, dscp INTEGER NOT NULL,
  UNIQUE (source, target, tier, provider, kind, dscp));
CREATE TABLE readings (path INTEGER NOT NULL PRIMARY KEY REFERENCES paths (id), epoch FLOAT NOT NULL,
  taken_ns BIGINT NOT NULL, sent BIGINT NOT NULL, in_flight BIGINT NOT NULL, directions TEXT NOT NULL);
CREATE TABLE blocks (id INTEGER NOT NULL PRIMARY KEY, path INTEGER NOT NULL REFERENCES paths (id),
  start_ns BIGINT NOT NULL, end_ns BIGINT NOT NULL, sent BIGINT NOT NULL, directions TEXT NOT NULL,
  limits TEXT NOT NULL, UNIQUE (path, end_ns));
CREATE INDEX blocks_by_end ON blocks (end_ns);
CREATE TABLE breaches (id VARCHAR NOT NULL PRIMARY KEY, opened_ns BIGINT NOT NULL, closed_ns BIGINT,
  document TEXT NOT NULL);
CREATE INDEX breaches_by_opening ON breaches (opened_ns);
CREATE TABLE runs (path INTEGER NOT NULL REFERENCES paths (id), direction VARCHAR NOT NULL,
  objective VARCHAR NOT NULL, length INTEGER NOT NULL, PRIMARY KEY (path, direction, objective));
CREATE TABLE outbox (id INTEGER NOT NULL PRIMARY KEY, key VARCHAR NOT NULL UNIQUE, channel VARCHAR NOT NULL,
  payload TEXT NOT NULL, created_ns BIGINT NOT NULL, next_attempt_ns BIGINT NOT NULL, attempts INTEGER NOT NULL,
  delivered_ns BIGINT, abandoned INTEGER NOT NULL, last_error VARCHAR NOT NULL);
CREATE INDEX outbox_by_channel ON outbox (channel);
INSERT INTO about VALUES (1);
"""
"""What the version before the ledger made."""


async def test_the_migrations_lead_to_the_schema(where: Path | URL) -> None:
    """Table by table, column by column, on both kinds of database."""

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [*compare_metadata(context, schema.metadata)]

    database = await Database.open(where)
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_a_state_of_the_first_version_keeps_its_breaches_and_what_is_to_be_told(tmp_path: Path) -> None:
    """And counts all that running agents have counted, once, with the first reading."""
    file = tmp_path / "state.sqlite"
    opened = breach()
    with closing(sqlite3.connect(file)) as old:
        old.executescript(FIRST_VERSION)
        old.execute("INSERT INTO paths VALUES (7, 'wuhan', 'qingyang', 'hub', 'telecom', 'stamp', 0)")
        old.execute("INSERT INTO runs VALUES (7, 'forward', 'detection', 2)")
        old.execute("INSERT INTO blocks VALUES (1, 7, 0, 1, 90, '{}', '{}')")
        old.commit()
    store = await Store.open(file)
    key = BreachKey(HUB_PATH, opened.key.direction, "detection")
    assert (await store.recall(0)).watches == {key: Watch(None, 2)}
    await store.record([opened], {}, [Notification("a/b/opened", "a", "{}", NOW_NS)])
    assert [row.notification.key for row in await store.pending("a")] == ["a/b/opened"]
    await store.ledger.ingest([reading(120, within=100)])
    assert store.numbers.paths[PATH] == 7
    assert (await totals(store))[PATH][0] == 100
    await store.close()


async def test_a_database_of_another_program_is_left_as_it_is(where: Path | URL) -> None:
    """The operator has mistyped its name."""
    database = await Database.open(where)
    async with database.writing() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            await connection.execute(text(f"DROP TABLE {table.name}"))
        await connection.execute(text("DROP TABLE alembic_version"))
        await connection.execute(text("CREATE TABLE bookmarks (url TEXT)"))
    await database.close()
    with pytest.raises(StoreError, match="not a state file of this program: it has the tables bookmarks"):
        await Database.open(where)


async def test_a_database_of_a_newer_version_is_refused(where: Path | URL) -> None:
    """Nothing in it is understood well enough to be changed."""
    database = await Database.open(where)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(StoreError, match="state of version 9999, this program has version 0005"):
        await Database.open(where)


async def test_a_database_has_one_collector_at_a_time(where: Path | URL) -> None:
    """The second is refused until the first has ended."""
    async with held(where):
        with pytest.raises(StoreError, match="is used by another collector"):
            async with held(where):
                pass
    async with held(where):
        pass


async def test_a_file_that_is_removed_or_replaced_while_it_is_used_is_noticed(tmp_path: Path) -> None:
    """What is written to it then is lost with the end of the process, and SQLite says nothing of it."""
    file, kept = tmp_path / "state.sqlite", tmp_path / "kept.sqlite"
    database = await Database.open(file)
    database.assert_in_place()
    file.rename(kept)
    with pytest.raises(StateGone, match=r"state\.sqlite: was removed or replaced while it was in use"):
        database.assert_in_place()
    shutil.copy(kept, file)
    with pytest.raises(StateGone):
        database.assert_in_place()
    file.unlink()
    kept.rename(file)
    database.assert_in_place()
    await database.close()


async def test_a_disk_that_is_full_is_told_as_such(tmp_path: Path) -> None:
    """In one line; what was asked wrongly is no fault of the disk's."""
    database = await Database.open(tmp_path / "state.sqlite")

    async def written(*asked: str) -> None:
        async with database.writing() as connection:
            for one in asked:
                await connection.execute(text(one))

    with pytest.raises(StateAway, match=r"state\.sqlite: .*database or disk is full"):
        await written("PRAGMA max_page_count=1", "CREATE TABLE another (name TEXT)")
    with pytest.raises(IntegrityError):
        await written("INSERT INTO agents (site) VALUES ('a')", "INSERT INTO agents (site) VALUES ('a')")
    await database.close()


async def test_what_is_said_of_a_server_does_not_show_its_password(server: URL) -> None:
    """Whether it is not there, or does not let us in, or there is no such database."""
    secret = "correct-horse"
    nowhere = server.set(password=secret, query={"host": "/nowhere"})
    unknown = server.set(password=secret, database="unknown")
    for url in (nowhere, unknown):
        with pytest.raises(StoreError) as told:
            await Database.open(url)
        assert secret not in str(told.value)
        with pytest.raises(StoreError) as told:
            async with held(url):
                pass
        assert secret not in str(told.value)
        assert "***" in str(told.value)


async def test_readers_see_one_state_and_keep_nobody_waiting(where: Path | URL) -> None:
    """What is written meanwhile is not seen, and is written."""
    store = await Store.open(where)
    await store.ledger.ingest([reading(110, within=10)])
    database = await Database.open(where)
    query = text("SELECT count(*) FROM journal")
    async with database.reading() as connection:
        before = (await connection.execute(query)).scalar_one()
        await store.ledger.ingest([reading(120, within=20)])
        assert (await connection.execute(query)).scalar_one() == before == 1
    await database.close()
    await store.close()


def test_the_migrations_are_found_without_a_checkout(tmp_path: Path) -> None:
    """A database can be made from what is installed, without a checkout."""
    source = Path(schema.__file__).parents[2]
    installed = tmp_path / "site"
    for package in ("agent", "collector"):
        shutil.copytree(source / package, installed / package, ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import asyncio, pathlib; from collector.store.database import Database\n"
        "async def main(): await (await Database.open(pathlib.Path('state.sqlite'))).close()\n"
        "asyncio.run(main())"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        check=True,
    )
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as made:
        assert made.execute("SELECT version_num FROM alembic_version").fetchone() == ("0005",)


async def test_the_lock_of_a_server_ends_with_its_holder(server: URL) -> None:
    """A collector that is killed leaves no lock behind: its connection is what holds it."""
    async with held(server):
        engine = server_engine(server)
        async with engine.begin() as connection:
            await connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            )
        async with held(server):
            pass
        await engine.dispose()
