"""One collector per database: two would announce everything twice, and overwrite each other's runs.

The lock of an SQLite file is on a file beside it, not on the state file: a descriptor of that one, closed, takes
SQLite's own locks with it (sqlite.org/howtocorrupt.html, section 2.2), and whoever only reads is not to be kept out.
The kernel lets go when the holder ends, in whatever way. The file stays behind: were it removed, two collectors could
each lock a file of that name. On PostgreSQL it is an advisory lock of a connection that is kept for it, and ends with
that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import URL, func, select
from sqlalchemy.exc import DBAPIError

from collector.store.database import reason, server_engine
from collector.store.exceptions import StateAway, StoreError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_COLLECTING: Final = 0x49534F43
"""The number of the advisory lock: "ISOC"."""


@contextlib.contextmanager
def held_alone(file: Path) -> Iterator[None]:
    """Be the only collector of a state file, under whatever name it is reached through symbolic links.

    Raises:
        StoreError: another one has it, or there can be no file beside it; `StateAway`: for the disk is full.
    """
    name = Path(f"{os.path.realpath(file)}.lock")
    try:
        # unbuffered: what a full disk does not take is not tried again when the file is closed
        beside = name.open("a+b", buffering=0)
    except OSError as error:
        kind = StateAway if error.errno in _FULL else StoreError
        raise kind(f"{file}: cannot be locked: {name}: {error.strerror}") from error
    with beside:
        try:
            fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            beside.seek(0)
            holder = beside.read().decode("ascii", "replace").strip() or "unknown"
            raise StoreError(f"{file} is used by another collector (pid {holder})") from error
        except OSError as error:
            raise StoreError(f"{file}: cannot be locked: {name}: {error.strerror}") from error
        # who has it is told for people; a full disk is for those to complain of who need it
        with contextlib.suppress(OSError):
            beside.truncate(0)
            beside.write(f"{os.getpid()}\n".encode())
        yield


@contextlib.asynccontextmanager
async def held(where: Path | URL) -> AsyncIterator[None]:
    """Be the only collector of a database.

    Raises:
        StoreError: another one has it, or the database cannot be reached.
    """
    if isinstance(where, Path):
        with held_alone(where):
            yield
        return
    engine = server_engine(where)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        try:
            connection = await stack.enter_async_context(engine.connect())
            mine = (await connection.execute(select(func.pg_try_advisory_lock(_COLLECTING)))).scalar_one()
            # The lock is the session's and needs no transaction, which would keep the server from tidying up.
            await connection.commit()
        except (DBAPIError, OSError) as error:
            raise StoreError(f"{where!r}: {reason(error)}") from error
        if not mine:
            raise StoreError(f"{where!r} is used by another collector")
        yield
