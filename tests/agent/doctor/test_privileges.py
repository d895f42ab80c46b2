"""What needs which privilege."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.doctor.privileges import PrivilegeFacts, gather_privileges, judge_privileges
from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.service import ServiceFacts

RAW, BIND = "cap_net_raw", "cap_net_bind_service"
IDS = ["privilege.net_raw", "privilege.net_bind_service"]

facts = st.builds(
    PrivilegeFacts,
    held=st.frozensets(st.sampled_from([RAW, BIND])),
    by_unit=st.booleans(),
    icmp_paths=st.integers(0, 2),
    traced_paths=st.integers(0, 2),
    lowest_port=st.none() | st.integers(1, 65_535),
    unprivileged_from=st.sampled_from([0, 80, 1024]),
    ping_groups=st.none() | st.just((0, 2_000)) | st.just((1, 0)),
    groups=st.none() | st.frozensets(st.integers(0, 3_000), min_size=1),
)


@given(facts)
def test_only_what_is_needed_and_missing_is_a_problem(given_: PrivilegeFacts) -> None:
    """And more privileges never make it worse."""
    raw, bind = judge_privileges(given_)
    assert [raw.id, bind.id] == IDS
    pings_do = given_.pings and not given_.traced_paths
    needs_raw = bool(given_.icmp_paths or given_.traced_paths)
    assert (raw.severity is Severity.PROBLEM) is (needs_raw and RAW not in given_.held and not pings_do)
    low = given_.lowest_port is not None and given_.lowest_port < given_.unprivileged_from
    assert (bind.severity is Severity.PROBLEM) is (low and BIND not in given_.held)


def test_what_the_kernel_says_is_read(tmp_path: Path) -> None:
    """Effective capabilities, the range of groups that may ping, the first unprivileged port."""
    proc = proc_with(tmp_path, 1 << 13 | 1 << 21, f"{os.getegid()} {os.getegid()}", "80")
    found = gather_privileges(None, 1, 0, 862, proc)
    assert found.held == {RAW}
    assert found.pings
    assert (found.unprivileged_from, found.by_unit) == (80, False)


def test_the_unit_is_judged_where_there_is_one(tmp_path: Path) -> None:
    """For it is the unit that measures, whoever asks."""
    proc = proc_with(tmp_path, 0, "1 0", "1024")
    service = ServiceFacts("isochrone-agent.service", "active", capabilities=frozenset({RAW, BIND}))
    found = gather_privileges(service, 1, 1, 862, proc)
    assert found.by_unit
    assert [one.severity for one in judge_privileges(found)] == [Severity.OK, Severity.OK]


@pytest.mark.parametrize("lowest", [None, 8620])
def test_a_kernel_that_tells_nothing_is_no_fault(tmp_path: Path, lowest: int | None) -> None:
    """Nothing is held then, and nothing is needed."""
    found = gather_privileges(None, 0, 0, lowest, tmp_path)
    assert [one.severity for one in judge_privileges(found)] == [Severity.OK, Severity.OK]


def proc_with(root: Path, effective: int, ping_groups: str, first_port: str) -> Path:
    """A /proc with these privileges."""
    (root / "self").mkdir()
    (root / "self/status").write_text(f"Name:\tpython\nCapEff:\t{effective:016x}\n", encoding="ascii")
    ipv4 = root / "sys/net/ipv4"
    ipv4.mkdir(parents=True)
    (ipv4 / "ping_group_range").write_text(f"{ping_groups}\n", encoding="ascii")
    (ipv4 / "ip_unprivileged_port_start").write_text(f"{first_port}\n", encoding="ascii")
    return root
