"""Maintenance windows over the API, on a real server and a real store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collector.sla.maintenance import DAY_NS
from collector.sla.selector import PathFacts
from tests.support.fleets import FLEET
from tests.support.maintenance import BASE_NS, HOUR_NS, TOKEN, Office, office
from tests.support.verdicts import HUB_PATH

ASKED = {
    "id": "cutover",
    "by": "zhang.wei",
    "start": "2026-12-01T01:00:00+08:00",
    "duration": "2h",
    "category": "planned",
    "approver": "李娜",
    "reason": "设备割接",
    "selector": {"tiers": ["hub"], "sites": ["wuhan"], "providers": ["telecom"]},
}
NIGHTLY = """\
maintenance:
  windows:
    - {id: nightly, start: 2026-12-01T01:00:00+08:00, duration: 2h, rrule: FREQ=DAILY;COUNT=3, category: planned,
       approver: Li Na, reason: upgrades, selector: {}}
"""
FACTS = PathFacts(HUB_PATH, sites=frozenset({"wuhan", "qingyang"}))


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that has the token."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as made:
        yield made


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    """A server without windows."""
    async with office(tmp_path) as made:
        yield made


async def post(
    session: aiohttp.ClientSession, url: str, body: Any, expected: int, headers: dict[str, str] | None = None
) -> Any:
    """Send a document, or octets; the answer, or the message of the error."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with session.post(url, data=data, headers=headers) as response:
        document = await response.json()
        assert response.status == expected, document
        return document["error"]["message"] if expected >= 400 else document


async def windows(session: aiohttp.ClientSession, desk: Office, query: str = "") -> list[dict[str, Any]]:
    """What is listed."""
    async with session.get(f"{desk.url}/api/v1/maintenance{query}") as response:
        assert response.status == 200
        found: list[dict[str, Any]] = (await response.json())["windows"]
        return found


async def test_a_window_that_is_added_is_listed_and_drops_its_minutes(
    desk: Office, session: aiohttp.ClientSession
) -> None:
    """In the words of both languages, with times for machines in UTC and for people in Shanghai."""
    added = await post(session, f"{desk.url}/api/v1/maintenance", ASKED, 201)
    assert added.pop("selected_paths") == 0  # a path that this fleet does not have yet
    assert await windows(session, desk) == [added]
    assert (added["state"], added["origin"], added["created_by"]) == ("upcoming", "api", "zhang.wei")
    assert added["start"] == "2026-11-30T17:00:00.000Z"
    assert added["local"]["end"] == "2026-12-01 03:00:00 +08:00"
    assert added["selector"]["tiers"] == ["hub"]
    assert added["selector"]["targets"] == []
    assert added["paths"] == {
        "zh": "层级 枢纽；运营商 telecom；站点 武汉",
        "en": "tier Hubs; provider telecom; site Wuhan",
    }
    assert added["occurrence"]["excluded"] is True
    assert added["occurrence"]["effect"] == {"zh": "剔除", "en": "dropped"}
    begun = BASE_NS, BASE_NS + 2 * HOUR_NS
    assert desk.maintenance.intervals(FACTS, 0, BASE_NS + DAY_NS) == [begun]


async def test_a_window_without_a_name_or_start_begins_now(
    desk: Office, session: aiohttp.ClientSession
) -> None:
    """It is named after its day; being announced only now, it is marked and counts."""
    body = {key: value for key, value in ASKED.items() if key not in ("id", "start")} | {
        "category": "emergency"
    }
    desk.now_ns += 123_456_789
    added = await post(session, f"{desk.url}/api/v1/maintenance", body, 201)
    assert added["id"].startswith("20261125-")
    assert added["state"] == "running"
    assert added["occurrence"]["short_notice"] is True
    assert added["occurrence"]["effect"]["en"] == "counts: announced less than 5 d ahead"
    assert added["occurrence"]["effect"]["zh"] == "照常计入：提前通知不足 5 天"
    assert desk.maintenance.intervals(FACTS, 0, BASE_NS + DAY_NS) == []


