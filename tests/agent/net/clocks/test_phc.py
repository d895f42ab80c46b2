"""The system clock against the clock of a network card."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.net.clocks.phc import card_clock, compare, compare_with_card


def test_a_clock_compared_with_itself_is_not_off() -> None:
    """The system clock read twice: the offset is within what it admits, and that is small."""
    for offset_ns in (0, 37_000_000_000, -1):
        found = compare(lambda offset_ns=offset_ns: time.time_ns() + offset_ns)  # type: ignore[misc]
        assert abs(found.offset_ns + offset_ns) <= found.uncertainty_ns < 1_000_000


def test_a_clock_that_is_slow_to_read_is_uncertain() -> None:
    """What the reading takes enters the uncertainty, and the quickest reading counts."""
    waits = iter([2_000_000, 300_000, 900_000, 2_000_000, 2_000_000])

    def slow() -> int:
        end = time.monotonic_ns() + next(waits)
        while time.monotonic_ns() < end:
            pass
        return time.time_ns()

    found = compare(slow)
    assert found.uncertainty_ns >= 150_000
    assert abs(found.offset_ns) <= found.uncertainty_ns


def test_the_card_of_an_interface_is_found(tmp_path: Path) -> None:
    """As the kernel shows it under /sys/class/net."""
    (tmp_path / "eth7" / "device" / "ptp" / "ptp3").mkdir(parents=True)
    (tmp_path / "eth8" / "device" / "ptp").mkdir(parents=True)
    assert card_clock("eth7", tmp_path) == Path("/dev/ptp3")
    with pytest.raises(FileNotFoundError, match="eth8 has no clock"):
        card_clock("eth8", tmp_path)


@pytest.mark.parametrize("interface", ["eth\0", "../../../dev", "/tmp"])
def test_what_is_no_name_of_an_interface_has_no_clock(interface: str) -> None:
    """ptp4l says which interface it is; what comes of that is an OSError, and no file elsewhere is looked at."""
    with pytest.raises(FileNotFoundError, match="is no name of an interface"):
        compare_with_card(interface)


def test_the_real_loopback_has_no_clock() -> None:
    """Which is an OSError, as every other obstacle."""
    with pytest.raises(OSError, match="lo"):
        compare_with_card("lo")
