"""A user-space UDP relay that emulates distance: what enters a link on one side leaves it on the other, later.

    sender ──► front ═══ forward leg ═══► back ──► reflector
    sender ◄── front ◄══ reverse leg ════ back ◄── reflector

Each leg has a delay, jitter, loss, duplication and reordering of its own, which can change while it runs. A packet's
delay counts from the kernel's receive stamp to the kernel's transmit stamp: the relay wakes early by as much as it has
been woken late, waits out the rest, and takes off what sending itself is measured to cost. How well it keeps its delays
it measures and says.

As a program it reads its links from a YAML file and its orders from standard input, one JSON object per line:

    {"link": "qingyang", "direction": "forward", "delay": "11ms", "loss": 0.1}

and answers each with a line of JSON: what it has carried and how late. It ends when standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from agent.core.recent import RecentLags
from agent.net.addresses import encode_address
from agent.net.datagram import TimestampedSocket
from agent.net.timer import WakeUp, sharpen_timers
from agent.runtime.lifecycle import ExitStatus, execute
from agent.runtime.quantities import DurationNs, Endpoint
from agent.runtime.settings import Settings, load
from deploy.quickstart.departures import Departures
from deploy.quickstart.ports import CannotListenError

_EARLY_NS: Final = 70_000
_EARLIEST_NS: Final = 400_000
_WOKEN_IN_TIME: Final = 0.99
_LATE_NS: Final = 100_000
_FIRST_GUESS_NS: Final = 5_000
_AWAITED_STAMPS: Final = 4096

Probability = Annotated[float, Field(ge=0, le=1)]


class LegSettings(Settings):
    """One direction of a link.

    Attributes:
        delay: from arrival to departure.
        jitter: at most this is added, evenly distributed.
        loss, duplication, reordering: chance of each packet; a reordered one is held back by `held_back`.
    """

    delay: DurationNs
    jitter: DurationNs | None = None
    loss: Probability = 0.0
    duplication: Probability = 0.0
    reordering: Probability = 0.0
    held_back: DurationNs = 50_000_000

    def departures(self, rng: random.Random) -> list[int]:
        """After how long (ns) each copy of a packet leaves; none where it is lost."""
        if rng.random() < self.loss:
            return []
        copies = 2 if rng.random() < self.duplication else 1
        delays = []
        for _ in range(copies):
            delay = self.delay + (rng.randrange(self.jitter) if self.jitter else 0)
            delays.append(delay + (self.held_back if rng.random() < self.reordering else 0))
        return delays


class LinkSettings(Settings):
    """A link: `front` is where senders send, `back` where the reflector is."""

    name: str
    front: Endpoint
    back: Endpoint
    forward: LegSettings
    reverse: LegSettings


class RelaySettings(Settings):
    """All links of a relay; the seed repeats a run's chances."""

    links: tuple[LinkSettings, ...]
    seed: int = 1


class Order(Settings):
    """A change of one leg; what is not named stays."""

    link: str
    direction: Literal["forward", "reverse"]
    delay: DurationNs | None = None
    jitter: DurationNs | None = None
    loss: Probability | None = None
    duplication: Probability | None = None
    reordering: Probability | None = None
    held_back: DurationNs | None = None


@dataclass(slots=True)
class Accuracy:
    """What a relay has carried, and how well it kept its delays.

    Attributes:
        carried, lost, refused: packets that left, that were lost on purpose, and that the kernel would not send.
        stamped: of those carried, how many the kernel has said the time of; of the others nothing is known.
        late: of those stamped, how many left more than 0.1 ms after they should have.
        worst_us: by how much the latest did.
    """

    carried: int = 0
    lost: int = 0
    refused: int = 0
    stamped: int = 0
    late: int = 0
    worst_us: float = 0.0


@dataclass(frozen=True, slots=True)
class _Packet:
    outlet: TimestampedSocket
    destination: bytes
    payload: bytes


class _Link:
    def __init__(self, settings: LinkSettings) -> None:
        self.legs = {"forward": settings.forward, "reverse": settings.reverse}
        self.family = socket.AF_INET6 if ":" in settings.front.host else socket.AF_INET
        try:
            self.front = TimestampedSocket(self.family, (settings.front.host, settings.front.port))
        except OSError as error:
            raise CannotListenError(f"cannot listen on {settings.front}: {error.strerror}") from error
        self.back_address = encode_address(settings.back.host, settings.back.port)
        self.backs: dict[bytes, TimestampedSocket] = {}