async def test_a_window_is_ended_or_called_off(desk: Office, session: aiohttp.ClientSession) -> None:
    """At once, or as of the time that is given; the list tells them apart."""
    url = f"{desk.url}/api/v1/maintenance"
    for name in ("run", "off", "late"):
        await post(session, url, ASKED | {"id": name}, 201)
    off = await post(session, f"{url}/off/end", {"by": "li.na"}, 200)
    assert (off["state"], off["occurrence"]) == ("cancelled", None)
    desk.now_ns = BASE_NS + HOUR_NS
    over = await post(session, f"{url}/run/end", {"by": "li.na"}, 200)
    assert (over["state"], over["ended_at"]) == ("over", "2026-11-30T18:00:00.000Z")
    earlier = {"by": "li.na", "at": "2026-12-01T01:30:00+08:00"}
    assert "justification" in await post(session, f"{url}/late/end", earlier, 409)
    await post(session, f"{url}/late/end", earlier | {"justification": "told by telephone"}, 200)
    assert [(one["id"], one["state"]) for one in await windows(session, desk)] == [
        ("late", "over"),
        ("run", "over"),
        ("off", "cancelled"),
    ]
    assert [one["id"] for one in await windows(session, desk, "?state=cancelled&state=running")] == ["off"]
    async with session.get(f"{url}/audit") as response:
        changes = (await response.json())["changes"]
    assert [(one["window"], one["action"], one["by"]) for one in changes[3:]] == [
        ("off", "ended", "li.na"),
        ("run", "ended", "li.na"),
        ("late", "ended", "li.na"),
    ]
    assert changes[0]["before"] is None
    assert changes[-1]["justification"] == "told by telephone"
    assert (changes[-1]["before"]["state"], changes[-1]["after"]["state"]) == ("running", "over")


