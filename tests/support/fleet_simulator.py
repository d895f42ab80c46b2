"""Very many agents in one process: their expositions over real HTTP, with delays, losses and restarts.

    python -m tests.support.fleet_simulator AGENTS PATHS PACKETS_PER_SECOND

Every agent has a port of its own on 127.0.0.1; the first line that is printed lists them. What it counts follows from
the time since it started: at each scrape its paths have sent as many more packets as have been due, each of which takes
some delay or is lost. A request for `/sums`, at any port, stops all counting and gives, as JSON, what every agent's
paths have counted over all their starts.

The text is that of the real agent's code, made once with a mark in the place of every value; all agents have as many
paths of the same names, so that only the values and the site differ.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import sys
import time
from typing import Final

import numpy as np
from aiohttp import web

from agent.core.histogram import BUCKETS
from agent.core.outcome import Limit, Operator, Outcome
from collector.ledger.minutes import DIRECTIONS, SENT, WIDTH, Integers, by_direction
from collector.sla.verdict import PathKey
from collector.sources.samples import NEEDED
from tests.support.simulated import SimulatedAgent, SimulatedPath

LIMIT: Final = Limit(10_000_000, Operator.AT_MOST)
_SITE: Final = "SITE"
_VALUE: Final = re.compile(
    r"^(isochrone_(?:probe_sent_total|probe_outcomes_total|delay_seconds_[a-z]+)\{.*\}) \S+$", re.MULTILINE
)
_LOSS, _LATE = 0.0002, 0.0003
_BAD_LATE, _BAD_AGENTS, _BAD_PATH = 0.05, 10, 7
"""One path of every tenth agent breaks its promises; a city where all do has other worries."""

_SPREAD: Final = (0.7, 0.2, 0.08, 0.02)
_FIRST_BUCKET: Final = 16
_RESTART_CHANCE: Final = 0.002


def key(site: str, path: int) -> PathKey:
    """The path of this number."""
    return PathKey(site, f"target{path}", "hub", "telecom", "stamp", 0)


def site_of(agent: int) -> str:
    """The site of the agent of this number."""
    return f"site{agent}"


class Template:
    """The text of an agent of so many paths, to be filled with values."""

    def __init__(self, paths: int) -> None:
        made = [SimulatedPath(key(_SITE, path), LIMIT) for path in range(paths)]
        agent = SimulatedAgent(made, epoch=1_700_000_000.25)
        for path in made:
            path.restart(1_700_000_000_000_000_000)
        text = agent.exposition(NEEDED).replace("%", "%%")
        text = _VALUE.sub(r"\1 %d", text)
        text = re.sub(r"(?m)^(isochrone_path_start_time_seconds\{.*\}) \S+$", r"\1 %.3f", text)
        self._text = re.sub(r"(?m)^process_start_time_seconds \S+$", "process_start_time_seconds %.3f", text)

    def filled(self, site: str, epoch: float, counts: Integers) -> bytes:
        """The exposition of an agent that has counted this (paths, WIDTH) since it started."""
        directions = by_direction(counts)
        delays = directions[:, :, len(Outcome) :].cumsum(axis=2)
        # In the order of the text: buckets and then their number, and the sum, of which nothing is read.
        total = delays[:, :, -1:]
        histogram = np.concatenate([delays, total, total], axis=2).transpose(1, 0, 2)
        values = [
            *counts[:, SENT].tolist(),
            *directions[:, :, : len(Outcome)].ravel().tolist(),
            *histogram.ravel().tolist(),
            *[epoch] * len(counts),
            epoch,
        ]
        return (self._text % tuple(values)).replace(_SITE, site).encode()


class Agent:
    """One agent.

    Attributes:
        counts: of its paths (paths, WIDTH) since it started.
        before: of its former starts.
        frozen: whether it counts no further.
        restarts: how often it was replaced.
    """

    def __init__(self, number: int, paths: int, per_s: float) -> None:
        self.site = site_of(number)
        self.counts: Integers = np.zeros((paths, WIDTH), np.int64)
        self.before: Integers = np.zeros((paths, WIDTH), np.int64)
        self._per_s = per_s
        self._late = np.full(paths, _LATE)
        if number % _BAD_AGENTS == 0:
            self._late[_BAD_PATH % paths] = _BAD_LATE
        self._rng = np.random.default_rng(number)
        self._chance = random.Random(number)
        self._epoch = self._counted_until = round(time.time(), 2)
        self.frozen = False
        self.restarts = 0

    def scraped(self, template: Template) -> bytes:
        """Its exposition now. It may be replaced by a new process right after, which loses nothing that was read."""
        if self.frozen:
            return template.filled(self.site, self._epoch, self.counts)
        now = time.time()
        self._send(max(0, round((now - self._counted_until) * self._per_s)))
        self._counted_until = now
        text = template.filled(self.site, self._epoch, self.counts)
        if self._chance.random() < _RESTART_CHANCE:
            self.before += self.counts
            self.counts = np.zeros_like(self.counts)
            self._epoch = self._counted_until = round(now + 0.01, 2)
            self.restarts += 1
        return text

    def _send(self, packets: int) -> None:
        """So many packets of each path, and what becomes of them."""
        paths = len(self.counts)
        self.counts[:, SENT] += packets
        directions = by_direction(self.counts)
        lost = self._rng.binomial(packets, _LOSS, paths)
        late = self._rng.binomial(packets - lost, self._late)
        arrived = packets - lost
        drawn = self._rng.multinomial(arrived, _SPREAD)
        first = len(Outcome) + _FIRST_BUCKET
        for place in range(len(DIRECTIONS)):
            outcomes = directions[:, place]
            outcomes[:, Outcome.WITHIN] += arrived - late
            outcomes[:, Outcome.OVER] += late
            outcomes[:, Outcome.UNATTRIBUTED if place < len(DIRECTIONS) - 1 else Outcome.LOST] += lost
            outcomes[:, first : first + len(_SPREAD)] += drawn


async def serve(agents: int, paths: int, per_s: float) -> None:
    """Serve until the process is ended."""
    template = Template(paths)
    fleet = [Agent(number, paths, per_s) for number in range(agents)]
    scrapes = 0
    took_s = 0.0

    async def metrics(request: web.Request) -> web.Response:
        nonlocal scrapes, took_s
        begun = time.process_time()
        assert request.transport is not None
        body = at[request.transport.get_extra_info("sockname")[1]].scraped(template)
        scrapes += 1
        took_s += time.process_time() - begun
        return web.Response(body=body, content_type="text/plain")

    async def sums(_: web.Request) -> web.Response:
        for one in fleet:
            one.frozen = True
        counted = {one.site: (one.before + one.counts).sum(axis=0).tolist() for one in fleet}
        restarts = sum(one.restarts for one in fleet)
        return web.json_response(
            {"sums": counted, "restarts": restarts, "scrapes": scrapes, "seconds": took_s}
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/sums", sums)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for _ in fleet:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    at = {port: one for (_, port), one in zip(runner.addresses, fleet, strict=True)}
    print(json.dumps([*at]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    assert _FIRST_BUCKET + len(_SPREAD) < BUCKETS
    # A socket for each agent, and connections.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
