"""Targets probed once, by the agent's own probers."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Limit, Operator
from agent.doctor.targets import TargetFacts, gather_targets, judge_targets, promised_limits
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.runtime.doctor.diagnosis import Diagnosis, Severity
from agent.runtime.doctor.reach import MOST_SHOWN, NameAnswer
from agent.settings import PathSettings
from tests.support.processes import free_port
from tests.support.reflectors import reflector_on
from tests.support.requirements import require_root

MS = 1_000_000


def path(address: str, kind: str = "stamp", **changes: object) -> PathSettings:
    """A path to an address."""
    return PathSettings.model_validate(
        {
            "target": "t",
            "tier": "city",
            "kind": kind,
            "address": address,
            "timeout": "300ms",
            "limits": {"forward": "< 1ms"},
            **changes,
        }
    )


def known(*paths: PathSettings) -> dict[str, NameAnswer]:
    """The hosts of paths, as addresses."""
    return {one.address.host: NameAnswer((one.address.host,)) for one in paths}


async def probed(*paths: PathSettings) -> list[TargetFacts]:
    """What came of probing them, with no word of the stamps."""
    found, _ = await gather_targets(paths, known(*paths), LocalClock(DeclaredClock(50_000)), None)
    return found


@contextlib.contextmanager
def listening() -> Iterator[str]:
    """Where a TCP service listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_who_answers_is_told_with_its_round_trip() -> None:
    """By STAMP, and by TCP; and the stamps of the sockets that were used are proven."""
    reflector = reflector_on("127.0.0.1")
    reflector.start()
    with listening() as service:
        paths = [path(f"127.0.0.1:{reflector.sockets[0].address[1]}"), path(service, "tcp")]
        clock = LocalClock(DeclaredClock(50_000))
        found, (stamps,) = await gather_targets(paths, known(*paths), clock, None)
    reflector.close()
    assert [one.path for one in found] == paths
    assert all(one.round_trip_ns is not None and 0 < one.round_trip_ns < 100 * MS for one in found)
    assert (stamps.where, stamps.sent, stamps.received, stamps.stamped) == ("stamp paths", 1, 1, 1)
    assert stamps.transmitted == 1


async def test_who_does_not_answer_is_told_with_what_is_known() -> None:
    """An ICMP error names a port without a reflector; a refused connection a service that is not there."""
    down, refused = free_port(socket.SOCK_DGRAM), free_port()
    found = await probed(path(f"127.0.0.1:{down}"), path(f"127.0.0.1:{refused}", "tcp"))
    assert [(one.sent, one.round_trip_ns) for one in found] == [(True, None)] * 2
    assert [one.failure for one in found] == ["port unreachable", "Connection refused"]


async def test_a_reflector_that_refuses_us_is_only_silent() -> None:
    """Nothing says why."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        (found,) = await probed(path(f"127.0.0.1:{mute.getsockname()[1]}"))
    assert (found.sent, found.failure) == (True, "")


async def test_echoes_are_sent_where_that_is_permitted() -> None:
    """Loopback answers itself."""
    require_root()
    (found,) = await probed(path("127.0.0.1", "icmp"))
    assert found.round_trip_ns is not None


async def test_names_that_did_not_resolve_and_keys_that_are_missing_are_left_out() -> None:
    """They are told of elsewhere."""
    paths = [path("name.invalid:862"), path("127.0.0.1:862", authenticated_ssid=7)]
    clock = LocalClock(DeclaredClock(50_000))
    assert await gather_targets(paths, known(paths[1]), clock, None) == ([], [])


@given(st.lists(st.none() | st.integers(1, 100 * MS), max_size=60))
def test_every_silent_target_is_counted(round_trips: list[int | None]) -> None:
    """One by one as long as there are few; and there is a problem where one is silent."""
    one = path("192.0.2.1")
    facts = [TargetFacts(one, round_trip, sent=True) for round_trip in round_trips]
    found = list(judge_targets(facts, len(facts)))
    silent = round_trips.count(None)
    problems = [each for each in found if each.severity is Severity.PROBLEM]
    assert len(problems) == min(silent, MOST_SHOWN) + (silent > MOST_SHOWN)
    assert any(each.severity is Severity.OK for each in found) is (silent < len(round_trips))
    if silent > MOST_SHOWN:
        assert problems[-1].numbers["more"] == silent - MOST_SHOWN


def test_what_was_not_sent_is_told_with_its_reason() -> None:
    """A missing privilege is to be had elsewhere than at the target."""
    (found,) = judge_targets([TargetFacts(path("192.0.2.1", "icmp"), failure="not_permitted")], 1)
    assert found.severity is Severity.PROBLEM
    assert words(found) == "the probe was not sent: not_permitted"
    assert found.remedy is not None
    assert "root" in found.remedy.en


def words(found: Diagnosis) -> str:
    """What was found, in English."""
    return found.found.en


@pytest.mark.parametrize(
    ("round_trips", "proven"),
    [((MS // 2, MS // 2), True), ((MS // 2, 2 * MS), False), ((MS // 2, None), True), ((None, None), None)],
)
def test_short_round_trips_prove_a_limit(round_trips: tuple[int | None, ...], proven: bool | None) -> None:
    """Only where none of the paths that share it is known to be longer."""
    paths = [path(f"192.0.2.{number}") for number in (1, 2)]
    facts = [TargetFacts(one, found, sent=True) for one, found in zip(paths, round_trips, strict=True)]
    random.Random(7).shuffle(facts)
    (limit,) = promised_limits(paths, facts)
    assert (limit.paths, limit.limit, limit.by_round_trip) == (2, Limit(MS, Operator.BELOW), proven)


def test_floors_count_for_what_a_round_trip_proves() -> None:
    """What light needs for the way back was not spent on the way there."""
    one = path("192.0.2.1", floors={"forward": "400us", "reverse": "400us"})
    (limit,) = promised_limits([one], [TargetFacts(one, 1_300_000, sent=True)])
    assert limit.by_round_trip is True
    assert limit.floor_ns == 400_000


def test_only_stamp_paths_have_one_way_limits() -> None:
    """Where they are promised any; and directions with limits of their own are judged by themselves."""
    paths = [
        path("192.0.2.1", limits={"forward": "< 1ms", "reverse": "< 2ms"}),
        path("192.0.2.1", "icmp"),
        path("192.0.2.1", limits={"round_trip": "< 1ms"}),
    ]
    assert [(one.direction, one.limit.limit_ns) for one in promised_limits(paths, [])] == [
        ("forward", MS),
        ("reverse", 2 * MS),
    ]
