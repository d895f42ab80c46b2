"""Promises of delay and of throughput, and which way is which."""

from __future__ import annotations

import pytest

from agent.core.metrics import LINE_KIND
from agent.core.outcome import Direction
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor
from collector.sla.names import Name
from collector.sla.promise import direction_label, direction_name, promise_name, rate_text
from tests.support.counting import HUB_LIMIT


def test_a_line_has_ways_and_a_path_directions() -> None:
    """Down comes to the source, as replies do; nothing else is called so."""
    ways = [direction_label(LINE_KIND, one) for one in Direction]
    assert ways == ["up", "down", "round_trip"]
    assert [direction_label("stamp", one) for one in Direction] == [one.value for one in Direction]
    assert direction_name(LINE_KIND, Direction.REVERSE) == Name("下行", "down")
    assert direction_name("tcp", Direction.REVERSE) == Name("回程", "reverse")


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (9.87e9, "9.87 Gbit/s"),
        (1e9, "1 Gbit/s"),
        (200e6, "200 Mbit/s"),
        (500e3, "500 kbit/s"),
        (12.0, "0.012 kbit/s"),
    ],
)
def test_a_rate_is_written_in_the_unit_that_fits(rate: float, text: str) -> None:
    """To four digits."""
    assert rate_text(rate) == text


def test_a_floor_says_at_which_layer_it_is_meant() -> None:
    """A limit of delay says what it always has."""
    assert promise_name(Floor(10e9)) == Name("≥ 10 Gbit/s（IP 层）", "≥ 10 Gbit/s (IP layer)")
    assert promise_name(Floor(1e9, Layer.GOODPUT)).en == "≥ 1 Gbit/s (goodput)"
    assert promise_name(HUB_LIMIT) == Name("<= 10 ms", "<= 10 ms")
