"""`deploy/README.md`, followed from its first command to its last on four machines that really boot systemd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from agent.core import metrics
from tests.support.booted import Machine, booted, until
from tests.support.exposition import assert_law, total
from tests.support.guide import PAGES, Block, blocks

CENTRE = "centre"
EDGES = ("edge-1", "edge-2", "edge-3")
ADDRESSES = {CENTRE: "192.0.2.10", "edge-1": "192.0.2.11", "edge-2": "192.0.2.12", "edge-3": "192.0.2.13"}
OUTSIDE = "192.0.2.1"
WHERE = {CENTRE: (CENTRE,), "every edge node": EDGES, "every host": tuple(ADDRESSES), "edge-1": ("edge-1",)}
BUILT = "the build host"
VERDICTS = "isochrone-collector verdicts"
ROTATION = "once for each step"
HURRIED = (
    ("percentile: 99.9, window: 5m", "percentile: 95, window: 10s"),
    ("interval: 10s", "interval: 1s"),
)
"""A test has seconds where operators have minutes: a window of ten of them, judged every second."""

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Fleet:
    """The machines of the page, and what its commands have printed on them."""

    machines: dict[str, Machine]

    def run(self, block: Block) -> dict[str, str]:
        """Run commands where they belong, on several machines at once; what they printed, by machine."""
        commands = block.commands
        for slow, quick in HURRIED:
            commands = commands.replace(slow, quick)
        names = WHERE[block.where]
        with ThreadPoolExecutor(len(names)) as pool:
            printed = pool.map(lambda name: self._run(name, commands), names)
            return dict(zip(names, printed, strict=True))

    def carry(self, keys: str) -> None:
        """What the page does by `scp`."""
        for name in EDGES:
            centre, edge = self.machines[CENTRE].root / "root", self.machines[name].root / "root"
            shutil.copy(centre / "fleet" / f"{name}.yaml", edge / "agent.yaml")
            shutil.copy(centre / "fleet" / keys, edge / "keys.yaml")

    def scraped(self, name: str) -> str:
        """What an agent shows, read from where Prometheus reads it."""
        return self.machines[CENTRE].run("curl", "-sS", "--fail", f"http://{ADDRESSES[name]}:9461/metrics")

    def sent(self) -> float:
        """Probes of the signed path."""
        return total(self.scraped("edge-1"), metrics.PROBE_SENT, target="edge-2")

    def has_sent(self, goal: float) -> bool:
        """Whether there are so many."""
        return self.sent() >= goal

    def refused(self) -> float:
        """Requests and replies whose signature nobody could verify, on all paths."""
        shown = [self.scraped(name) for name in EDGES]
        requests = sum(total(text, metrics.REFLECTOR_PACKETS, result="not_authentic") for text in shown)
        return requests + sum(total(text, metrics.SENDER_REPLIES, reason="not_authentic") for text in shown)

    def _run(self, name: str, commands: str) -> str:
        environment = ["env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        done = subprocess.run(
            self.machines[name].command(*environment, "bash", "-euxc", commands),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {commands}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def fleet(tree: Path, packed: Path) -> Iterator[Fleet]:
    """The machines, with the packed release on each, and whatever the page's commands have made of them."""
    with booted(tree, OUTSIDE, ADDRESSES) as machines:
        for machine in machines.values():
            shutil.copy(packed / "build" / "isochrone.tar", machine.root / "root")
        followed = Fleet(machines)
        for block in blocks():
            if (
                block.where not in ("", BUILT)
                and VERDICTS not in block.commands
                and ROTATION not in block.commands
            ):
                followed.run(block)
                _between(followed, block)
        yield followed


def _between(fleet: Fleet, block: Block) -> None:
    """What a person would do at this place."""
    if block.where == "every host" and "tar -xf" in block.commands:
        config = fleet.machines[CENTRE].root / "srv/isochrone/deploy/prometheus/prometheus.yml"
        config.write_text(re.sub(r"(interval|timeout): \w+", r"\1: 1s", config.read_text(encoding="utf-8")))
    if "isochrone-collector plan" in block.commands:
        fleet.carry("keys.yaml")


def test_the_city_keeps_its_promise(fleet: Fleet) -> None:
    """Every path is probed through the firewalls, signed or not, STAMP or ICMP; the collector reads Prometheus and
    judges, with the exit status that the page promises; and every probe is counted once."""
    (asking,) = (block for block in blocks() if VERDICTS in block.commands)
    as_json = asking.commands.replace(VERDICTS, f"{VERDICTS} --json").rstrip()

    def verdicts() -> list[str]:
        printed = fleet.run(Block(asking.where, f"{as_json} || true"))[CENTRE]
        return [one["verdict"] for one in json.loads(printed)["verdicts"] if one["objective"] == "detection"]

    until(lambda: verdicts() == ["PASS"] * 12, "both directions of all six paths pass")
    fleet.run(asking)
    for name in EDGES:
        text = fleet.scraped(name)
        assert_law(text)
        assert total(text, metrics.PROBE_OUTCOMES, direction="round_trip", outcome="within") > 100


def test_keys_are_rotated_without_a_refused_packet(fleet: Fleet) -> None:
    """The page's three steps, each on all nodes: whatever was signed with the old key or the new is believed."""
    (step,) = (block for block in blocks() if ROTATION in block.commands)
    before = fleet.refused()
    for number in (1, 2, 3):
        fleet.carry(f"keys-{number}.yaml")
        fleet.run(step)
        goal = fleet.sent() + 100
        until(partial(fleet.has_sent, goal), "it goes on")
    assert fleet.refused() == before
    assert "reloaded" in fleet.machines["edge-1"].journal("isochrone-agent.service")


def test_alertmanager_and_prometheus_run_as_the_page_leaves_them(fleet: Fleet) -> None:
    """Prometheus has the shipped rules and scrapes all four programs; Alertmanager runs, told of nothing yet."""
    centre = fleet.machines[CENTRE]
    rules = json.loads(centre.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/rules"))
    assert len(rules["data"]["groups"]) > 5
    targets = json.loads(centre.run("curl", "-sS", "http://127.0.0.1:9090/api/v1/targets"))
    assert [one["health"] for one in targets["data"]["activeTargets"]] == ["up"] * 4
    assert centre.property("prometheus-alertmanager.service", "ActiveState") == "active"


def test_who_is_not_let_in_stays_out(fleet: Fleet) -> None:
    """A stranger on the same network gets neither metrics nor replies; people get the page."""
    stranger = fleet.machines[CENTRE].outside

    def asks(*command: str) -> int:
        return subprocess.run(stranger(*command), capture_output=True, check=False).returncode

    assert asks("curl", "-sS", "--max-time", "1", "http://192.0.2.11:9461/metrics") != 0
    assert asks("curl", "-sS", "--max-time", "1", "http://192.0.2.10:9090/-/ready") != 0
    assert asks("curl", "-sS", "--fail", "--max-time", "5", "http://192.0.2.10:9460/") == 0


def test_the_pages_differ_in_words_only() -> None:
    """Every command of the English page stands in the Chinese one, in the same order."""
    assert blocks(PAGES["zh"]) == blocks(PAGES["en"])


def test_links_of_the_pages_lead_somewhere() -> None:
    """What they point to in the repository is there."""
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target
