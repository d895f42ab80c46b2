"""The quickstart's story, told with made-up observations: it holds only if exactly what was told is seen."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.quickstart.story import HUB, Act, Chapter, Observation, Story

KEYS = [(target, direction) for target in ("guanggu", HUB) for direction in ("forward", "reverse")]
ALL_PASS = dict.fromkeys(KEYS, "PASS")
OPENED, CLOSED = {"event": "breach_opened"}, {"event": "breach_closed"}


def breach(state: str, target: str = HUB, direction: str = "forward") -> dict[str, Any]:
    """A breach as the API shows it."""
    return {"target": target, "direction": direction, "state": state}


def seen(
    now_s: float, breaches: list[dict[str, Any]] | None = None, webhooks: list[dict[str, Any]] | None = None
) -> Observation:
    """All PASS, and these breaches and messages."""
    return Observation(now_s, ALL_PASS, breaches or [], webhooks or [])


def told_up_to_the_breach() -> Story:
    """A story in which the hub path has been degraded."""
    story = Story(ALL_PASS, degrades=True)
    assert story.observe(seen(8)) is None
    assert story.chapter.name == "BASELINE"
    assert story.observe(seen(9)) is None
    assert story.observe(seen(20)) is Act.DEGRADE
    return story


def test_the_whole_story() -> None:
    """PASS, degrade, breach and webhook, recover, closed and webhook: then it held."""
    story = told_up_to_the_breach()
    assert story.observe(seen(22, [breach("open")])) is None
    assert story.chapter.name == "DEGRADED"
    story.observe(seen(23, [breach("open")], [OPENED]))
    assert story.chapter.name == "BREACHED"
    assert story.observe(seen(40, [breach("open")], [OPENED])) is Act.RECOVER
    assert story.observe(seen(50, [breach("closed")], [OPENED])) is None
    assert not story.held
    assert story.observe(seen(51, [breach("closed")], [OPENED, CLOSED])) is None
    assert story.held
    assert story.first_verdicts_s == 8


@pytest.mark.parametrize(
    "stranger", [breach("open", "guanggu"), breach("closed", direction="reverse"), breach("open", "yichang")]
)
def test_a_breach_that_nobody_caused(stranger: dict[str, Any]) -> None:
    """Any other breach, open or closed since, breaks the story, and is named once."""
    story = told_up_to_the_breach()
    for now_s in (22, 23):
        story.observe(seen(now_s, [breach("open"), stranger], [OPENED]))
    assert len(story.faults) == 1
    assert stranger["target"] in story.faults[0]
    story.chapter = Chapter.DONE
    assert not story.held


def test_a_breach_without_a_webhook_does_not_go_on() -> None:
    """The story waits for the announcement; ended there, it did not hold."""
    story = told_up_to_the_breach()
    for now_s in range(21, 90):
        assert story.observe(seen(now_s, [breach("open")])) is None
    assert not story.held


def test_without_clocks_nothing_is_degraded() -> None:
    """Where nothing of the hub could be proven, the story is that the expected verdicts hold, and no breach opens."""
    expected = {**ALL_PASS, (HUB, "forward"): "INDETERMINATE"}
    story = Story(expected, degrades=False)
    assert story.observe(Observation(5, dict.fromkeys(KEYS, "NO_DATA"), [], [])) is None
    assert story.first_verdicts_s is None
    assert story.observe(seen(6)) is None
    assert story.chapter is Chapter.WAITING
    assert story.observe(Observation(7, expected, [], [])) is None
    assert story.observe(Observation(20, expected, [], [])) is None
    assert story.held
    story.observe(Observation(21, expected, [breach("open")], []))
    assert not story.held
