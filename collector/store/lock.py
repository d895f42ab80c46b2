"""One collector per state file: two would announce everything twice, and overwrite each other's runs.

The lock is on a file beside the state file, not on the state file: a descriptor of that one, closed, takes SQLite's own
locks with it (sqlite.org/howtocorrupt.html, section 2.2), and whoever only reads is not to be kept out. The kernel lets
go when the holder ends, in whatever way. The file stays behind: were it removed, two collectors could each lock a file
of that name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from collector.store.exceptions import StoreError


@contextlib.contextmanager
def held_alone(file: Path) -> Iterator[None]:
    """Be the only collector of a state file, under whatever name it is reached through symbolic links.

    Raises:
        StoreError: another one has it, or the file beside it cannot be written.
    """
    name = Path(f"{os.path.realpath(file)}.lock")
    try:
        beside = name.open("a+", encoding="ascii")
    except OSError as error:
        raise StoreError(f"{file}: cannot be locked: {name}: {error.strerror}") from error
    with beside:
        try:
            fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
            beside.truncate(0)
            beside.write(f"{os.getpid()}\n")
            beside.flush()
        except BlockingIOError as error:
            beside.seek(0)
            holder = beside.read().strip() or "unknown"
            raise StoreError(f"{file} is used by another collector (pid {holder})") from error
        except OSError as error:
            raise StoreError(f"{file}: cannot be locked: {name}: {error.strerror}") from error
        yield
