"""The kernel's account of the clock."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest

from agent.net.clock import ClockQuality
from agent.net.clocks.adjtimex import AdjtimexClock, Timex, read_adjtimex

STA_PLL, STA_UNSYNC, STA_NANO = 0x0001, 0x0040, 0x2000
TIME_OK, TIME_INS, TIME_ERROR = 0, 1, 5


def kernel(
    state: int = TIME_OK, *, status: int = STA_PLL, maxerror: int = 0, offset: int = 0
) -> Callable[[Timex], int]:
    """A kernel that answers so."""

    def read(timex: Timex) -> int:
        timex.status, timex.maxerror, timex.offset = status, maxerror, offset
        return state

    return read


def test_the_layout_is_the_kernels() -> None:
    """struct timex has 208 octets, and status and maxerror stand where the 64-bit kernel puts them."""
    assert ctypes.sizeof(Timex) == 208
    assert (Timex.offset.offset, Timex.maxerror.offset, Timex.status.offset) == (8, 24, 40)


@pytest.mark.parametrize("state", [TIME_OK, TIME_INS])
@pytest.mark.parametrize(
    ("status", "offset", "bound_ns"),
    [
        (STA_PLL, 0, 1_500_000),
        (STA_PLL, -20, 1_520_000),
        (STA_PLL | STA_NANO, 20_000, 1_520_000),
        (STA_PLL | STA_NANO, -20_000, 1_520_000),
    ],
)
def test_the_bound_is_maxerror_and_what_is_slewed(
    state: int, status: int, offset: int, bound_ns: int
) -> None:
    """The bound is maxerror (µs) plus the offset still being slewed, in µs or, under STA_NANO, ns."""
    clock = AdjtimexClock(kernel(state, status=status, maxerror=1500, offset=offset))
    assert clock.quality() == ClockQuality("adjtimex", bound_ns, drift_ppb=500_000)
    assert clock.quality().synchronized


@pytest.mark.parametrize(
    "read",
    [kernel(status=STA_PLL | STA_UNSYNC, maxerror=10), kernel(TIME_ERROR, maxerror=10)],
    ids=["STA_UNSYNC", "TIME_ERROR"],
)
def test_an_unsynchronised_kernel_vouches_for_nothing(read: Callable[[Timex], int]) -> None:
    """STA_UNSYNC or TIME_ERROR: there is no bound, however small maxerror is."""
    quality = AdjtimexClock(read).quality()
    assert not quality.synchronized
    assert quality.error_bound_ns is None
    assert "not synchronised" in quality.explanation


def test_a_refusal_vouches_for_nothing_and_says_why() -> None:
    """Where reading is forbidden there is no bound, and the explanation names systemd's setting."""
    quality = AdjtimexClock(kernel(-errno.EPERM)).quality()
    assert quality.error_bound_ns is None
    assert "not permitted" in quality.explanation
    assert "ProtectClock" in quality.explanation
    assert "ProtectClock" not in AdjtimexClock(kernel(-errno.ENOSYS)).quality().explanation


def test_the_real_kernel_answers() -> None:
    """This machine's kernel answers without an exception, and with a plausible tick (µs per 1/100 s)."""
    timex = Timex()
    state = read_adjtimex(timex)
    assert -200 < state <= TIME_ERROR
    if state >= 0:
        assert 9_000 <= timex.tick <= 11_000
        assert timex.time_sec > 1_700_000_000
    assert AdjtimexClock().quality().source == "adjtimex"


async def test_each_asking_and_each_step_reads_anew() -> None:
    """Asking reads the kernel again, and so does a step, after which the kernel says that it is not synchronised."""
    answers = iter([kernel(maxerror=100), kernel(maxerror=200), kernel(status=STA_UNSYNC)])

    def read(timex: Timex) -> int:
        return next(answers)(timex)

    clock = AdjtimexClock(read)
    assert clock.quality().error_bound_ns == clock.quality().error_bound_ns == 100_000
    await clock.ask()
    assert clock.quality().error_bound_ns == 200_000
    clock.stepped()
    assert not clock.quality().synchronized