async def test_windows_of_the_file_are_listed_and_not_ended_here(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """With the time that comes next, and the last one when all are over."""
    async with office(tmp_path, FLEET + NIGHTLY) as desk:
        (one,) = await windows(session, desk)
        assert (one["id"], one["origin"], one["rrule"]) == ("nightly@1", "file", "FREQ=DAILY;COUNT=3")
        assert one["paths"]["zh"] == "全部路径"
        desk.now_ns = BASE_NS + 3 * HOUR_NS
        (one,) = await windows(session, desk)
        assert (one["state"], one["local"]["start"]) == ("upcoming", "2026-12-02 01:00:00 +08:00")
        desk.now_ns = BASE_NS + 9 * DAY_NS
        (one,) = await windows(session, desk)
        assert (one["state"], one["local"]["start"]) == ("over", "2026-12-03 01:00:00 +08:00")
        url = f"{desk.url}/api/v1/maintenance/nightly@1/end"
        assert "stands in the fleet file" in await post(session, url, {"by": "li.na"}, 409)


async def test_a_window_of_the_file_that_came_too_late_is_said_to_drop_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how the past is added."""
    text = FLEET + NIGHTLY.replace("2026-12-01", "2026-11-01")
    caplog.set_level("INFO")
    async with office(tmp_path, text) as desk:
        assert desk.maintenance.intervals(FACTS, 0, BASE_NS) == []
    assert "nightly@1 was over before it was first read" in caplog.text
    (tmp_path / "soon").mkdir()
    async with office(tmp_path / "soon", FLEET + NIGHTLY.replace("2026-12-01", "2026-11-27")):
        assert (
            "nightly@1 comes too soon after it was announced: its next time, 2026-11-27 01:00" in caplog.text
        )


async def test_a_new_rule_is_for_new_windows(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What was dropped stays dropped, and what counted counts, whatever the file says from now on."""
    repair = ASKED | {
        "category": "emergency",
        "announced": "2026-11-24T00:00:00+08:00",
        "justification": "told by telephone",
    }
    rules = (FLEET, FLEET + "maintenance: {emergency: excluded}\n", FLEET + "maintenance: {notice: 30d}\n")
    found = []
    for number, text in enumerate(rules):
        async with office(tmp_path, text) as desk:
            desk.now_ns = BASE_NS - 2 * DAY_NS
            body = repair | {"id": f"repair{number}", "announced": "2026-11-28T00:00:00+08:00"}
            await post(session, f"{desk.url}/api/v1/maintenance", body, 201)
            await post(session, f"{desk.url}/api/v1/maintenance", repair | {"id": f"early{number}"}, 201)
            found.append({one["id"]: one["occurrence"]["excluded"] for one in await windows(session, desk)})
    assert found[0] == {"repair0": False, "early0": True}
    assert found[1] == found[0] | {"repair1": True, "early1": True}
    assert found[2] == found[1] | {"repair2": False, "early2": False}


@pytest.mark.parametrize("wrong", ["", "Bearer another-token-0123456789", f"Basic {TOKEN}", "Bearer tökén"])
async def test_only_who_has_the_token_writes(
    desk: Office, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody may read; what is wrong with the request is not even looked at; the token is in no log."""
    async with aiohttp.ClientSession(headers={"Authorization": wrong}) as stranger:
        for path in ("", "/cutover/end"):
            url = f"{desk.url}/api/v1/maintenance{path}"
            assert "Bearer TOKEN" in await post(stranger, url, b"{", 401)
        assert await windows(stranger, desk) == []
    assert TOKEN not in caplog.text


async def test_without_a_token_nobody_writes(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """And the answer says what is missing."""
    async with office(tmp_path, token=None) as desk:
        for path in ("", "/cutover/end"):
            url = f"{desk.url}/api/v1/maintenance{path}"
            assert "no api.token_file is configured" in await post(session, url, ASKED, 403)
        assert await windows(session, desk) == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[]", 400, "must be a JSON object"),
        (b'{"by": "\\ud800"}', 400, ""),
        ({}, 400, "by: is missing"),
        (
            ASKED | {"selector": {"tiers": ["town"]}},
            400,
            "selector.tiers[0]: town is no tier; tiers: city, hub",
        ),
        (ASKED | {"duration": 7200}, 400, "duration: "),
        (ASKED | {"start": None}, 400, "start: "),
        (ASKED | {"start": 1_796_058_000}, 400, "a time with its offset such as"),
        (ASKED | {"end": "2026-12-01T02:00:00+08:00"}, 400, "one of end and duration"),
        (ASKED | {"rrule": "FREQ=DAILY"}, 400, "unknown key"),
        (ASKED | {"by": "li.na\u001b[2J"}, 400, "by: "),
        (ASKED | {"id": "nightly@1"}, 400, "id: "),
        (ASKED | {"announced": "2026-11-25T01:00:01+08:00"}, 409, "announced in the future"),
        (ASKED | {"start": "2026-11-25T00:59:59+08:00"}, 409, "a justification is needed"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    desk: Office, session: aiohttp.ClientSession, body: Any, status: int, said: str
) -> None:
    """With the key and what would be accepted; nothing is written."""
    assert said in await post(session, f"{desk.url}/api/v1/maintenance", body, status)
    assert await windows(session, desk) == []
    assert await desk.maintenance.audit() == []


async def test_all_mistakes_are_told_at_once(desk: Office, session: aiohttp.ClientSession) -> None:
    """A line each."""
    body = ASKED | {"category": "urgent", "duration": "0s", "selector": {"sites": "wuhan"}}
    message = await post(session, f"{desk.url}/api/v1/maintenance", body, 400)
    assert [line.partition(":")[0] for line in message.splitlines()] == [
        "duration",
        "category",
        "selector.sites",
    ]


async def test_a_window_that_is_there_already_is_not_added_again(
    desk: Office, session: aiohttp.ClientSession
) -> None:
    """So a request that was sent twice does no harm; and there is no window to end where there is none."""
    url = f"{desk.url}/api/v1/maintenance"
    await post(session, url, ASKED, 201)
    assert "cutover already" in await post(session, url, ASKED, 409)
    assert "no maintenance window other" in await post(session, f"{url}/other/end", {"by": "li.na"}, 404)
    assert len(await windows(session, desk)) == 1


async def test_a_wrong_query_is_refused(desk: Office, session: aiohttp.ClientSession) -> None:
    """With what would be accepted."""
    async with session.get(f"{desk.url}/api/v1/maintenance?state=done") as response:
        assert response.status == 400
        assert "upcoming, running, over, cancelled" in await response.text()
