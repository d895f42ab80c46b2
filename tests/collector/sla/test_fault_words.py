"""What a fault is, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.outcome import Direction
from collector.sla.fault_words import describe
from collector.sla.faults import FaultKind
from collector.sla.names import Name
from collector.sla.verdict import Fault
from tests.support.verdicts import HUB_PATH, NAMES, NOW_NS

FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE


def fault(
    kind: FaultKind, site: str | None = None, direction: Direction | None = None, sites: int = 0
) -> Fault:
    """One of a site, or of the path to the hub."""
    outage = kind in (FaultKind.PATH_DOWN, FaultKind.DIRECTION_DOWN) and site is None
    return Fault("f1", kind, NOW_NS, site, HUB_PATH if outage else None, direction, 1, sites)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            fault(FaultKind.SOURCE_DOWN),
            "the collector's own source is down: all agents (verdicts stay, then become NO_DATA: neither good nor bad)",
        ),
        (
            fault(FaultKind.SOURCE_DOWN, sites=2),
            (
                "the collector's own source is down: it leaves out 2 agents (verdicts stay, then become NO_DATA: "
                "neither good nor bad)"
            ),
        ),
        (
            fault(FaultKind.AGENT_DOWN, "wuhan"),
            "agent down: Wuhan (it is not read, others are)",
        ),
        (
            fault(FaultKind.UPLINK_DOWN, "wuhan", sites=3),
            "site cut off: Wuhan (no path between it and 3 sites is answered)",
        ),
        (
            fault(FaultKind.UPLINK_DOWN, "wuhan", sites=1),
            "site cut off: Wuhan (no path between it and 1 site is answered)",
        ),
        (
            fault(FaultKind.TARGET_DOWN, "qingyang", sites=1),
            "target down: Qingyang (a single site probes it: the path may be down instead)",
        ),
        (
            fault(FaultKind.TARGET_DOWN, "qingyang", sites=2),
            "target down: Qingyang (2 sites get no answer)",
        ),
        (
            fault(FaultKind.DIRECTION_DOWN, None, FORWARD),
            "one direction down: Wuhan → Qingyang, forward (the target is up and receives no probe)",
        ),
        (
            fault(FaultKind.DIRECTION_DOWN, "qingyang", REVERSE),
            "one direction down: Qingyang, reverse (probes reach the target, its replies do not return)",
        ),
        (
            fault(FaultKind.PATH_DOWN),
            "path down: Wuhan → Qingyang (no answer, and nothing tells the direction)",
        ),
        (
            fault(FaultKind.CLOCK_BAD, "wuhan"),
            "agent's clock bad: Wuhan (it vouches for no bound of its error)",
        ),
        (
            fault(FaultKind.CLOCK_BAD, "wuhan", sites=2),
            (
                "agent's clock bad: Wuhan "
                "(delays between it and 2 sites below what light in fibre takes: it is further off than it says)"
            ),
        ),
        (
            replace(fault(FaultKind.CLOCK_BAD), path=HUB_PATH),
            (
                "agent's clock bad: Wuhan → Qingyang "
                "(a delay below what light in fibre takes: one of its two clocks is further off than it says)"
            ),
        ),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
def test_a_fault_says_what_is_broken_and_what_says_so(one: Fault, said: str) -> None:
    """In English word for word; in Chinese with the same names."""
    words = describe(one, NAMES.site)
    assert words.en == said
    assert words.zh.partition("：")[2]
    if one.site == "wuhan":
        assert "武汉" in words.zh


def test_a_site_that_nobody_named_is_called_by_its_identifier() -> None:
    """As in a verdict's reason."""
    assert describe(fault(FaultKind.AGENT_DOWN, "wuhan")).en.startswith("agent down: wuhan (")
    assert describe(fault(FaultKind.AGENT_DOWN, "wuhan"), lambda _: Name("甲", "A")).zh.startswith(
        "代理停止：甲"
    )
