"""A run of the quickstart: real packets measured, judged and alerted on, on loopback, unprivileged."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from agent.runtime.lifecycle import ExitStatus, execute, stop_requested
from collector.tables import aligned
from deploy.quickstart import watching
from deploy.quickstart.ports import CannotListenError, turn
from deploy.quickstart.processes import ProcessDiedError, Processes, RelayControl, processes
from deploy.quickstart.receiver import Receiver, receiving
from deploy.quickstart.stage import SOURCE, Stage
from deploy.quickstart.story import DEGRADED, HEALTHY, HUB, Act, Chapter, Observation, Story
from deploy.quickstart.summary import Ending
from deploy.quickstart.tally import Tally
from deploy.quickstart.terminal import LANGUAGES, Terminal

_EVERY_S: Final = 1.0
_ANSWER_WITHIN: Final = aiohttp.ClientTimeout(total=5)

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
        "--grafana", action="store_true", help="show the dashboards in a Grafana; implies --prometheus"
    )
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="zh", help="language of the terminal (default zh)"
    )
    chosen = parser.parse_args(arguments)
    if (chosen.prometheus or chosen.grafana) and shutil.which("prometheus") is None:
        option = "--grafana" if chosen.grafana else "--prometheus"
        parser.error(
            f"{option} needs the program prometheus on the PATH (Debian: apt-get install prometheus)"
        )
    return execute(lambda: play(chosen))


async def play(chosen: argparse.Namespace) -> int:
    """Start everything, follow the story, show it, end everything."""
    stop = stop_requested()
    # a closed terminal ends it as cleanly as Ctrl-C does
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    with tempfile.TemporaryDirectory(prefix="isochrone-") as name, await turn(stop) as holder:
        if stop.is_set():
            return ExitStatus.INTERRUPTED
        folder = Path(name)
        stage = Stage(folder, chosen.clock, prometheus=chosen.prometheus or chosen.grafana)
        terminal = Terminal(chosen.lang, stage.names)
        receiver = Receiver(stage.webhook_key, lambda message: _show_webhook(terminal, message))
        async with (
            aiohttp.ClientSession(timeout=_ANSWER_WITHIN) as session,
            contextlib.AsyncExitStack() as served,
            processes(folder) as children,
        ):
            try:
                grafana = await stage.start_grafana(children, stop, chosen.lang) if chosen.grafana else None
                started_s = time.monotonic()
                await _serve(receiver, stage.port("127.0.0.1:9465"), served)
                relay = await stage.start(children, stop)
                holder.close()
                zh, en = _clock_words(chosen.clock)
                terminal.say(f"网页：{stage.page}   （{zh}）", f"page: {stage.page}   ({en})")
                if grafana is not None:
                    terminal.say(f"Grafana：{grafana}", f"Grafana: {grafana}")
                elif chosen.grafana:
                    terminal.say(*watching.instead(stage.prometheus))
                synchronised = chosen.clock == "declared"
                story = Story(_PASS if synchronised else _WITHOUT_CLOCK, degrades=synchronised)
                run = Run(stage, children, relay, session, terminal, receiver, story, started_s)
                await run.until(stop, chosen.seconds)
                return await run.summary(ended_by_hand=chosen.seconds is None)
            except ProcessDiedError as error:
                print(error, file=sys.stderr)
                return ExitStatus.FAILED


async def _serve(receiver: Receiver, port: int, served: contextlib.AsyncExitStack) -> None:
    try:
        await served.enter_async_context(receiving(receiver, "127.0.0.1", port))
    except OSError as error:
        raise CannotListenError(
            f"webhook receiver: cannot listen on 127.0.0.1:{port}: {error.strerror}"
        ) from error


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


def _is_of_line(verdict: dict[str, Any]) -> bool:
    """Whether it is of a line's throughput: what is told of delays has nothing to do with it."""
    return bool(verdict["measure"] == "throughput")


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
        self._lines: list[dict[str, Any]] = []

    async def until(self, stop: asyncio.Event, seconds: float | None) -> None:
        """Play until `stop` is set or the seconds are over."""
        while not stop.is_set() and (seconds is None or self._elapsed_s() < seconds):
            self._children.check()
            await self._observe()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY_S)

    async def summary(self, *, ended_by_hand: bool) -> int:
        """Drain, say what was counted, and whether the story held."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            self._breaches = (await self._get("/api/v1/breaches?state=all"))["breaches"]
        tally = await self._tally()
        accuracy = await self._relay.order()
        statuses = await self._children.stop([f"agent-{site}" for site in self._stage.agents])
        broken = [] if tally is None else tally.broken_laws()
        # an agent that has drained checks the law once more, on its last counts: its status is what it found
        broken += [f"{name} ended with status {status}" for name, status in statuses.items() if status]
        ending = Ending(
            tally,
            broken,
            self._story,
            self._breaches,
            len(self._receiver.messages),
            self._receiver.refused,
            accuracy,
            self._lines,
            by_hand=ended_by_hand,
        )
        print("\n" + aligned(ending.lines(self._terminal.lang)))
        return ExitStatus.OK if ending.held() else ExitStatus.FAILED

    async def _observe(self) -> None:
        try:
            verdicts = (await self._get("/api/v1/verdicts"))["verdicts"]
            self._breaches = (await self._get("/api/v1/breaches?state=all"))["breaches"]
        except (aiohttp.ClientError, TimeoutError):
            return
        verdicts.sort(key=lambda verdict: list(self._stage.names).index(verdict["target"]))
        self._lines = [one for one in verdicts if _is_of_line(one)]
        before = self._story.chapter
        act = self._story.observe(
            Observation(
                self._elapsed_s(),
                {
                    (one["target"], one["direction"]): one["verdict"]
                    for one in verdicts
                    if not _is_of_line(one)
                },
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
                for verdict in (one for one in verdicts if not _is_of_line(one)):
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

    async def _tally(self) -> Tally | None:
        """What the source agent has counted; None where it does not answer (yet)."""
        url = f"http://{self._stage.agents[SOURCE]}/metrics"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(url) as response:
                return Tally.of(await response.text())
        return None

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._session.get(self._stage.page.rstrip("/") + path) as response:
            response.raise_for_status()
            document: dict[str, Any] = await response.json()
            return document

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s
