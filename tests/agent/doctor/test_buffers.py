"""The kernel's room against the rates."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.doctor.buffers import PROBING_OCTETS, REFLECTING_OCTETS, BufferFacts, gather_buffers, judge_buffers
from agent.net.datagram import TimestampedSocket
from agent.runtime.doctor.diagnosis import Diagnosis, Severity

DEBIAN = 212_992

facts = st.builds(
    BufferFacts,
    st.none() | st.integers(1_000, 1 << 26),
    st.none() | st.integers(1_000, 1 << 26),
    st.none() | st.integers(1_000, 1 << 26),
    st.floats(0, 100_000),
    st.integers(0, 10_000_000),
    st.floats(0, 100_000),
    st.integers(64, 1 << 20),
)


def judged(given_: BufferFacts) -> dict[tuple[str, str], Diagnosis]:
    """Diagnoses by id and subject."""
    return {(one.id, one.subject): one for one in judge_buffers(given_)}


@given(facts)
def test_no_buffer_is_a_problem_and_every_warning_has_a_remedy(given_: BufferFacts) -> None:
    """What is too small loses packets now and then; it keeps nothing from measuring."""
    for one in judge_buffers(given_):
        assert one.severity <= Severity.WARNING
        assert one.severity is not Severity.WARNING or one.remedy is not None


@given(facts, st.integers(1, 1 << 26))
def test_a_larger_limit_never_makes_it_worse(given_: BufferFacts, more: int) -> None:
    """Of what the kernel gives."""
    told = {name: getattr(given_, name) for name in BufferFacts.__slots__}
    roomier = BufferFacts(**(told | {"receive_most": (given_.receive_most or 0) + more}))
    if given_.receive_most is not None:
        for key, one in judged(roomier).items():
            if key[0] == "socket.receive_buffer":
                assert one.severity <= judged(given_)[key].severity


def test_debians_default_is_too_little_for_a_busy_host() -> None:
    """And enough for a small one; the remedy names the sysctl with what the agent asks for."""
    busy = judged(BufferFacts(DEBIAN, DEBIAN, DEBIAN, 10_000, 60_000, 0, 1024))
    for subject, asked in (("probes", PROBING_OCTETS), ("reflector", REFLECTING_OCTETS)):
        found = busy["socket.receive_buffer", subject]
        assert found.severity is Severity.WARNING
        assert found.remedy is not None
        assert f"net.core.rmem_max={asked}" in found.remedy.en
    small = judged(BufferFacts(DEBIAN, DEBIAN, DEBIAN, 100, 0, 0, 1024))
    assert small["socket.receive_buffer", "probes"].severity is Severity.OK


def test_connections_need_descriptors() -> None:
    """Half of what a process may open is for them."""
    assert (
        judged(BufferFacts(None, None, None, 0, 0, 600, 1024))["limit.open_files", ""].severity
        is Severity.WARNING
    )
    assert (
        judged(BufferFacts(None, None, None, 0, 0, 500, 1024))["limit.open_files", ""].severity is Severity.OK
    )


def test_what_the_kernel_gives_is_what_was_reckoned_with(tmp_path: Path) -> None:
    """A socket opened by this user has at least the room that the limit lets everybody have."""
    core = tmp_path / "sys/net/core"
    core.mkdir(parents=True)
    (core / "rmem_max").write_text("4096\n", encoding="ascii")
    assert gather_buffers(1, 1, 1, tmp_path).receive_most == 4096
    real = gather_buffers(100, 0, 0)
    found = judged(real)["socket.receive_buffer", "probes"]
    with contextlib.closing(TimestampedSocket(socket.AF_INET)) as opened:
        assert opened.receive_buffer_octets >= int(str(found.numbers["given_octets"]))
