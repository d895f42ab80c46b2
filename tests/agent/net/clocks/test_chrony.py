"""chronyd's account of the clock: recorded, broken and real."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.net.clock import ClockQuality
from agent.net.clocks.candm import LOCAL_REFERENCE, Tracking
from agent.net.clocks.chrony import ChronyClock, judge
from tests.support.processes import eventually, free_port, running
from tests.support.requirements import require_binary

SECOND = 1_000_000_000
UPDATED = 1_800_000_000 * SECOND

GOOD = Tracking(
    reference_id=0x0A00_0001,
    stratum=3,
    leap=0,
    updated_ns=UPDATED,
    correction=Fraction("-0.000010"),
    residual_ppm=Fraction("-0.5"),
    skew_ppm=Fraction("0.25"),
    root_delay=Fraction("0.0002000001"),
    root_dispersion=Fraction("0.000030"),
    update_interval=Fraction(64),
)

Answer = Callable[[bytes], bytes | None]


@contextlib.asynccontextmanager
async def impostor(answer: Answer) -> AsyncIterator[int]:
    """Somebody who answers on chronyd's behalf; the port."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(("127.0.0.1", 0))

        def respond() -> None:
            request, asker = listening.recvfrom(2048)
            answered = answer(request)
            if answered is not None:
                listening.sendto(answered, asker)

        loop.add_reader(listening, respond)
        try:
            yield listening.getsockname()[1]
        finally:
            loop.remove_reader(listening)


def coefficient(value: float) -> int:
    """A float of chrony with the exponent 0."""
    return round(value * (1 << 25)) % (1 << 25)


def report(request: bytes, *, updated_ns: int = UPDATED, leap: int = 0) -> bytes:
    """A TRACKING reply with a correction of 1/1024 s and a dispersion of 1/512 s."""
    head = struct.pack(">BBHHHHHHH", 6, 2, 0, 33, 5, 0, 0, 0, 0) + request[8:12] + bytes(8)
    seconds, nanos = divmod(updated_ns, SECOND)
    body = struct.pack(">I16sHHHHIII", 0x0A00_0001, b"", 1, 0, 3, leap, 0, seconds, nanos)
    floats = [coefficient(1 / 1024), 0, 0, 0, 0, 0, 0, coefficient(1 / 512), 0]
    return head + body + struct.pack(">9I", *floats)


def test_the_bound_is_offset_dispersion_and_half_the_delay_rounded_up() -> None:
    """10 µs + 30 µs + 100.00005 µs is 140,001 ns."""
    assert judge(GOOD, UPDATED + SECOND).error_bound_ns == 140_001


@pytest.mark.parametrize(
    ("skew", "residual", "drift_ppb"),
    [("0.25", "-0.5", 15_000), ("20", "-3.0001", 24_001), ("0", "0", 15_000)],
)
def test_until_the_next_answer_the_bound_grows_as_chronys_own_would(
    skew: str, residual: str, drift_ppb: int
) -> None:
    """By skew, residual frequency and 1 ppm, but no less than 15 ppm."""
    quality = judge(replace(GOOD, skew_ppm=Fraction(skew), residual_ppm=Fraction(residual)), UPDATED)
    assert quality.drift_ppb == drift_ppb


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"leap": 3}, "not synchronised"),
        ({"leap": 9}, "not synchronised"),
        ({"stratum": 0}, "not synchronised"),
        ({"reference_id": LOCAL_REFERENCE}, "only its own clock"),
        ({"root_delay": Fraction(-1)}, "not understood"),
        ({"root_dispersion": Fraction(-1, 10**9)}, "not understood"),
        ({"root_dispersion": Fraction(16)}, "off by 16 s"),
    ],
)
def test_what_vouches_for_nothing_says_why(change: dict[str, int | Fraction], why: str) -> None:
    """Not synchronised, its own reference, nonsense, or a bound that is none."""
    quality = judge(replace(GOOD, **change), UPDATED)  # type: ignore[arg-type]
    assert (quality.source, quality.error_bound_ns) == ("chrony", None)
    assert why in quality.explanation


@pytest.mark.parametrize(("interval", "most_s"), [("0.1", 512), ("64", 512), ("100", 800), ("9999", 8192)])
def test_an_update_of_eight_polls_ago_is_too_old(interval: str, most_s: int) -> None:
    """Eight times the last interval, taken to be 64 s to 1024 s; an update in the future is no better."""
    tracking = replace(GOOD, update_interval=Fraction(interval))
    assert judge(tracking, UPDATED + most_s * SECOND).synchronized
    assert judge(tracking, UPDATED - most_s * SECOND).synchronized
    assert f"{most_s} s ago" in judge(tracking, UPDATED + most_s * SECOND + 1).explanation
    assert f"{most_s} s ahead" in judge(tracking, UPDATED - most_s * SECOND - 1).explanation


@given(
    st.tuples(
        *[st.integers(0, (1 << 32) - 1)] * 4,
        *[st.fractions(min_value=-(2**62), max_value=2**62)] * 6,
    ),
    st.integers(0, 1 << 62),
)
def test_whatever_is_reported_a_quality_comes_of_it(fields: tuple[int, ...], wall_ns: int) -> None:
    """Never an exception, never a negative bound, and a reason where there is none."""
    reference, stratum, leap, seconds, *fractions = fields
    quality = judge(Tracking(reference, stratum, leap, seconds * SECOND, *map(Fraction, fractions)), wall_ns)
    assert (quality.error_bound_ns is None) is bool(quality.explanation)
    assert (quality.bound_ns(SECOND) or 0) >= (quality.error_bound_ns or 0) >= 0 or not quality.bound_ns(
        SECOND
    )


