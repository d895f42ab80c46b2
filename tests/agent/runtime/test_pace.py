"""What is too fast, too patient or too much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.probe_ring import ProbeRings
from agent.core.schedule import Schedule
from agent.runtime.pace import (
    MAX_PATHS,
    MAX_REMEMBERED,
    Pace,
    parse_interval,
    parse_timeout,
    too_much_in_all,
    too_much_of_one,
)
from agent.runtime.settings import parse
from agent.settings import AgentSettings

MS = 1_000_000
DEFAULT_PACE = Pace(100 * MS, 1000 * MS)
PACES = st.builds(
    Pace, st.integers(MS, 3_600_000 * MS), st.integers(MS, 60_000 * MS), st.sampled_from(Schedule)
)


@pytest.mark.parametrize("text", ["0ms", "-1s", "1ns", "999us", "3601s", "400d", "401d"])
def test_an_interval_is_between_a_millisecond_and_an_hour(text: str) -> None:
    """Below, timers are not good enough; above, it proves nothing."""
    with pytest.raises(ValueError, match=f'"{text}" is out of range: at least 1ms and at most 1h'):
        parse_interval(text)
    assert (parse_interval("1ms"), parse_interval("1h")) == (MS, 3_600_000 * MS)


@pytest.mark.parametrize("text", ["0ms", "-1s", "1ns", "999us", "61s", "400d", "401d"])
def test_a_timeout_is_between_a_millisecond_and_a_minute(text: str) -> None:
    """An agent that ends waits so long."""
    with pytest.raises(ValueError, match=f'"{text}" is out of range: at least 1ms and at most 1m'):
        parse_timeout(text)
    assert (parse_timeout("1ms"), parse_timeout("1m")) == (MS, 60_000 * MS)


@given(PACES.filter(lambda pace: pace.remembered <= MAX_REMEMBERED))
def test_what_is_bounded_is_what_is_allocated(pace: Pace) -> None:
    """A session's ring has as many slots as its path was judged by."""
    rings = ProbeRings()
    rings.open(0, pace.window, pace.timeout_ns)
    rings.open(1, pace.window, pace.timeout_ns)
    assert len(rings.state) >= 2 * pace.remembered
    assert int(rings.slots(np.array([1]), np.array([0]))[0]) == pace.remembered


@given(st.integers(MS, 3_600_000 * MS), st.integers(MS, 60_000 * MS))
def test_a_stream_that_may_bunch_is_remembered_for_longer(interval_ns: int, timeout_ns: int) -> None:
    """Of a Poisson stream more probes than in the mean can be under way."""
    periodic, jittered, poisson = (
        Pace(interval_ns, timeout_ns, schedule).window
        for schedule in (Schedule.PERIODIC, Schedule.JITTERED, Schedule.POISSON)
    )
    assert periodic == jittered < poisson


@given(PACES)
def test_the_timeout_that_would_be_accepted_is(pace: Pace) -> None:
    """Who follows the advice is not refused again, and could not have had more."""
    too_much = too_much_of_one(pace)
    assert (too_much is None) == (pace.remembered <= MAX_REMEMBERED)
    if too_much is not None:
        longest_ns = parse_timeout(too_much.rpartition(" ")[2])
        assert too_much_of_one(pace._replace(timeout_ns=longest_ns)) is None
        assert too_much_of_one(pace._replace(timeout_ns=longest_ns + MS)) is not None


def test_as_many_paths_as_there_can_be_are_accepted_with_the_default_pace_slowed_to_the_rate() -> None:
    """A second's interval for each of 65,535; one more path has no session identifier."""
    slow = Pace(1000 * MS, 1000 * MS)
    assert list(too_much_in_all([slow] * MAX_PATHS)) == []
    (one_more,) = too_much_in_all([slow] * (MAX_PATHS + 1))
    assert one_more.startswith("65536 paths of one agent: at most 65535")
    (too_fast,) = too_much_in_all([DEFAULT_PACE] * 10_001)
    assert too_fast.startswith("100010 probes a second of one agent: at most 100000")


def test_an_agent_refuses_what_would_take_all_memory() -> None:
    """With the key to change, and what would be accepted."""
    path = "- {{target: t{}, address: a, interval: 1ms, timeout: {}, limits: {{forward: < 1s}}}}\n"
    one = "site: s\npaths:\n" + path.format(0, "60s")
    with pytest.raises(
        ValueError, match=r"f:3: paths\[0\]\.timeout: .* at most 65536: a timeout of at most 16280ms"
    ):
        refuse(one)
    many = "site: s\npaths:\n" + "".join(path.format(number, "16s") for number in range(65))
    with pytest.raises(ValueError, match="paths: 4259840 probes of one agent to remember: at most 4194304"):
        refuse(many)


@pytest.mark.parametrize("key", ["address: 'a:0'", "address: '[::1]:0'"])
def test_nobody_is_at_port_0(key: str) -> None:
    """Neither to be probed nor to be listened at."""
    with pytest.raises(ValueError, match=r"paths\[0\]\.address: .* has port 0.*: 1 to 65535"):
        refuse(f"site: s\npaths: [{{target: t, {key}, limits: {{forward: < 1s}}}}]\n")
    with pytest.raises(ValueError, match=r"reflector\.listen\[0\]: .* has port 0"):
        refuse("site: s\nreflector: {listen: ['127.0.0.1:0']}\n")


def refuse(text: str) -> None:
    """Raise what an agent's file is refused with."""
    try:
        parse(text, AgentSettings, "f")
    except Exception as error:
        raise ValueError(str(error)) from error
