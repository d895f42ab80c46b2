"""What is told of a breach, and under which key."""

from __future__ import annotations

import json
from dataclasses import replace

from collector.alerts.outbox import MOST_TOGETHER, MOST_WHOLE, announcements, breach_url
from collector.sla.breach import BreachClosed, BreachOpened
from tests.support.verdicts import CUT_OFF, HUB_PATH, NAMES, NOW_NS, breach, closed

PAGE = "http://noc.example:9460"


def test_an_event_is_told_to_every_channel_under_a_key_of_its_own() -> None:
    """Keys differ by channel and event; the message id only by event, so that a receiver knows a repetition."""
    one = breach()
    made = announcements(
        [BreachOpened(one), BreachClosed(closed(one))], ["webhook:a", "webhook:b/c"], NAMES, PAGE, NOW_NS
    )
    assert [row.key for row in made] == [
        "webhook:a/b000001/opened",
        "webhook:b/c/b000001/opened",
        "webhook:a/b000001/closed",
        "webhook:b/c/b000001/closed",
    ]
    assert [row.message_id for row in made] == ["b000001_opened"] * 2 + ["b000001_closed"] * 2
    assert {row.subjects for row in made} == {frozenset({"b000001"})}


def test_the_body_says_what_where_since_when_and_why_in_both_languages() -> None:
    """A receiver needs nothing else to tell a person."""
    (row,) = announcements([BreachOpened(breach())], ["webhook:a"], NAMES, PAGE, NOW_NS)
    body = json.loads(row.payload)
    assert body["version"] == 1
    assert body["event"] == "breach_opened"
    assert body["id"] == "b000001"
    assert (body["source"], body["target"], body["tier"], body["provider"]) == (
        "wuhan",
        "qingyang",
        "hub",
        "telecom",
    )
    assert (body["direction"], body["objective"], body["percentile"]) == ("forward", "detection", 99.9)
    assert body["limit"] == {"operator": "<=", "seconds": 0.01}
    assert body["opening"]["counts"]["over"] == 2921
    assert "96.9%" in body["opening"]["reason"]["zh"]
    assert "96.9 %" in body["opening"]["reason"]["en"]
    assert body["opened_at"] == "2026-11-23T04:12:39.123Z"
    assert body["local"] == {
        "time_zone": "Asia/Shanghai",
        "opened_at": "2026-11-23 12:12:39 +08:00",
        "closed_at": None,
    }
    assert body["source_name"] == {"zh": "武汉", "en": "Wuhan"}
    assert body["url"] == "http://noc.example:9460/#breach-b000001"


def test_the_end_of_a_breach_carries_both_judgements() -> None:
    """The closing event says how it ended, and still how it began."""
    (row,) = announcements([BreachClosed(closed(breach()))], ["webhook:a"], NAMES, PAGE, NOW_NS)
    body = json.loads(row.payload)
    assert body["event"] == "breach_closed"
    assert body["closed_at"] == "2026-11-23T04:15:59.123Z"
    assert body["opening"]["verdict"] == "FAIL"
    assert body["closing"]["verdict"] == "PASS"


def test_a_page_behind_a_prefix_keeps_it() -> None:
    """A slash at the end makes no difference."""
    assert breach_url("https://noc/isochrone/", "x") == breach_url("https://noc/isochrone", "x")
    assert breach_url("https://noc/isochrone", "x") == "https://noc/isochrone/#breach-x"


def test_breaches_of_one_fault_are_one_message() -> None:
    """Forty that open together because a site is cut off are one incident; one of another cause stands apart."""
    together = [BreachOpened(breach(number, fault=CUT_OFF)) for number in range(1, 41)]
    made = announcements([*together, BreachOpened(breach(50))], ["webhook:a"], NAMES, PAGE, NOW_NS)
    assert [row.message_id for row in made] == ["b000001_opened", "b000050_opened"]
    body = json.loads(made[0].payload)
    assert (body["event"], body["id"], body["fault"]["kind"]) == ("incident_opened", "f1", "uplink_down")
    assert "Qingyang" not in body["fault"]["summary"]["zh"]
    assert "no path between it and 2 sites" in body["fault"]["summary"]["en"]
    assert [one["id"] for one in body["breaches"]] == [f"b{number:06}" for number in range(1, 41)]
    assert body["breaches"][7]["url"] == f"{PAGE}/#breach-b000008"
    assert json.loads(made[1].payload)["fault"] is None


def test_a_single_breach_of_a_fault_is_told_as_a_breach() -> None:
    """With what it is part of."""
    (row,) = announcements([BreachClosed(closed(breach(fault=CUT_OFF)))], ["webhook:a"], NAMES, PAGE, NOW_NS)
    body = json.loads(row.payload)
    assert (body["event"], body["id"], body["fault"]["id"]) == ("breach_closed", "b000001", "f1")


def test_very_many_breaches_of_one_fault_are_one_message() -> None:
    """The first with all that is known of them, the others in short, and how many there are in a sentence."""
    events = [BreachOpened(breach(number, fault=CUT_OFF)) for number in range(1, MOST_WHOLE + 3)]
    (row,) = announcements(events, ["webhook:a"], NAMES, PAGE, NOW_NS)
    body = json.loads(row.payload)
    assert (len(body["breaches"]), body["total"]) == (MOST_WHOLE, MOST_WHOLE + 2)
    assert body["more"][1] == {
        "id": f"b{MOST_WHOLE + 2:06}",
        "source": "wuhan",
        "target": "qingyang",
        "tier": "hub",
        "provider": "telecom",
        "kind": "stamp",
        "dscp": 0,
        "direction": "forward",
        "objective": "detection",
    }
    assert body["summary"]["zh"].endswith("；新增 102 项违约")
    assert body["summary"]["en"].endswith("; 102 breaches have opened")
    assert row.subjects == {one.breach.id for one in events}


def test_no_message_grows_without_bounds() -> None:
    """What is beyond the most that are told together is told in another one."""
    events = [BreachOpened(breach(number, fault=CUT_OFF)) for number in range(MOST_TOGETHER + 2)]
    made = announcements(events, ["webhook:a"], NAMES, PAGE, NOW_NS)
    assert [json.loads(row.payload)["total"] for row in made] == [MOST_TOGETHER, 2]


def test_breaches_of_one_provider_in_one_tier_are_one_message() -> None:
    """Where nothing is known to be broken, and a line is only crowded; those of another provider stand apart."""
    other = breach(9, path=replace(HUB_PATH, provider="mobile"))
    events = [BreachClosed(closed(breach(1))), BreachClosed(closed(breach(2))), BreachClosed(closed(other))]
    made = announcements(events, ["webhook:a"], NAMES, PAGE, NOW_NS)
    assert [row.message_id for row in made] == ["b000001_closed", "b000009_closed"]
    body = json.loads(made[0].payload)
    assert (body["event"], body["id"], body["fault"], body["total"]) == (
        "breaches_closed",
        "b000001",
        None,
        2,
    )
    assert body["summary"] == {
        "zh": "枢纽 telecom 2 项违约已结束",
        "en": "Hubs telecom: 2 breaches have ended",
    }
    assert made[0].subjects == {"b000001", "b000002"}
