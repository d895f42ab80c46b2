"""The agent's rota: tests lines at their slots, one at a time, and never while users need one.

The slots stand in the agent's own file and recur for ever, so nothing else is needed to keep to them: neither the
collector nor a network.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.ledger import PathLabels
from agent.core.throughput.bystanders import Deferral, InterfaceOctets, Next
from agent.core.throughput.lease import Way
from agent.core.throughput.result import ErrorReason, failed
from agent.core.throughput.trial import Trial
from agent.core.throughput.turn import Attempt, LineRecord, Result, Untested, is_worth_another
from agent.core.throughput.turn_history import TurnHistory
from agent.core.timestamps import SECOND_NS
from agent.net.interfaces import interface_towards, read_octets
from agent.runtime.apart import apart
from agent.runtime.exceptions import ConfigError
from agent.throughput.trial_document import turn_document
from agent.throughput_settings import ThroughputPathSettings

log = logging.getLogger(__name__)

LineTest = Callable[[ThroughputPathSettings, str], Awaitable[Attempt]]
"""Tests a line once, with the token with which its target grants tests; whatever fails is an outcome."""

Load = Callable[[ThroughputPathSettings, str | None, int | None], Awaitable[None]]
"""Takes note that a line, by way of an interface, begins to be filled (None), or is until then (Unix wall time, ns)."""

_LOOK_AGAIN_S: Final = 60.0
"""The wall clock may be set: so long is slept at most before it is looked at again."""

_TOLERATED_NS: Final = 5 * SECOND_NS
"""By which a test may begin after its slot's jitter is over, where another one was under way."""

_AROUND_NS: Final = 2 * SECOND_NS
_USERS_EVERY_S: Final = 1.0
_BEYOND_S: Final = 10.0


