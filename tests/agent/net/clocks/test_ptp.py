"""ptp4l's account of the clock: told, broken and real."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.card_time import Comparison
from agent.net.clock import ClockQuality
from agent.net.clocks.pmc import PtpStatus
from agent.net.clocks.ptp import PtpClock
from tests.support.netns import Namespace, joined_namespaces
from tests.support.processes import eventually, running
from tests.support.ptp import FOLLOWING
from tests.support.requirements import require_binary

SECOND = 1_000_000_000
GOOD = replace(PtpStatus.parse(FOLLOWING), port_state="SLAVE")


class Time:
    """A monotonic clock that stands still until it is told to go on."""

    now_ns = 1000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


def clock(compared: Comparison | None = None, time: Time | None = None) -> PtpClock:
    """One whose card's clock is so, or cannot be read."""

    def compare(interface: str) -> Comparison:
        assert interface == "v2"
        if compared is None:
            raise PermissionError(13, "Permission denied")
        return compared

    return PtpClock(compare=compare, monotonic_ns=time or Time())


def bound_ns(told: PtpClock, status: PtpStatus) -> int | None:
    """What is vouched for after that."""
    told.learn(status)
    return told.quality().error_bound_ns


def test_the_bound_is_offset_path_delay_and_the_grandmasters_accuracy() -> None:
    """510 ns + 2612 ns + 100 ns, and 15 ppm until it is asked again."""
    told = clock()
    told.learn(GOOD)
    assert told.quality() == ClockQuality("ptp", 3222, drift_ppb=15_000)


def test_each_step_to_the_grandmaster_counts_as_much_as_the_last() -> None:
    """Three links away: three times offset and path delay, once the accuracy."""
    assert bound_ns(clock(), replace(GOOD, steps_removed=3)) == 3 * 3122 + 100


def test_the_largest_of_the_recent_offsets_counts() -> None:
    """For 16 answers; a step of the clock makes them void."""
    told = clock()
    assert bound_ns(told, replace(GOOD, offset_ns=9000)) == 9000 + 2712
    for _ in range(15):
        assert bound_ns(told, replace(GOOD, offset_ns=-8)) == 9000 + 2712
    assert bound_ns(told, replace(GOOD, offset_ns=7)) == 8 + 2712
    told.stepped()
    assert "stepped" in told.quality().explanation
    assert bound_ns(told, replace(GOOD, offset_ns=0)) == 2712


def test_an_unlocked_servo_may_drift_as_an_undisciplined_clock() -> None:
    """UNCALIBRATED: the offset is measured, the frequency is anything that the kernel can correct."""
    told = clock()
    told.learn(replace(GOOD, port_state="UNCALIBRATED"))
    assert told.quality() == ClockQuality("ptp", 3222, drift_ppb=500_000)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"grandmaster_present": False}, "follows no grandmaster"),
        ({"port_state": "LISTENING"}, "follows no grandmaster (port LISTENING)"),
        ({"traceable": False}, "not traceable"),
        ({"accuracy_ns": None}, "how accurate"),
        ({"timescale_offset_s": None}, "from UTC"),
        ({"offset_ns": 37 * SECOND}, "off by 37 s"),
    ],
)
def test_what_vouches_for_nothing_says_why(change: dict[str, object], why: str) -> None:
    """And the offsets of better days are forgotten."""
    told = clock()
    assert bound_ns(told, GOOD) is not None
    assert bound_ns(told, replace(GOOD, **change)) is None  # type: ignore[arg-type]
    assert why in told.quality().explanation
    assert told.quality().source == "ptp"


def test_silence_of_the_master_is_noticed() -> None:
    """No new Sync for more than 8 s: what was measured then is worth nothing now."""
    time = Time()
    told = clock(time=time)
    assert bound_ns(told, GOOD) is not None
    time.now_ns += 8 * SECOND
    assert bound_ns(told, GOOD) is not None
    time.now_ns += SECOND
    assert bound_ns(told, GOOD) is None
    assert told.quality().explanation == "no Sync for 9 s"
    assert bound_ns(told, replace(GOOD, ingress_ns=GOOD.ingress_ns + 1)) is not None


@pytest.mark.parametrize(
    ("offset_ns", "timescale_s", "expected_ns"),
    [(-37 * SECOND + 700, 37, 700), (-37 * SECOND - 700, 37, 700), (700, 0, 700)],
)
def test_with_hardware_stamps_the_system_clock_is_compared_with_the_cards(
    offset_ns: int, timescale_s: int, expected_ns: int
) -> None:
    """ptp4l holds the card's clock, in TAI; how far the system clock is from it is measured and added."""
    status = replace(GOOD, timestamping="HARDWARE", timescale_offset_s=timescale_s)
    assert bound_ns(clock(Comparison(offset_ns, 300, 0)), status) == 3222 + expected_ns + 300


def test_with_hardware_stamps_a_card_that_cannot_be_read_vouches_for_nothing() -> None:
    """That ptp4l holds the card's clock says nothing of the system clock."""
    told = clock()
    assert bound_ns(told, replace(GOOD, timestamping="HARDWARE")) is None
    assert "cannot compare" in told.quality().explanation
    assert "Permission denied" in told.quality().explanation


async def asked(told: PtpClock) -> ClockQuality:
    """The quality after asking."""
    await told.ask()
    return told.quality()


@pytest.fixture
def listening(tmp_path: Path) -> Path:
    """Where a ptp4l that never answers takes messages."""
    path = tmp_path / "ptp4l"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(path))
    return path


