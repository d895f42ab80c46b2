"""The API: what it says, how it filters, and how it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from agent.core.outcome import Direction
from collector.sla.fault_watch import Standing
from collector.sla.verdict import PathKey, Verdict
from tests.support.collector_web import serving
from tests.support.verdicts import (
    CUT_OFF,
    HUB_PATH,
    NOW_NS,
    SECOND_NS,
    Source,
    State,
    breach,
    closed,
    judgement,
)

CITY_PATH = PathKey("wuhan", "optics", "city", "mobile", "stamp", 46)


def mixed() -> State:
    """One path that fails in one direction, one that cannot be judged."""
    open_breach = breach(1, opened_ns=NOW_NS - 100 * SECOND_NS)
    return State(
        judgements=[
            judgement(Verdict.FAIL, HUB_PATH, Direction.FORWARD),
            judgement(Verdict.PASS, HUB_PATH, Direction.REVERSE),
            judgement(Verdict.NO_DATA, CITY_PATH, Direction.FORWARD),
            judgement(Verdict.INDETERMINATE, CITY_PATH, Direction.REVERSE),
        ],
        breaches=[
            closed(breach(2, direction=Direction.REVERSE), NOW_NS - 50 * SECOND_NS),
            open_breach,
            closed(breach(3, path=CITY_PATH), NOW_NS - 10 * SECOND_NS),
            breach(4, path=CITY_PATH, opened_ns=NOW_NS - 5 * SECOND_NS),
        ],
        sources={
            "wuhan": Source(),
            "optics": Source(
                up=False,
                reason="connection refused",
                seen_ns=None,
                clock_source=None,
                clock_bound_ns=None,
            ),
            "yichang": Source(clock_source="unsynchronised", clock_bound_ns=None),
        },
    )


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as made:
        yield made


async def get(session: aiohttp.ClientSession, path: str, state: State | None = None) -> Any:
    """The JSON document at a path."""
    async with serving(state or mixed()) as url, session.get(url + path) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return await response.json()


@pytest.mark.parametrize(
    ("query", "total", "verdicts"),
    [
        ("?limit=4", 4, ["FAIL", "PASS", "NO_DATA", "INDETERMINATE"]),
        ("?limit=3", 4, ["FAIL", "INDETERMINATE", "NO_DATA"]),
        ("?limit=3&offset=3", 4, ["PASS"]),
        ("?limit=1&tier=city", 2, ["INDETERMINATE"]),
        ("?offset=0&limit=9&verdict=PASS", 1, ["PASS"]),
    ],
)
async def test_of_many_verdicts_those_that_need_attention_come_first(
    session: aiohttp.ClientSession, query: str, total: int, verdicts: list[str]
) -> None:
    """And the others after them; the answer says how many there are."""
    answer = await get(session, f"/api/v1/verdicts{query}")
    assert answer["total"] == total
    assert [one["verdict"] for one in answer["verdicts"]] == verdicts


@pytest.mark.parametrize(
    ("query", "verdicts"),
    [
        ("", ["FAIL", "PASS", "NO_DATA", "INDETERMINATE"]),
        ("?tier=city", ["NO_DATA", "INDETERMINATE"]),
        ("?target=qingyang", ["FAIL", "PASS"]),
        ("?source=nobody", []),
        ("?direction=forward", ["FAIL", "NO_DATA"]),
        ("?verdict=FAIL&verdict=NO_DATA", ["FAIL", "NO_DATA"]),
        ("?direction=reverse&tier=city", ["INDETERMINATE"]),
        ("?objective=detection&verdict=PASS", ["PASS"]),
    ],
)
async def test_verdicts_are_chosen_by_their_labels(
    query: str, verdicts: list[str], session: aiohttp.ClientSession
) -> None:
    """Different parameters narrow, a repeated one widens."""
    document = await get(session, f"/api/v1/verdicts{query}")
    assert [one["verdict"] for one in document["verdicts"]] == verdicts
    assert document["evaluated_at"] == "2026-11-23T04:15:59.123Z"


async def test_what_is_broken_is_told_with_its_witnesses(session: aiohttp.ClientSession) -> None:
    """Under an identifier that breaches and verdicts have too."""
    assert await get(session, "/api/v1/faults") == {"faults": []}
    part = breach(7, fault=CUT_OFF)
    state = State(judgements=[part.opening], breaches=[part], standing=Standing([CUT_OFF]))
    (fault,) = (await get(session, "/api/v1/faults", state))["faults"]
    assert fault == {
        "id": "f1",
        "kind": "uplink_down",
        "kind_name": {"zh": "站点失联", "en": "site cut off"},
        "since": "2026-11-23T04:12:29.123Z",
        "site": "qingyang",
        "path": None,
        "direction": None,
        "paths": 4,
        "witnesses": 2,
        "summary": {
            "zh": "站点失联：庆阳（与 2 个站点之间的所有路径都无应答）",
            "en": "site cut off: Qingyang (no path between it and 2 sites is answered)",
        },
    }
    (verdict,) = (await get(session, "/api/v1/verdicts", state))["verdicts"]
    (told,) = (await get(session, "/api/v1/breaches", state))["breaches"]
    assert verdict["fault"] == told["fault"] == fault


async def test_before_the_first_evaluation_there_are_no_verdicts(session: aiohttp.ClientSession) -> None:
    """The answer says that nothing was evaluated; it does not invent a time."""
    document = await get(session, "/api/v1/verdicts", State(evaluated_ns=None, evaluations=0))
    assert document == {"evaluated_at": None, "total": 0, "verdicts": []}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["b000004", "b000001", "b000003", "b000002"]),
        ("?state=all", ["b000004", "b000001", "b000003", "b000002"]),
        ("?state=open", ["b000004", "b000001"]),
        ("?state=closed", ["b000003", "b000002"]),
        ("?state=open&tier=hub", ["b000001"]),
        ("?target=optics", ["b000004", "b000003"]),
        ("?limit=3", ["b000004", "b000001", "b000003"]),
        ("?state=closed&limit=1", ["b000003"]),
    ],
)
async def test_open_breaches_come_first_and_the_latest_before_the_others(
    query: str, ids: list[str], session: aiohttp.ClientSession
) -> None:
    """Open or closed, and by path."""
    document = await get(session, f"/api/v1/breaches{query}")
    assert [one["id"] for one in document["breaches"]] == ids


async def test_the_fleet_says_how_each_clock_is_vouched_for(session: aiohttp.ClientSession) -> None:
    """Declared with its bound, unsynchronised without one, unknown where the agent was never read."""
    document = await get(session, "/api/v1/fleet")
    agents = {site["id"]: site["agent"] for site in document["sites"]}
    assert agents["wuhan"]["clock"] == {"source": "declared", "error_bound_seconds": 5e-05}
    assert agents["yichang"]["clock"] == {"source": "unsynchronised", "error_bound_seconds": None}
    assert agents["optics"] == {
        "up": False,
        "reason": "connection refused",
        "seen_at": None,
        "clock": None,
    }
    assert agents["qingyang"] is None
    assert document["sites"][0]["name"] == {"zh": "武汉", "en": "Wuhan"}
    assert document["tiers"][0] == {
        "id": "city",
        "name": {"zh": "市内", "en": "In the city"},
        "limit": {"operator": "<", "seconds": 0.001},
        "direction": "one_way",
        "floors": {},
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/api/v1/verdicts?teir=city",
            'unknown parameter "teir"; accepted: tier, source, target, direction, verdict, objective, limit, offset',
        ),
        (
            "/api/v1/verdicts?verdict=fail",
            'verdict: "fail" is not one of PASS, FAIL, INDETERMINATE, NO_DATA',
        ),
        (
            "/api/v1/verdicts?direction=left",
            'direction: "left" is not one of forward, reverse, round_trip, down, up',
        ),
        ("/api/v1/breaches?state=ajar", 'state: "ajar" is not one of open, closed, all'),
        ("/api/v1/breaches?limit=none", "limit: one whole number above 0 is needed"),
        ("/api/v1/breaches?limit=0", "limit: one whole number above 0 is needed"),
        ("/api/v1/breaches?limit=1&limit=2", "limit: one whole number above 0 is needed"),
        ("/api/v1/fleet?x=1", 'unknown parameter "x"; accepted: none'),
        ("/sd/prometheus?role=probe", 'role: "probe" is not one of agent, collector'),
    ],
)
async def test_a_wrong_query_is_refused_with_what_would_be_accepted(
    path: str, message: str, session: aiohttp.ClientSession
) -> None:
    """Never an empty list for a parameter that was misspelt."""
    async with serving(mixed()) as url, session.get(url + path) as response:
        assert response.status == 400
        assert (await response.json()) == {"error": {"status": 400, "message": message}}


async def test_what_has_not_changed_is_not_sent_again(session: aiohttp.ClientSession) -> None:
    """The same evaluation answers 304; the next one does not."""
    state = mixed()
    async with serving(state) as url:
        async with session.get(f"{url}/api/v1/verdicts") as first:
            tag = first.headers["ETag"]
        async with session.get(f"{url}/api/v1/verdicts", headers={"If-None-Match": tag}) as again:
            assert again.status == 304
            assert "Date" in again.headers
        state.judgements = [replace(one, coverage=0.9) for one in state.judgements]
        state.evaluations += 1
        async with session.get(f"{url}/api/v1/verdicts", headers={"If-None-Match": tag}) as changed:
            assert changed.status == 200
            assert (await changed.json())["verdicts"][0]["coverage"] == 0.9


async def test_breaches_are_not_sent_again_while_none_changes(session: aiohttp.ClientSession) -> None:
    """However many evaluations there are; and a change is seen at once."""
    state = mixed()
    async with serving(state) as url:
        async with session.get(f"{url}/api/v1/breaches") as first:
            tag = first.headers["ETag"]
        state.evaluations += 1
        state.evaluated_ns = NOW_NS + SECOND_NS
        async with session.get(f"{url}/api/v1/breaches", headers={"If-None-Match": tag}) as again:
            assert again.status == 304
        state.breaches = state.breaches[:1]
        async with session.get(f"{url}/api/v1/breaches", headers={"If-None-Match": tag}) as changed:
            assert len((await changed.json())["breaches"]) == 1


async def test_a_large_answer_is_compressed(session: aiohttp.ClientSession) -> None:
    """A thousand verdicts are a megabyte of much the same words."""
    many = State([judgement(Verdict.PASS, replace(HUB_PATH, target=f"t{n}")) for n in range(1000)])
    async with serving(many) as url, session.get(f"{url}/api/v1/verdicts") as response:
        assert response.headers["Content-Encoding"] in ("gzip", "deflate")
        assert len((await response.json())["verdicts"]) == 1000