@dataclass(slots=True)
class _Turn:
    """A line, and its next turn: when its slot begins, and by how much later the test; ns."""

    line: ThroughputPathSettings
    record: LineRecord
    begin_ns: int = 0
    later_ns: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rota asks of the world, so that a test can be another one.

    Attributes:
        unix_ns, monotonic_ns: the times.
        sleep: for so many seconds.
        octets: what an interface has carried; None: there is none of that name.
        interface: which one leads to a peer.
    """

    unix_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    octets: Callable[[str], InterfaceOctets | None] = read_octets
    interface: Callable[[str, int], str | None] = interface_towards


async def _nobody_asks(line: ThroughputPathSettings, interface: str | None, until_ns: int | None) -> None:
    """Takes no notice."""


class Rota:
    """Tests lines at their slots.

    Args:
        site: the label `source`.
        test: tests a line once.
        rng: draws the jitter.
        folder: of the files of tokens.
        around: the world.
        load: called when a line begins to be filled, with its interface and None, and when that is over, with the time
            until which it has to be taken for disturbed (Unix wall time, ns).

    Attributes:
        history: the latest turns, with what they were reached with.
    """

    def __init__(
        self,
        site: str,
        test: LineTest,
        rng: random.Random,
        folder: Path = Path(),
        around: Surroundings = Surroundings(),
        load: Load | None = None,
    ) -> None:
        self._site = site
        self._test = test
        self._rng = rng
        self._folder = folder
        self._around = around
        self._load = load or _nobody_asks
        self._turns: dict[PathLabels, _Turn] = {}
        self._changed = asyncio.Event()
        self.history = TurnHistory()

    @property
    def records(self) -> Sequence[tuple[PathLabels, LineRecord]]:
        """What has come of the tests of each line."""
        return [(labels, turn.record) for labels, turn in self._turns.items()]

    def follow(self, lines: Sequence[ThroughputPathSettings]) -> None:
        """Test these lines from now on; one that stays keeps what is known of it, but for its floors."""
        now_ns = self._around.unix_ns()
        before, self._turns = self._turns, {}
        for line in lines:
            labels = line.labels(self._site)
            known = before.get(labels)
            if known is not None and known.line == line:
                self._turns[labels] = known
                continue
            floors = {way: line.floor(way) for way in line.direction.ways}
            record = LineRecord(floors, line.confirmation())
            if known is not None and known.record.floors == floors and known.line.confirm == line.confirm:
                record = known.record
            turn = self._turns[labels] = _Turn(line, record)
            self._await_next(turn, now_ns)
        self._changed.set()

    async def run(self) -> None:
        """Test until it is cancelled."""
        while True:
            now_ns = self._around.unix_ns()
            for one in self._turns.values():
                if one.begin_ns - now_ns > one.line.slot.every:
                    self._await_next(one, now_ns)  # the clock was set back
            turn = min(self._turns.values(), key=lambda one: one.begin_ns + one.later_ns, default=None)
            wait_ns = None if turn is None else turn.begin_ns + turn.later_ns - now_ns
            if turn is None or wait_ns is None or wait_ns > 0:
                wait_s = _LOOK_AGAIN_S if wait_ns is None else min(_LOOK_AGAIN_S, wait_ns / SECOND_NS)
                await self._pause(wait_s)
                continue
            try:
                await self._take(turn, now_ns)
            except Exception:
                # one line's trouble, whatever it is, keeps no other from its turn
                log.exception("throughput of %s: the turn failed", turn.line.target)
            self._await_next(turn, max(self._around.unix_ns(), turn.begin_ns))

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not beyond a change of what there is to do."""
        self._changed.clear()
        sleeping = asyncio.ensure_future(self._around.sleep(seconds))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleeping, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, changing):
                task.cancel()
            await asyncio.gather(sleeping, changing, return_exceptions=True)

    def _await_next(self, turn: _Turn, now_ns: int) -> None:
        turn.begin_ns = turn.line.slot.next_ns(now_ns)
        turn.later_ns = int(self._rng.random() * turn.line.slot.jitter)

    async def _take(self, turn: _Turn, now_ns: int) -> None:
        """Take a line's turn, which has begun, where it still can be."""
        line = turn.line
        left_ns = turn.begin_ns + line.slot.jitter + _TOLERATED_NS - now_ns
        if left_ns < 0:
            self._skip(turn, Untested.LATE)
            return
        until_ns = self._around.monotonic_ns() + left_ns
        interface = line.users.interface or await apart(
            self._around.interface, line.address.host, line.address.port
        )
        if not await self._is_free(line, interface, until_ns):
            self._skip(turn, Untested.USERS_TRAFFIC)
        else:
            end_ns = turn.begin_ns + line.slot.jitter + _TOLERATED_NS + line.turn_ns
            attempts = await self._loaded(line, interface, end_ns - line.test_ns)
            now_ns = self._around.unix_ns()
            results = turn.record.take(attempts, now_ns)
            document = turn_document(attempts, results, line.layer, now_ns)
            self.history.add(line.labels(self._site), document)
            self._tell(turn, results)

    async def _loaded(
        self, line: ThroughputPathSettings, interface: str | None, until_ns: int
    ) -> Sequence[Attempt]:
        """Test a line, and a second time where that is worth it and begins before `until_ns`.

        What others send there from 2 s before until 2 s after is under load: the line's queues need not be empty at
        once, and what was sent before may still be under way.
        """
        await self._load(line, interface, None)
        try:
            await self._around.sleep(_AROUND_NS / SECOND_NS)
            attempts = [await self._attempt(line)]
            if await self._is_to_be_repeated(attempts[0], until_ns):
                attempts.append(await self._attempt(line))
        finally:
            await self._load(line, interface, self._around.unix_ns() + _AROUND_NS)
        return attempts

    async def _is_to_be_repeated(self, tested: Attempt, until_ns: int) -> bool:
        """Whether a second test is worth it and ends before others' slots begin; a refused one waits for its time."""
        wait_s = 0.0
        if not is_worth_another(tested.outcomes):
            if tested.retry_after_s is None:
                return False
            wait_s = tested.retry_after_s
        if self._around.unix_ns() + wait_s * SECOND_NS > until_ns:
            return False
        await self._around.sleep(wait_s)
        return True

    async def _is_free(self, line: ThroughputPathSettings, interface: str | None, until_ns: int) -> bool:
        """Whether users do not need the line, before the slot is over."""
        deferral = Deferral(line.users.above, until_ns)
        while True:
            octets = None if interface is None else self._around.octets(interface)
            match deferral.look(octets, self._around.monotonic_ns()):
                case Next.TEST:
                    return True
                case Next.LEAVE:
                    return False
            await self._around.sleep(_USERS_EVERY_S)

    async def _attempt(self, line: ThroughputPathSettings) -> Attempt:
        """Test once; our own mistakes are outcomes too, for the rota goes on."""
        try:
            token = await asyncio.to_thread(line.token, self._folder)
            async with asyncio.timeout(line.test_ns / SECOND_NS + _BEYOND_S):
                return await self._test(line, token)
        except ConfigError as error:
            return self._none(line, str(error))
        except TimeoutError:
            return self._none(line, "the test did not end")
        except Exception as error:
            log.exception("throughput of %s: the test failed", line.target)
            return self._none(line, f"{type(error).__name__}: {error}")

    def _none(self, line: ThroughputPathSettings, detail: str) -> Trial:
        ways = line.direction.ways
        return Trial({way: failed(way, ErrorReason.INTERNAL, detail, line.floor(way)) for way in ways})

    def _skip(self, turn: _Turn, why: Untested) -> None:
        turn.record.skip(why)
        log.info("throughput of %s: not tested: %s", turn.line.target, why)

    def _tell(self, turn: _Turn, results: Mapping[Way, Result]) -> None:
        for way, result in results.items():
            outcome = turn.record.said[way]
            rate = (
                ""
                if outcome.ip_layer is None
                else f", {outcome.ip_layer.mean / 1e6:.1f} Mbit/s at the IP layer"
            )
            why = f", {outcome.cause}" if outcome.cause is not None else ""
            error = f", {outcome.error}: {outcome.detail}" if outcome.error is not None else ""
            level = logging.INFO if result in (Result.PASS, Result.MEASURED) else logging.WARNING
            log.log(level, "throughput of %s, %s: %s%s%s%s", turn.line.target, way, result, rate, why, error)
