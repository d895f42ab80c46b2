"""`make run`: real packets measured, judged and alerted on, on loopback, unprivileged."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent.core import metrics
from agent.runtime.lifecycle import ExitStatus, stop_requested
from agent.runtime.settings import load
from collector.fleet.plan import agent_config
from collector.fleet.settings import FleetSettings
from collector.tables import aligned
from deploy.quickstart.ports import free_addresses, moved
from deploy.quickstart.processes import ProcessDiedError, Processes, RelayControl, processes
from deploy.quickstart.receiver import Receiver, receiving
from deploy.quickstart.story import DEGRADED, HEALTHY, HUB, Act, Chapter, Observation, Story
from deploy.quickstart.terminal import LANGUAGES, Terminal

HERE: Final = Path(__file__).parent
SOURCE: Final = "wuhan"
FIRST_VERDICTS_WITHIN_S: Final = 20.0
_EVERY_S: Final = 1.0
_PROMETHEUS_ADDRESS: Final = "127.0.0.1:9466"

_PASS: Final = {
    (target, direction): "PASS"
    for target in ("guanggu", "yichang", "qingyang")
    for direction in ("forward", "reverse")
}
_WITHOUT_CLOCK: Final = {key: "INDETERMINATE" if key[0] == HUB else verdict for key, verdict in _PASS.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play; 0 only if the story held, or if a run without an end was ended by hand."""
    parser = argparse.ArgumentParser(prog="python -m deploy.quickstart", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="end by itself after so long, with a summary"
    )
    parser.add_argument("--clock", choices=["declared", "unsynchronised"], default="declared")
    parser.add_argument("--prometheus", action="store_true", help="let the collector read from a Prometheus")
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="zh", help="language of the terminal (default zh)"
    )
    chosen = parser.parse_args(arguments)
    if chosen.prometheus and shutil.which("prometheus") is None:
        parser.error(
            "--prometheus needs the program prometheus on the PATH (Debian: apt-get install prometheus)"
        )
    return asyncio.run(play(chosen))


async def play(chosen: argparse.Namespace) -> int:
    """Start everything, follow the story, show it, end everything."""
    stop = stop_requested()
    with tempfile.TemporaryDirectory(prefix="isochrone-") as name:
        folder = Path(name)
        stage = Stage(folder, chosen.clock, prometheus=chosen.prometheus)
        terminal = Terminal(chosen.lang, stage.names)
        receiver = Receiver(stage.webhook_key, lambda message: _show_webhook(terminal, message))
        hook = ("127.0.0.1", stage.port("127.0.0.1:9465"))
        async with (
            aiohttp.ClientSession() as session,
            receiving(receiver, *hook),
            processes(folder) as children,
        ):
            started_s = time.monotonic()
            relay = await stage.start(children)
            zh, en = _clock_words(chosen.clock)
            terminal.say(f"网页：{stage.page}   （{zh}）", f"page: {stage.page}   ({en})")
            synchronised = chosen.clock == "declared"
            story = Story(_PASS if synchronised else _WITHOUT_CLOCK, degrades=synchronised)
            run = Run(stage, children, relay, session, terminal, receiver, story, started_s)
            try:
                await run.until(stop, chosen.seconds)
                return await run.summary(ended_by_hand=chosen.seconds is None)
            except ProcessDiedError as error:
                print(error, file=sys.stderr)
                return ExitStatus.FAILED


def _clock_words(clock: str) -> tuple[str, str]:
    if clock == "declared":
        return "时钟：声明，误差 ±50 µs", "clock: declared, ±50 µs"
    return (
        "时钟：未同步，只看不依赖时钟能证明什么",
        "clock: not synchronised; only what needs no clock is proven",
    )


def _show_webhook(terminal: Terminal, message: dict[str, Any]) -> None:
    summary = message["summary"]
    terminal.say(f"收到 webhook：{summary['zh']}", f"webhook received: {summary['en']}")