class Relay:
    """Carries packets over its links, in the running event loop, until it is closed."""

    def __init__(self, links: Sequence[LinkSettings], seed: int = 1) -> None:
        self.accuracy = Accuracy()
        self._rng = random.Random(seed)
        self._links = {settings.name: _Link(settings) for settings in links}
        self._timer = WakeUp()
        self._wake_ns: int | None = None
        self._woken_late = RecentLags(least=32, quantile=_WOKEN_IN_TIME)
        self._departures: Departures[_Packet] = Departures()
        self._cost = RecentLags(quantile=0.5)
        self._unstamped: dict[tuple[int, int], tuple[int, int]] = {}

    def start(self) -> None:
        """Begin to carry."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._timer.fileno(), self._depart)
        for link in self._links.values():
            loop.add_reader(link.front.fileno(), self._from_front, link)

    def close(self) -> None:
        """Stop; what is under way is gone."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._timer.fileno())
        self._timer.close()
        for link in self._links.values():
            for outlet in (link.front, *link.backs.values()):
                loop.remove_reader(outlet.fileno())
                outlet.close()

    def front(self, name: str) -> tuple[str, int]:
        """Address and port where senders reach a link."""
        return self._links[name].front.address

    def change(self, order: Order) -> None:
        """Change a leg from now on.

        Raises:
            KeyError: there is no such link.
        """
        legs = self._links[order.link].legs
        changes = order.model_dump(exclude={"link", "direction"}, exclude_none=True)
        legs[order.direction] = legs[order.direction].model_copy(update=changes)

    def _from_front(self, link: _Link) -> None:
        self._take_stamps(link.front)
        for datagram in link.front.receive():
            back = link.backs.get(datagram.source)
            if back is None:
                back = link.backs[datagram.source] = TimestampedSocket(link.family)
                asyncio.get_running_loop().add_reader(
                    back.fileno(), self._from_back, link, back, datagram.source
                )
            self._carry(
                link.legs["forward"], back, link.back_address, bytes(datagram.payload), datagram.received_ns
            )
        self._set_timer()

    def _from_back(self, link: _Link, back: TimestampedSocket, client: bytes) -> None:
        self._take_stamps(back)
        for datagram in back.receive():
            self._carry(
                link.legs["reverse"], link.front, client, bytes(datagram.payload), datagram.received_ns
            )
        self._set_timer()

    def _carry(
        self,
        leg: LegSettings,
        outlet: TimestampedSocket,
        destination: bytes,
        payload: bytes,
        received_ns: int | None,
    ) -> None:
        waited_ns = 0 if received_ns is None else time.time_ns() - received_ns
        arrived_ns = time.monotonic_ns() - waited_ns
        delays = leg.departures(self._rng)
        self.accuracy.lost += not delays
        for delay in delays:
            self._departures.add(arrived_ns + delay, _Packet(outlet, destination, payload))

    def _depart(self) -> None:
        """Send what is due, waiting out the last microseconds."""
        self._timer.acknowledge()
        if self._wake_ns is not None:
            self._woken_late.observe(max(0, time.monotonic_ns() - self._wake_ns))
        cost_ns = self._cost.bound_ns or _FIRST_GUESS_NS
        early_ns = self._early_ns
        while (departure := self._departures.take(time.monotonic_ns() + early_ns)) is not None:
            due_ns, packet = departure
            while (ahead_ns := due_ns - cost_ns - time.monotonic_ns()) > 0:
                pass
            called_ns = time.time_ns()
            (transmit_id,) = packet.outlet.send([(packet.payload, packet.destination, b"")])
            if transmit_id < 0:
                self.accuracy.refused += 1
                continue
            self.accuracy.carried += 1
            if len(self._unstamped) == _AWAITED_STAMPS:  # a kernel may give no stamps at all
                del self._unstamped[next(iter(self._unstamped))]
            self._unstamped[packet.outlet.fileno(), transmit_id] = (called_ns + ahead_ns + cost_ns, called_ns)
        self._set_timer()

    def _take_stamps(self, outlet: TimestampedSocket) -> None:
        """Learn from the transmit stamps what sending costs, and how late packets really left."""
        accuracy = self.accuracy
        for transmit_id, left_ns, _ in outlet.transmit_stamps():
            times = self._unstamped.pop((outlet.fileno(), transmit_id), None)
            if times is not None:
                due_ns, called_ns = times
                self._cost.observe(left_ns - called_ns)
                accuracy.stamped += 1
                accuracy.late += left_ns - due_ns > _LATE_NS
                accuracy.worst_us = max(accuracy.worst_us, (left_ns - due_ns) / 1000)

    def _set_timer(self) -> None:
        due_ns, self._wake_ns = self._departures.next_due_ns, None
        if due_ns is None:
            return
        wake_ns = due_ns - self._early_ns
        self._timer.at(wake_ns)
        if wake_ns > time.monotonic_ns():
            self._wake_ns = wake_ns

    @property
    def _early_ns(self) -> int:
        """How long before a packet leaves the relay asks to be woken."""
        return min(max(_EARLY_NS, self._woken_late.bound_ns or 0), _EARLIEST_NS)


async def _obey(relay: Relay) -> None:
    """Take orders from standard input until it ends; an empty order only asks how it stands."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        answer: dict[str, Any] = {}
        try:
            document = json.loads(line)
            if document:
                relay.change(Order.model_validate(document))
        except ValidationError as error:
            answer["error"] = "; ".join(str(found["msg"]) for found in error.errors(include_url=False))
        except (ValueError, KeyError) as error:
            answer["error"] = f"not an order for a link of this relay: {error}"
        print(json.dumps({**answer, **asdict(relay.accuracy)}), flush=True)


def _go_first() -> None:
    """Run before ordinary processes where that is allowed: an emulator that is kept waiting emulates a worse line."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a relay as a program."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.quickstart.relay", description="Emulate distance."
    )
    parser.add_argument("links", type=Path, metavar="FILE", help="YAML: the links")
    chosen = parser.parse_args(arguments)

    async def run() -> int:
        settings = load(chosen.links, RelaySettings)
        relay = Relay(settings.links, settings.seed)
        sharpen_timers()
        _go_first()
        relay.start()
        try:
            await _obey(relay)
        finally:
            relay.close()
        return ExitStatus.OK

    return execute(lambda: asyncio.run(run()))


if __name__ == "__main__":
    sys.exit(main())
