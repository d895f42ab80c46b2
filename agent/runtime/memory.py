"""Giving back to the kernel what only the start needed, and leaving the interpreter what stays.

Most of what a program has resident after its start is machine code, and constants beside it, of libraries that it never
looks at again: importing runs through them once, and the kernel maps sixteen pages around each that is touched. Such
pages are clean copies of files: dropped, they stay in the page cache, and what is needed again is mapped again at the
cost of a minor fault. The kernel would do the same by itself, once memory is short.

    start-end perms offset device inode path     of /proc/self/smaps (proc_pid_smaps(5)), then a line for each of
    Name:   number kB                            `Rss`, `Anonymous`, …
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_SMAPS: Final = Path("/proc/self/smaps")
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)")
_UNWRITABLE: Final = ("r-xp", "r--p")
_NO_FILE: Final = "0"
_MADV_DONTNEED: Final = 4
_M_ARENA_MAX: Final = -8

_libc: Final = ctypes.CDLL(None)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.malloc_trim.argtypes = (ctypes.c_size_t,)
_libc.mallopt.argtypes = (ctypes.c_int, ctypes.c_int)


class Mapping(NamedTuple):
    """A range of addresses: from `start` on, before `end`."""

    start: int
    end: int


def unwritten(smaps: Iterable[str]) -> Iterator[Mapping]:
    """Of a process's mappings those that are nothing but a file's content, and cannot be written to.

    A private mapping that has been written to, as by the relocations of a library that are made read-only afterwards,
    holds anonymous pages: what was written would be lost.

    Args:
        smaps: lines of its `smaps`.
    """
    mapping: Mapping | None = None
    for line in smaps:
        if found := _MAPPING.match(line):
            start, end, permissions, inode = found.groups()
            of_file = inode != _NO_FILE and permissions in _UNWRITABLE
            mapping = Mapping(int(start, 16), int(end, 16)) if of_file else None
        elif mapping is not None and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield mapping


def keep_to_one_heap() -> None:
    """Let threads that are begun from now on allocate where all others do: each had its own share of free memory.

    What costs is waiting for each other; but whoever has the interpreter's lock allocates alone.
    """
    _libc.mallopt(_M_ARENA_MAX, 1)


def begin_collecting() -> None:
    """Look for garbage from now on, where a start has put that off, but never at what is there now.

    That stays, and there is so much of it that to look through it keeps probes waiting for 20 ms and more.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Let go of file pages that are not in use now, where /proc shows them, and of freed memory.

    Takes some milliseconds.
    """
    with contextlib.suppress(OSError), _SMAPS.open(encoding="utf-8", errors="replace") as smaps:
        for mapping in unwritten(smaps):
            _libc.madvise(mapping.start, mapping.end - mapping.start, _MADV_DONTNEED)
    trim()


def trim() -> None:
    """Let go of memory that is free: what was needed for a moment stays with the allocator otherwise."""
    _libc.malloc_trim(0)