class Stage:
    """The shipped files with this run's addresses, clock and source."""

    def __init__(self, folder: Path, clock: str, *, prometheus: bool) -> None:
        fleet_text, links_text = (
            HERE.joinpath(name).read_text(encoding="utf-8") for name in ("fleet.yaml", "links.yaml")
        )
        scrape_text = (HERE.parent / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        self._addresses = free_addresses([fleet_text, links_text, _PROMETHEUS_ADDRESS])
        fleet: dict[str, Any] = yaml.safe_load(moved(fleet_text, self._addresses))
        if clock == "unsynchronised":
            for site in fleet["sites"]:
                site["clock"] = {"source": "unsynchronised"}
        self._prometheus = self._addresses[_PROMETHEUS_ADDRESS] if prometheus else None
        if prometheus:
            fleet["source"] = {"kind": "prometheus", "url": f"http://{self._prometheus}", "interval": "1s"}
        self.folder = folder
        self.names: dict[str, dict[str, str]] = {site["id"]: site["name"] for site in fleet["sites"]}
        self.agents: dict[str, str] = {site["id"]: site["agent"] for site in fleet["sites"]}
        self.page = f"http://{fleet['listen']}/"
        self.webhook_key = secrets.token_bytes(24)
        secret = folder / "webhook.secret"
        secret.touch(mode=0o600)
        secret.write_text(f"whsec_{base64.b64encode(self.webhook_key).decode()}\n")
        self.fleet_file = folder / "fleet.yaml"
        self.fleet_file.write_text(
            yaml.safe_dump(fleet, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
        (folder / "links.yaml").write_text(moved(links_text, self._addresses), encoding="utf-8")
        scrape: dict[str, Any] = yaml.safe_load(moved(scrape_text, self._addresses))
        scrape["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        for job in scrape["scrape_configs"]:
            for discovery in job["http_sd_configs"]:
                discovery["refresh_interval"] = "2s"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(scrape), encoding="utf-8")

    def port(self, address: str) -> int:
        """The port that this run uses for an address of the shipped files."""
        return int(self._addresses[address].rpartition(":")[2])

    async def start(self, children: Processes) -> RelayControl:
        """Start all processes: whoever answers before whoever asks, for silence at the start would be loss."""
        relay = await children.start_python(
            "relay", "deploy.quickstart.relay", self.folder / "links.yaml", piped=True
        )
        fleet = load(self.fleet_file, FleetSettings)
        for site in sorted(fleet.sites, key=lambda site: site.id == SOURCE):
            if site.id == SOURCE:
                await self._ready(children)
            config = self.folder / f"{site.id}.yaml"
            config.write_text(yaml.safe_dump(agent_config(fleet, site)), encoding="utf-8")
            await children.start_python(f"agent-{site.id}", "agent", "run", "--config", config)
        await children.start_python("collector", "collector", "run", "--config", self.fleet_file)
        if self._prometheus is not None:
            await children.start(
                "prometheus",
                "prometheus",
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder / 'tsdb'}",
                f"--web.listen-address={self._prometheus}",
            )
        control = RelayControl(relay)
        await control.order()
        return control

    async def _ready(self, children: Processes) -> None:
        """Wait until all targets reflect."""
        async with aiohttp.ClientSession() as session:
            for site, address in self.agents.items():
                while site != SOURCE:
                    children.check()
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"http://{address}/-/ready") as response:
                            if response.status == 200:
                                break
                    await asyncio.sleep(0.05)


class Run:
    """One run: observes, tells the story what is seen, does what it asks for, shows it."""

    def __init__(
        self,
        stage: Stage,
        children: Processes,
        relay: RelayControl,
        session: aiohttp.ClientSession,
        terminal: Terminal,
        receiver: Receiver,
        story: Story,
        started_s: float,
    ) -> None:
        self._stage = stage
        self._children = children
        self._relay = relay
        self._session = session
        self._terminal = terminal
        self._receiver = receiver
        self._story = story
        self._started_s = started_s
        self._breaches: list[dict[str, Any]] = []

    async def until(self, stop: asyncio.Event, seconds: float | None) -> None:
        """Play until `stop` is set or the seconds are over."""
        while not stop.is_set() and (seconds is None or self._elapsed_s() < seconds):
            self._children.check()
            await self._observe()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY_S)

    async def summary(self, *, ended_by_hand: bool) -> int:
        """Drain, say what was counted, and whether the story held."""
        with contextlib.suppress(aiohttp.ClientError):
            self._breaches = (await self._get("/api/v1/breaches?state=all"))["breaches"]
        counted = await self._counted()
        accuracy = await self._relay.order()
        statuses = await self._children.stop([f"agent-{site}" for site in self._stage.agents])
        law_held = all(status == 0 for status in statuses.values())
        first = self._story.first_verdicts_s
        law = "held to the end: every probe counted once, none in flight" if law_held else "BROKEN"
        closed = sum(breach["state"] == "closed" for breach in self._breaches)
        lateness = (
            f"{accuracy['late']} more than 0.1 ms late, the latest by {accuracy['worst_us'] / 1000:.2f} ms"
        )
        lines = [
            ("sent", f"{counted['sent']:.0f}"),
            *((f"  {name}", f"{number:.0f}") for name, number in counted["outcomes"].items()),
            ("conservation law", law),
            ("breaches", f"{len(self._breaches)} opened, {closed} closed"),
            ("webhooks", f"{len(self._receiver.messages)} delivered, {self._receiver.refused} badly signed"),
            ("first verdicts", "none" if first is None else f"{first:.1f} s after the start"),
            ("emulator", f"{accuracy['carried']} packets, {lateness}"),
        ]
        faults = self._faults(law_held=law_held)
        if not ended_by_hand:
            lines += [("story", fault) for fault in faults] or [("story", "held")]
        print("\n" + aligned(lines))
        return ExitStatus.FAILED if (faults and not ended_by_hand) or not law_held else ExitStatus.OK

    def _faults(self, *, law_held: bool) -> list[str]:
        """What was not as it should be."""
        story = self._story
        faults = [f"NOT as told: {fault}" for fault in story.faults]
        if story.chapter is not Chapter.DONE:
            faults.append(f"NOT played to its end, it stopped at: {story.chapter.value}")
        if story.first_verdicts_s is None or story.first_verdicts_s > FIRST_VERDICTS_WITHIN_S:
            faults.append(f"NOT in time: first verdicts were promised within {FIRST_VERDICTS_WITHIN_S:.0f} s")
        if not law_held:
            faults.append("NOT conserved: an agent's counts do not add up")
        return faults

    async def _observe(self) -> None:
        try:
            verdicts = (await self._get("/api/v1/verdicts"))["verdicts"]
            self._breaches = (await self._get("/api/v1/breaches?state=all"))["breaches"]
        except (aiohttp.ClientError, TimeoutError):
            return
        verdicts.sort(key=lambda verdict: list(self._stage.names).index(verdict["target"]))
        before = self._story.chapter
        act = self._story.observe(
            Observation(
                self._elapsed_s(),
                {(one["target"], one["direction"]): one["verdict"] for one in verdicts},
                self._breaches,
                list(self._receiver.messages.values()),
            )
        )
        if self._story.chapter is not before:
            self._tell(verdicts)
        if act is not None:
            delay = DEGRADED if act is Act.DEGRADE else HEALTHY
            await self._relay.order(link=HUB, direction="forward", delay=delay)
        self._terminal.table(verdicts, f"{self._stage.page}   {self._elapsed_s():.0f} s")

    def _tell(self, verdicts: Sequence[dict[str, Any]]) -> None:
        say = self._terminal.say
        match self._story.chapter:
            case Chapter.BASELINE if self._story.degrades:
                say("三条路径、两个方向全部达标", "all PASS, three paths in both directions")
            case Chapter.BASELINE:
                say("没有任何时钟也能证明的：", "what is proven without any clock:")
                for verdict in verdicts:
                    where = f"{verdict['target']} {verdict['direction']}: {verdict['verdict']}: "
                    say(where + verdict["reason"]["zh"], where + verdict["reason"]["en"])
            case Chapter.DEGRADED:
                say(
                    "武汉 → 庆阳的去程从 7 ms 劣化到 11 ms（限值 10 ms）",
                    "Wuhan → Qingyang degrades from 7 to 11 ms, forward only (limit 10 ms)",
                )
            case Chapter.BREACHED:
                say(
                    "违约已出现，只在去程；通知已送达",
                    "the breach is open, forward only, and has been announced",
                )
            case Chapter.RECOVERING:
                say("去程恢复到 7 ms", "the forward direction is back at 7 ms")
            case Chapter.DONE if self._story.degrades:
                say("违约已关闭；故事结束", "the breach is closed; the story is over")
            case _:
                say("故事结束", "the story is over")

    async def _counted(self) -> dict[str, Any]:
        """Sums over the source agent's paths, as it exports them."""
        sent = 0.0
        outcomes: dict[str, float] = {}
        async with self._session.get(f"http://{self._stage.agents[SOURCE]}/metrics") as response:
            text = await response.text()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == metrics.PROBE_SENT:
                    sent += sample.value
                elif sample.name == metrics.PROBE_OUTCOMES and sample.value:
                    key = " ".join(sample.labels[label] for label in ("target", "direction", "outcome"))
                    outcomes[key] = sample.value
        return {"sent": sent, "outcomes": outcomes}

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._session.get(self._stage.page.rstrip("/") + path) as response:
            response.raise_for_status()
            document: dict[str, Any] = await response.json()
            return document

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s


if __name__ == "__main__":
    sys.exit(main())