async def test_an_answer_on_the_wire_becomes_a_quality() -> None:
    """From socket to bound; before it was asked nothing is vouched for."""
    async with impostor(report) as port:
        clock = ChronyClock(port, wall_ns=lambda: UPDATED + SECOND)
        assert clock.quality() == ClockQuality("chrony", None, "not asked yet")
        await clock.ask()
    expected = 1e9 * (1 / 1024 + 1 / 512)
    assert expected <= (clock.quality().error_bound_ns or 0) <= expected + 100


async def test_after_a_step_only_a_new_update_is_trusted() -> None:
    """chronyd may not have noticed that the clock was set: until its next update it says what was true before."""
    updated = UPDATED
    async with impostor(lambda request: report(request, updated_ns=updated)) as port:
        clock = ChronyClock(port, wall_ns=lambda: UPDATED + SECOND)
        clock.stepped()
        await clock.ask()
        assert clock.quality().synchronized
        clock.stepped()
        assert "stepped" in clock.quality().explanation
        for _ in range(2):
            await clock.ask()
            assert "stepped since chronyd's last update" in clock.quality().explanation
        updated += 1
        await clock.ask()
        assert clock.quality().synchronized
        await clock.ask()
        assert clock.quality().synchronized


async def test_silence_ends_after_a_fifth_of_a_second() -> None:
    """A chronyd that does not answer holds nobody up."""
    async with impostor(lambda request: None) as port:
        clock = ChronyClock(port)
        before = time.monotonic()
        await clock.ask()
        assert 0.15 < time.monotonic() - before < 2
    assert "does not answer" in clock.quality().explanation


async def test_a_closed_port_is_told_at_once() -> None:
    """Where nobody listens the kernel says so."""
    clock = ChronyClock(free_port(socket.SOCK_DGRAM))
    await clock.ask()
    assert "nobody listens" in clock.quality().explanation


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda request: b"", "not understood: 0 octets"),
        (lambda request: request, "not understood: no reply"),
        (lambda request: b"\xff" * 2000, "not understood: no reply"),
        (lambda request: b"\xff" * 20_000, "not understood: no reply"),
        (lambda request: report(request)[:60], "not understood: 60 octets"),
        (lambda request: report(bytes(12)), "not understood: no reply"),
        (lambda request: report(request)[:28] + b"\xff" * 76, "not synchronised"),
        (lambda request: report(request, leap=3), "not synchronised"),
    ],
)
async def test_garbage_vouches_for_nothing(answer: Answer, why: str) -> None:
    """Any answer is a reason, never an exception."""
    async with impostor(answer) as port:
        clock = ChronyClock(port, wall_ns=lambda: UPDATED)
        await clock.ask()
    assert clock.quality().error_bound_ns is None
    assert why in clock.quality().explanation


@contextlib.asynccontextmanager
async def chronyd(folder: Path, name: str, *configuration: str) -> AsyncIterator[int]:
    """A real chronyd that never touches the clock (-x); its command port."""
    port = free_port(socket.SOCK_DGRAM)
    lines = [
        f"cmdport {port}",
        "bindcmdaddress 127.0.0.1",
        "bindcmdaddress /",
        f"pidfile {folder / name}.pid",
        "user root",
        *configuration,
    ]
    file = folder / f"{name}.conf"
    await asyncio.to_thread(file.write_text, "\n".join([*lines, ""]))
    command: list[str | Path] = [require_binary("chronyd"), "-d", "-x", "-U", "-f", file]
    async with running(command, folder / f"{name}.log"):
        yield port


async def test_a_real_chronyd_vouches_for_what_it_follows_but_not_for_itself(tmp_path: Path) -> None:
    """One that serves its own time vouches for nothing; one that follows it on loopback knows it to well below 1 ms."""
    served = free_port(socket.SOCK_DGRAM)
    serving = ("local stratum 8", f"port {served}", "bindaddress 127.0.0.1", "allow 127.0.0.1")
    following = (f"server 127.0.0.1 port {served} iburst minpoll -4 maxpoll -4", "port 0")
    async with chronyd(tmp_path, "alone", *serving) as alone_port:
        alone = ChronyClock(alone_port)

        async def answers() -> bool:
            await alone.ask()
            return "only its own clock" in alone.quality().explanation

        await eventually(answers, "chronyd serves its own time")
        async with chronyd(tmp_path, "follower", *following) as follower_port:
            follower = ChronyClock(follower_port)

            async def settled() -> bool:
                await follower.ask()
                return (
                    follower.quality().synchronized and (follower.quality().error_bound_ns or 0) < 1_000_000
                )

            # Its first update knows nothing of the frequency yet (a skew of 10^6 ppm), and says so in its bound.
            await eventually(settled, "chronyd follows the other one to well below 1 ms")
            assert (follower.quality().error_bound_ns or 0) > 0
            assert follower.quality().drift_ppb >= 15_000
        await follower.ask()
        assert not follower.quality().synchronized
