"""The two timestamp formats and the Error Estimate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.timestamps import (
    TAI_MINUS_UTC_S,
    ErrorEstimate,
    ns_from_ntp,
    ns_from_ptp,
    ns_from_wire,
    ntp_from_ns,
    ntp_from_ns_of,
    ptp_from_ns,
)

YEAR_NS = 365 * 86_400 * 10**9
wall = st.integers(min_value=0, max_value=300 * YEAR_NS)
away = st.integers(min_value=-60 * YEAR_NS, max_value=60 * YEAR_NS)


@pytest.mark.parametrize(
    ("wall_ns", "stamp"),
    [
        (0, 0x83AA7E80_00000000),
        (500_000_000, 0x83AA7E80_80000000),
        (1_700_000_000_500_000_000, 0xE8FE6F80_80000000),
        (2_085_978_496 * 10**9, 0),
    ],
)
def test_ntp_vectors(wall_ns: int, stamp: int) -> None:
    """The epoch of 1900, a half second, the stamp of the published HMAC vector and the wrap of 2036 are encoded."""
    assert ntp_from_ns(wall_ns) == stamp
    assert ns_from_ntp(stamp, wall_ns) == wall_ns


@given(wall, away)
def test_ntp_round_trip(wall_ns: int, distance: int) -> None:
    """A stamp decodes to the same nanosecond wherever within 60 years the reader's clock stands, across 2036 too."""
    assert ns_from_ntp(ntp_from_ns(wall_ns), wall_ns + distance) == wall_ns


def test_ntp_across_the_era() -> None:
    """Within seconds of the wrap of 2036 stamps of either era are read rightly from either side."""
    wrap_ns = 2_085_978_496 * 10**9
    for wall_ns in (wrap_ns - 1, wrap_ns, wrap_ns + 10**9):
        for near_ns in (wrap_ns - 10**9, wrap_ns + 10**9):
            assert ns_from_ntp(ntp_from_ns(wall_ns), near_ns) == wall_ns


@given(wall, away)
def test_ptp_round_trip(wall_ns: int, distance: int) -> None:
    """A PTP stamp decodes to the same nanosecond, across the 32-bit wrap of its seconds too."""
    assert ns_from_ptp(ptp_from_ns(wall_ns), wall_ns + distance) == wall_ns


def test_ptp_counts_tai() -> None:
    """The PTP second of Unix time 0 is the TAI offset: 37 s would otherwise be measured as delay."""
    assert ptp_from_ns(5) == TAI_MINUS_UTC_S << 32 | 5


def test_error_estimate_vector() -> None:
    """50 µs with S is 0x8AD2, rounded up and never down."""
    estimate = ErrorEstimate.of_bound(50_000)
    assert estimate.wire == 0x8AD2
    assert estimate.bound_ns == 50_068


def test_error_estimate_carries_over() -> None:
    """A multiplier that rounds up past 8 bits moves to the next scale: 238 ns are 1,023 units of 2^-32 s, 128 * 8."""
    estimate = ErrorEstimate.of_bound(238)
    assert (estimate.scale, estimate.multiplier) == (3, 128)


@given(st.integers(min_value=0, max_value=10**19))
def test_error_estimate_is_an_upper_bound(bound_ns: int) -> None:
    """The estimate on the wire is never below the bound, and less than 1 % and 2 ns above it."""
    stated = ErrorEstimate.of_bound(bound_ns).bound_ns
    assert stated is not None
    assert bound_ns <= stated <= bound_ns * 1.01 + 2


@given(st.integers(min_value=0, max_value=0xFFFF))
def test_error_estimate_round_trip(word: int) -> None:
    """Every 16-bit word is readable and is written back the same."""
    assert ErrorEstimate.from_wire(word).wire == word


@pytest.mark.parametrize("bound_ns", [None, 10**21])
def test_unknown_error(bound_ns: int | None) -> None:
    """No bound, or one that the format cannot hold, is said as not synchronised and vouches for nothing."""
    estimate = ErrorEstimate.of_bound(bound_ns)
    assert not estimate.synchronized
    assert estimate.bound_ns is None


def test_multiplier_zero_is_invalid() -> None:
    """S=1 with multiplier 0 vouches for nothing (RFC 4656 section 4.1.2)."""
    assert ErrorEstimate.from_wire(0x8A00).bound_ns is None


def test_estimate_carries_the_format() -> None:
    """Z tells PTP."""
    assert ErrorEstimate.from_wire(ErrorEstimate.of_bound(1000, ptp=True).wire).ptp


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.booleans(), st.integers(0, 2**62)), min_size=1, max_size=8
    )
)
def test_arrays_of_timestamps(stamps: list[tuple[int, bool, int]]) -> None:
    """Any 64 bits decode in an array to what they decode to alone, each in its own format."""
    wire, ptp, near = zip(*stamps, strict=True)
    decoded = ns_from_wire(np.array(wire, np.uint64), np.array(ptp), np.array(near, np.int64))
    assert decoded.tolist() == [
        (ns_from_ptp if is_ptp else ns_from_ntp)(stamp, near_ns) for stamp, is_ptp, near_ns in stamps
    ]


@given(st.lists(st.integers(0, 2**62), min_size=1))
def test_many_times_are_encoded_like_each(times_ns: list[int]) -> None:
    """As arrays, NTP timestamps are those of `ntp_from_ns`, over the wrap of 2036 too."""
    assert ntp_from_ns_of(np.array(times_ns)).tolist() == [ntp_from_ns(one) for one in times_ns]