def fake_pmc(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A pmc that does this."""
    program = folder / "pmc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_without_ptp4l_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ptp4l takes no messages, pmc is not run."""
    fake_pmc(tmp_path, monkeypatch, f"touch {tmp_path}/ran")
    quality = await asked(PtpClock(servers=[tmp_path / "none"], folder=tmp_path))
    assert quality.explanation == "cannot ask ptp4l: it does not run"
    assert not (tmp_path / "ran").exists()


async def test_pmc_is_asked_for_the_domain_over_the_given_sockets(
    listening: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first server that exists, our own socket, and the domain; what it prints becomes the quality."""
    (tmp_path / "answer").write_text(FOLLOWING)
    fake_pmc(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/asked; cat {tmp_path}/answer')
    told = PtpClock(24, servers=[tmp_path / "none", listening], folder=tmp_path)
    assert told.quality().explanation == "not asked yet"
    assert (await asked(told)).error_bound_ns == 3222
    words = (tmp_path / "asked").read_text()
    assert f"-u -b 0 -d 24 -s {listening} -i {tmp_path}/isochrone-pmc-" in words
    assert "GET TIME_STATUS_NP GET CURRENT_DATA_SET" in words


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 60", "ptp4l does not answer"),
        ("exit 1", "not understood: no answer"),
        ("printf '\\377\\376\\n'", "not understood: no answer"),
        ("echo RESPONSE MANAGEMENT TIME_STATUS_NP", "not understood: no CURRENT_DATA_SET"),
        ("kill -9 $$", "not understood: no answer"),
    ],
)
async def test_a_pmc_that_fails_vouches_for_nothing(
    script: str, why: str, listening: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs, it fails, it prints rubbish: a reason each time, and no process is left."""
    fake_pmc(tmp_path, monkeypatch, script)
    quality = await asked(PtpClock(servers=[listening], folder=tmp_path))
    assert quality.error_bound_ns is None
    assert why in quality.explanation


async def test_a_server_that_is_not_ours_is_named(
    listening: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before linuxptp 4 only root may write to it; pmc would be silent about that."""
    fake_pmc(tmp_path, monkeypatch, f"touch {tmp_path}/ran")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != listening)
    quality = await asked(PtpClock(servers=[tmp_path / "none", listening], folder=tmp_path))
    assert quality.explanation == f"cannot ask ptp4l: {listening} is not ours to write to"
    assert not (tmp_path / "ran").exists()


async def test_a_missing_pmc_is_named(
    listening: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is not installed."""
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    quality = await asked(PtpClock(servers=[listening], folder=tmp_path))
    assert quality.explanation == "cannot ask ptp4l: pmc is not installed"


def test_our_socket_is_where_systemd_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service with RuntimeDirectory= may have a /tmp that ptp4l cannot see."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/run/other")
    assert PtpClock()._local.parent == tmp_path


@contextlib.asynccontextmanager
async def ptp4l(end: Namespace, folder: Path, *settings: str) -> AsyncIterator[Path]:
    """A real ptp4l with software timestamps that never touches the clock; where it takes messages."""
    server, file = folder / f"{end.name}.uds", folder / f"{end.name}.conf"
    lines = [
        "[global]",
        "free_running 1",
        f"uds_address {server}",
        "logAnnounceInterval -2",
        "logSyncInterval -3",
        "logMinDelayReqInterval -3",
        *settings,
    ]
    await asyncio.to_thread(file.write_text, "\n".join([*lines, ""]))
    command = end.command(require_binary("ptp4l"), "-S", "-4", "-m", "-f", str(file), "-i", end.interface)
    async with running(command, folder / f"{end.name}.log"):
        yield server


async def make_traceable(master: Path, folder: Path) -> None:
    """Make a grandmaster claim what one with a GNSS receiver would, in the timescale of the system clock."""
    claims = (
        "SET GRANDMASTER_SETTINGS_NP clockClass 6 clockAccuracy 0x21 offsetScaledLogVariance 0x4e5d "
        "currentUtcOffset 37 leap61 0 leap59 0 currentUtcOffsetValid 1 ptpTimescale 0 timeTraceable 1 "
        "frequencyTraceable 1 timeSource 0x20"
    )
    pmc = await asyncio.create_subprocess_exec(
        require_binary("pmc"), "-u", "-b", "0", "-s", master, "-i", folder / "setting", claims
    )
    assert await pmc.wait() == 0


async def test_a_real_ptp4l_vouches_for_what_it_follows(tmp_path: Path) -> None:
    """Two ptp4l on a virtual link: the one that follows knows its clock to below 10 ms, the other not at all."""
    require_binary("ptp4l")
    require_binary("pmc")
    with joined_namespaces() as (left, right):
        async with (
            ptp4l(left, tmp_path, "priority1 10") as master,
            ptp4l(right, tmp_path, "slaveOnly 1") as slave,
        ):
            leading = PtpClock(servers=[master], folder=tmp_path)
            following = PtpClock(servers=[slave], folder=tmp_path)

            async def leads() -> bool:
                return "(port MASTER)" in (await asked(leading)).explanation

            async def follows() -> bool:
                return "not traceable" in (await asked(following)).explanation

            async def vouches() -> bool:
                return (await asked(following)).synchronized

            await eventually(leads, "a grandmaster")
            await eventually(follows, "a slave of one that is not traceable")
            await make_traceable(master, tmp_path)
            await eventually(vouches, "a slave that vouches")
            quality = following.quality()
            assert quality.source == "ptp"
            assert 100 <= (quality.error_bound_ns or 0) < 10_000_000
            assert quality.drift_ppb == 500_000
        assert not (await asked(following)).synchronized
