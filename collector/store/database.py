"""The database: an SQLite file or a PostgreSQL server, opened at the version of this program.

One schema (`collector.store.schema`), one way to reach it; what differs between the two is here and nowhere else.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Table, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from collector.store.exceptions import StateAway, StateGone, StoreError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BEFORE_MIGRATIONS: Final = "0001"
"""What a file is at that says its version in the table `about`."""

_READING: Final = "isochrone_reading"
_MIGRATING: Final = 0x49534F4D
"""The number of PostgreSQL's advisory lock around the migrations: "ISOM"."""


_OURS: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What is wrong with what was asked, and not with the database."""

_PASSING: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""What ails a file, or its disk, for a while."""

_AT_ONCE: Final = 500
"""Values in one IN (…)."""

Value = TypeVar("Value")


class Database:
    """Where the state is. Use `Database.open`.

    Attributes:
        shown: what people call it: the file, or the address without its password.
    """

    def __init__(self, engine: AsyncEngine, shown: str, file: Path | None = None) -> None:
        self._engine = engine
        self.shown = shown
        self._file = file
        self._identity = None if file is None else _identity(file)
        self._sqlite = engine.dialect.name == "sqlite"
        self._reading = engine.execution_options(
            **({_READING: True} if self._sqlite else {"isolation_level": "REPEATABLE READ"})
        )

    @classmethod
    async def open(cls, where: Path | URL) -> Database:
        """Open a file or a server's database, and bring it to this program's version.

        Raises:
            StoreError: it cannot be reached, is of something else, or of a newer version of this program; `StateAway`:
                its disk is full, or it is in use for long.
        """
        if isinstance(where, URL):
            shown = repr(where)  # which hides the password
            engine = server_engine(where)
        else:
            shown = str(where)
            engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(where)))
            event.listen(engine.sync_engine, "connect", _prepare_connection)
            event.listen(engine.sync_engine, "begin", _begin)
        try:
            async with engine.begin() as connection:
                problem = await connection.run_sync(_migrate)
        except (DBAPIError, OSError) as error:
            await engine.dispose()
            kind = StateAway if _passes(error) else StoreError
            raise kind(f"{shown}: {reason(error)}") from error
        if problem:
            await engine.dispose()
            raise StoreError(f"{shown}: {problem}")
        return cls(engine, shown, None if isinstance(where, URL) else where)

    def assert_in_place(self) -> None:
        """See to it that the file is still the one that was opened: a removed one takes what is written without a word.

        Raises:
            StateGone: it is not.
        """
        if self._file is not None and _identity(self._file) != self._identity:
            raise StateGone(
                f"{self.shown}: was removed or replaced while it was in use: what is written now is lost"
            )

    async def close(self) -> None:
        """Let go of it."""
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is written whole, or not at all where an exception leaves it.

        Raises:
            StateAway: the database cannot be written.
        """
        with self._in_reach():
            async with self._engine.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state of everything, and keeps nobody from writing.

        Raises:
            StateAway: the database cannot be read.
        """
        with self._in_reach():
            async with self._reading.connect() as connection:
                yield connection

    @contextlib.contextmanager
    def _in_reach(self) -> Iterator[None]:
        try:
            yield
        except _OURS:
            raise
        except (DBAPIError, OSError) as error:
            raise StateAway(f"{self.shown}: {reason(error)}") from error

    def insert(self, table: Table) -> sqlite.Insert:
        """An INSERT that can say ON CONFLICT; both dialects spell it alike."""
        made: Any = sqlite.insert(table) if self._sqlite else postgresql.insert(table)
        statement: sqlite.Insert = made
        return statement


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file stands under this name; None: none does, or nobody can tell."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def pieces(values: Sequence[Value], at_once: int = _AT_ONCE) -> list[Sequence[Value]]:
    """As many values at once, by default as one IN (…) takes."""
    return [values[first : first + at_once] for first in range(0, len(values), at_once)]


def reason(error: DBAPIError | OSError) -> str:
    """Why a database cannot be used, in words that do not quote its password."""
    if isinstance(error, OSError):
        return f"cannot be reached: {error.strerror or type(error).__name__}"
    return f"not usable as a state: {error.orig}"


def _passes(error: DBAPIError | OSError) -> bool:
    """Whether a file may be usable again without anybody's mending it."""
    found = error.orig if isinstance(error, DBAPIError) else None
    code = found.sqlite_errorcode if isinstance(found, sqlite3.Error) else sqlite3.SQLITE_OK
    # the lower octet; those above say more of the same
    return code & 0xFF in _PASSING


def server_engine(url: URL) -> AsyncEngine:
    """An engine for a PostgreSQL server."""
    return create_async_engine(url.set(drivername="postgresql+asyncpg"))


def _migrate(connection: Connection) -> str:
    """Bring the tables to this version; what is in the way, or nothing."""
    if connection.dialect.name == "postgresql":
        # Two collectors that start at once: the second finds the work of the first done.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATING})
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    tables = set(inspect(connection).get_table_names())
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None and tables - {"alembic_version"}:
        if not {"about", "blocks"} <= tables:
            return f"not a state file of this program: it has the tables {', '.join(sorted(tables))[:200]}"
        version = connection.execute(text("SELECT version FROM about")).scalar()
        if version != 1:
            return f"state of version {version}, which this program does not know"
        command.stamp(config, _BEFORE_MIGRATIONS)
    elif found is not None and found not in {step.revision for step in script.walk_revisions()}:
        return f"state of version {found}, this program has version {script.get_current_head()}"
    command.upgrade(config, "head")
    return ""


def _prepare_connection(connection: Any, _: Any) -> None:
    """Write-ahead log, so that reading does not wait for writing; foreign keys, which SQLite leaves off."""
    # The driver must not begin transactions by itself: it would leave out reads and the making of tables.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Of a new file: blocks of a thousand octets leave a quarter of SQLite's usual small pages empty.
    cursor.execute("PRAGMA page_size=16384")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Begin as a writer: one that reads first and then finds another writer ahead of it could not go on."""
    reading = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
