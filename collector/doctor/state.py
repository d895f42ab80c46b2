"""Where the state is: whether its file can be written, and for how long the disk holds what the ledger becomes; whether
its database answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from collector.store.database import reason, server_engine

STATE: Final = Check(
    "state.disk",
    Name(
        "磁盘满了或不能写，计数就记不下来，月报会有缺口。",
        "What cannot be written is not counted: the month's report has a gap.",
    ),
)

DATABASE: Final = Check(
    "state.database",
    Name(
        "没有数据库，采集器不能启动，也记不下计数。",
        "Without its database the collector neither starts nor counts.",
    ),
)

OCTETS_PER_PATH_AND_MONTH: Final = 750_000
"""At ten probes a second and more: measured, `make bench ARGS=ledger-disk`."""
_TIMEOUT_S: Final = 5.0
_SQLITE: Final = b"SQLite format 3\0"
"""How such a file begins. Source: SQLite, "Database File Format", section 1.3.1."""
_JOURNAL_OCTETS: Final = 64 << 20
"""Room for the write-ahead log and a migration's pages, whatever the ledger takes."""


@dataclass(frozen=True, slots=True)
class StateFacts:
    """The state's file and the disk it is on.

    Attributes:
        path: the file.
        failure: why its folder cannot be looked at; empty where it can.
        writable: whether folder and file may be written by this process.
        of_service: whether it is in the service's own state folder, which others may not enter.
        foreign: whether what is there is no SQLite file, such as a folder.
        octets: how large the file is; 0: it does not exist.
        free_octets: that this user may use.
        paths, months: how much is to be kept.
    """

    path: Path
    failure: str = ""
    writable: bool = True
    of_service: bool = False
    foreign: bool = False
    octets: int = 0
    free_octets: int = 0
    paths: int = 0
    months: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What came of asking a database for nothing.

    Attributes:
        shown: its address without its password.
        failure: why it does not answer; empty: it does.
        seconds: how long that took.
    """

    shown: str
    failure: str = ""
    seconds: float = 0.0


def judge_database(facts: DatabaseFacts) -> Iterator[Diagnosis]:
    """Whether it answers."""
    numbers: Numbers = {"seconds": facts.seconds, "failure": facts.failure or None}
    if facts.failure:
        yield DATABASE.problem(
            Name(f"不应答：{facts.failure}", f"does not answer: {facts.failure}"),
            Name(
                "看 PostgreSQL 是否在运行，地址、用户、密码、库名是否正确，pg_hba.conf 是否放行：用 psql 试同一地址。",
                "See whether PostgreSQL runs, address, user, password and database are right, and pg_hba.conf lets the "
                "collector in: try psql with the same address.",
            ),
            facts.shown,
            numbers,
        )
    else:
        took_ms = facts.seconds * 1e3
        yield DATABASE.ok(
            Name(f"应答（{took_ms:.0f} 毫秒）", f"answers ({took_ms:.0f} ms)"), facts.shown, numbers
        )


def judge_state(facts: StateFacts) -> Iterator[Diagnosis]:
    """Whether it is writable, and when it will be full."""
    subject = str(facts.path)
    needed = facts.paths * facts.months * OCTETS_PER_PATH_AND_MONTH + _JOURNAL_OCTETS
    missing = max(0, needed - facts.octets)
    per_month = facts.paths * OCTETS_PER_PATH_AND_MONTH
    numbers: Numbers = {
        "state_octets": facts.octets,
        "free_octets": facts.free_octets,
        "needed_octets": needed,
        "octets_per_month": per_month,
        "paths": facts.paths,
        "months": facts.months,
    }
    access = Name(
        "用 StateDirectory=（自带的单元有），或让运行采集器的用户拥有这个文件夹；以那个用户运行 doctor。",
        "Use StateDirectory= (the shipped unit has it), or let the collector's user own the folder; run doctor as that "
        "user.",
    )
    if facts.of_service and (facts.failure or not facts.writable):
        yield STATE.note(
            Name(
                "服务自己的状态文件夹，这个用户进不去",
                "the service's own state folder, which this user may not enter",
            ),
            Name("以 root 运行 doctor。", "Run doctor as root."),
            subject,
            numbers,
        )
        return
    if facts.failure:
        yield STATE.problem(
            Name(f"看不了：{facts.failure}", f"cannot be looked at: {facts.failure}"),
            access,
            subject,
            numbers,
        )
        return
    if not facts.writable:
        yield STATE.problem(Name("这个进程不能写", "this process may not write it"), access, subject, numbers)
        return
    if facts.foreign:
        yield STATE.problem(
            Name("那里的不是采集器的状态：不是 SQLite 文件", "what is there is no state: no SQLite file"),
            Name(
                "在 state 里写另一个文件，或从备份恢复：采集器不会动它，也不能启动。",
                "Name another file in `state`, or restore a backup: the collector leaves it alone and does not start.",
            ),
            subject,
            numbers,
        )
        return
    found = Name(
        f"已用 {_mb(facts.octets)}，空闲 {_mb(facts.free_octets)}；"
        f"{facts.paths} 条路径保留 {facts.months} 个月约需 {_mb(needed)}",
        f"{_mb(facts.octets)} used, {_mb(facts.free_octets)} free; {facts.paths} paths over {facts.months} months take "
        f"about {_mb(needed)}",
    )
    remedy = Name(
        "把状态放到更大的盘，缩短 minutes_kept_months，或改用 PostgreSQL。",
        "Move the state to a larger disk, lower minutes_kept_months, or use PostgreSQL.",
    )
    if facts.free_octets < min(missing, per_month + _JOURNAL_OCTETS):
        yield STATE.problem(
            Name(f"{found.zh}：不到一个月就满", f"{found.en}: full within a month"), remedy, subject, numbers
        )
    elif facts.free_octets < missing:
        lasts = (facts.free_octets - _JOURNAL_OCTETS) / per_month
        yield STATE.warning(
            Name(f"{found.zh}：约 {lasts:.0f} 个月后满", f"{found.en}: full in about {lasts:.0f} months"),
            remedy,
            subject,
            numbers,
        )
    else:
        yield STATE.ok(found, subject, numbers)


def _mb(octets: int) -> str:
    return f"{octets / 1e9:.1f} GB" if octets >= 1e9 else f"{octets / 1e6:.0f} MB"


def gather_state(path: Path, paths: int, months: int, *, of_service: bool = False) -> StateFacts:
    """Look at the state's file and its disk; nothing is written."""
    folder = path.parent
    try:
        free = shutil.disk_usage(folder).free
        octets = path.stat().st_size if path.exists() else 0
        foreign = path.exists() and not (path.is_file() and _begins_well(path))
    except OSError as error:
        return StateFacts(path, error.strerror or "?", of_service=of_service, paths=paths, months=months)
    # SQLite writes its journal beside the file
    writable = os.access(folder, os.W_OK | os.X_OK) and (not octets or os.access(path, os.W_OK))
    return StateFacts(path, "", writable, of_service, foreign, octets, free, paths, months)


def _begins_well(path: Path) -> bool:
    """Whether this is an SQLite file, or an empty one, of which one can be made."""
    if not os.access(path, os.R_OK):
        return True  # which is not known, and told otherwise
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) in (_SQLITE, b"")


async def gather_database(url: URL) -> DatabaseFacts:
    """Connect and ask for nothing; tables are neither read nor made."""
    shown, begun = repr(url), time.monotonic()  # which hides the password
    engine = server_engine(url)
    failure = ""
    try:
        async with asyncio.timeout(_TIMEOUT_S), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except TimeoutError:
        failure = f"no answer within {_TIMEOUT_S:g} s"
    except (DBAPIError, OSError) as error:
        failure = reason(error)
    finally:
        await engine.dispose()
    return DatabaseFacts(shown, failure, time.monotonic() - begun)
