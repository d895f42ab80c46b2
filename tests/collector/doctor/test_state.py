"""The disk that the state is on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL

from agent.runtime.doctor.diagnosis import Severity
from collector.doctor.state import (
    OCTETS_PER_PATH_AND_MONTH,
    StateFacts,
    gather_database,
    gather_state,
    judge_database,
    judge_state,
)

GB = 1_000_000_000
octets = st.integers(0, 100 * GB)


def judged(facts: StateFacts) -> Severity:
    """How bad it is."""
    (found,) = judge_state(facts)
    return found.severity


@given(octets, octets, octets, st.integers(0, 10_000), st.integers(1, 60))
def test_more_room_is_never_worse(used: int, one: int, other: int, paths: int, months: int) -> None:
    """Nor is less to keep."""
    less, more = sorted((one, other))
    roomy = StateFacts(Path("s"), octets=used, free_octets=more, paths=paths, months=months)
    tight = StateFacts(Path("s"), octets=used, free_octets=less, paths=paths, months=months)
    fewer = StateFacts(Path("s"), octets=used, free_octets=less, paths=paths // 2, months=months)
    assert judged(roomy) <= judged(tight)
    assert judged(fewer) <= judged(tight)


def test_growth_is_what_was_measured() -> None:
    """A thousand paths over 14 months take 10.5 GB: that fits, fills in some months, or within one."""
    for free, severity in ((12 * GB, Severity.OK), (5 * GB, Severity.WARNING), (GB // 2, Severity.PROBLEM)):
        assert judged(StateFacts(Path("s"), free_octets=free, paths=1000, months=14)) is severity
    full_grown = 1000 * 14 * OCTETS_PER_PATH_AND_MONTH + GB
    assert (
        judged(StateFacts(Path("s"), octets=full_grown, free_octets=GB, paths=1000, months=14)) is Severity.OK
    )


def test_a_folder_is_looked_at_and_not_written_to(tmp_path: Path) -> None:
    """Its file's size and the free space; what cannot be written or is not there is a problem."""
    state = tmp_path / "state.sqlite"
    state.write_bytes(b"SQLite format 3\0" + bytes(984))
    found = gather_state(state, 3, 14)
    assert (found.octets, found.writable, found.failure, found.paths) == (1000, True, "", 3)
    assert found.free_octets > 0
    assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite"]
    missing = gather_state(tmp_path / "none/state.sqlite", 3, 14)
    assert judged(missing) is Severity.PROBLEM
    assert judged(StateFacts(state, writable=False)) is Severity.PROBLEM


def test_what_is_no_state_is_told(tmp_path: Path) -> None:
    """A folder, a device, a file of something else: the collector does not start with them. An empty file is well."""
    (tmp_path / "other").write_bytes(b"PK\3\4" * 1000)
    (tmp_path / "empty").touch()
    for path, severity in (
        (tmp_path, Severity.PROBLEM),
        (Path("/dev/full"), Severity.PROBLEM),
        (tmp_path / "other", Severity.PROBLEM),
        (tmp_path / "empty", Severity.OK),
    ):
        assert judged(gather_state(path, 0, 14)) is severity


def test_the_services_own_folder_is_not_for_others(tmp_path: Path) -> None:
    """Which is as it should be."""
    assert judged(gather_state(tmp_path / "none/state.sqlite", 3, 14, of_service=True)) is Severity.NOTE


async def test_a_database_that_answers(server: URL) -> None:
    """Is well."""
    (found,) = judge_database(await gather_database(server))
    assert found.severity is Severity.OK


@pytest.mark.parametrize("port", [1])
async def test_a_database_that_is_not_there(port: int) -> None:
    """Is a problem, told without its password."""
    url = URL.create("postgresql", "u", "secret-word", "127.0.0.1", port, "state")
    (found,) = judge_database(await gather_database(url))
    assert found.severity is Severity.PROBLEM
    assert "cannot be reached" in found.found.en
    assert "secret-word" not in str(found.document())
