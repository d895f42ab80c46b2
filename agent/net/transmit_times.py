"""When the datagrams of a socket left: numbers for what is sent, and the times that come back under them through the
socket's error queue, among the ICMP errors that may be heard of there too."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from typing import Final

import numpy as np

from agent.net import control, control_batches
from agent.net.card_stamps import CardStamps
from agent.net.control import CONTROL_OCTETS, SO_TIMESTAMPING, SOL_SOCKET
from agent.net.departures import IcmpAnswer, TransmitStamp, TransmitStamps
from agent.net.mmsg import IncomingBatch, OutgoingBatch
from agent.net.protocols import Protocol
from agent.net.transmit_ids import TransmitIds

_DIFFERENT_ANSWERS: Final = 256

_FEW: Final = 8
"""Up to so many at a time are read faster one by one than as arrays."""


class TransmitTimes:
    """The numbers of one socket's datagrams and the times at which they left.

    Args:
        socket_: whose stamping is turned on here.
        protocol: its.
        batch: how many times are taken at once at most.
        hear_errors: note ICMP errors.
        card: what a network card's times mean; None: only the kernel's are asked for.

    Attributes:
        chosen_ids: whether datagrams carry their numbers as a control message, and the kernel does not count.
        came: how many times have come.
        icmp_answers: how often each ICMP error came, of not too many different ones.
    """

    def __init__(
        self,
        socket_: socket.socket,
        protocol: Protocol,
        batch: int,
        *,
        hear_errors: bool,
        card: CardStamps | None,
    ) -> None:
        self.came = 0
        self.icmp_answers: Counter[IcmpAnswer] = Counter()
        self._socket = socket_
        self._protocol = protocol
        self._batch = batch
        self._hear_errors = hear_errors
        self._card = card
        self._stamping = self._enable()
        self.chosen_ids = self._stamping and control.kernel_takes_transmit_ids()
        self._ids = TransmitIds(counted=not self.chosen_ids)
        # one thread may send while another takes transmit times
        self._counting = threading.Lock()
        self._last_sent = -1
        self._last_stamped = -1
        self._stray: list[TransmitStamp] = []
        self._errors = IncomingBatch(batch, protocol.name_octets, 0, CONTROL_OCTETS)

    @property
    def agreed(self) -> bool:
        """Whether the kernel agreed to give times."""
        return self._stamping

    @property
    def keep_up(self) -> bool:
        """Whether the times come: it agreed to give them, and they keep up with what is sent."""
        return self._stamping and self._last_sent - self._last_stamped <= 2 * self._batch

    def number(self, batch: OutgoingBatch, count: int) -> int:
        """Choose the numbers of the first datagrams of a batch, each to be sent once under its number.

        Returns:
            The first of them; it means nothing where the kernel counts.
        """
        if self.chosen_ids:
            words = np.frombuffer(batch.control, np.uint32)
            step = batch.control_octets // 4
            wire = (np.arange(count) + self._ids.next_wire) & 0xFFFF_FFFF
            words[control.TRANSMIT_ID_VALUE_AT // 4 : count * step : step] = wire
            return self._ids.take(count).start
        return self._ids.next

    def sent(self, first: int, count: int) -> int:
        """Datagrams were sent.

        Args:
            first: the number that was chosen for the first of them.
            count: how many.

        Returns:
            The number of the first of them.
        """
        if not self.chosen_ids:
            with self._counting:
                first = self._ids.take(count).start
        self._last_sent = first + count - 1
        return first

    def begin_anew(self) -> None:
        """After a refusal, nobody knows what the kernel has counted, unless it was told the numbers."""
        if self.chosen_ids or not self._stamping:
            return
        with self._counting:
            while found := self._take():
                self._stray += found
            self._stamping = self._enable()
            self._ids.begin_anew(time.monotonic_ns())

    def take_arrays(self) -> TransmitStamps:
        """The same as `take`, as arrays."""
        if not self.chosen_ids or self._card is not None:
            stamps = np.array(self.take(), np.int64).reshape(-1, 3)
            return TransmitStamps(*stamps.T)
        results = self._errors.results[: self._fill()]
        wire, stamped_ns = control_batches.transmit_stamps_of(self._protocol, self._errors.control, results)
        ids = self._ids.unfold(wire)
        if len(ids):
            self._last_stamped = int(ids[-1])
            self.came += len(ids)
        return TransmitStamps(ids, stamped_ns, np.zeros_like(ids))

    def take(self) -> list[TransmitStamp]:
        """Take up to `batch` times, after a refusal more; what else is in the error queue is thrown away."""
        with self._counting:
            stamps, self._stray = self._stray, []
            stamps += self._take()
        if stamps:
            self._last_stamped = stamps[-1][0]
            self.came += len(stamps)
        card = self._card
        if card is not None and card.have_stopped(self._last_sent - self._last_stamped, len(stamps)):
            self._socket.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, self._flags)
        return stamps

    def _take(self) -> list[TransmitStamp]:
        batch = self._errors
        count = self._fill()
        if self._card is not None:
            return self._take_any(self._card, count)
        if count > _FEW and self.chosen_ids:
            wires, times = control_batches.transmit_stamps_of(
                self._protocol, batch.control, batch.results[:count]
            )
            return list(map(TransmitStamp, self._ids.unfold(wires).tolist(), times.tolist()))
        number_of, now_ns = self._ids.stamped, time.monotonic_ns()
        return [
            TransmitStamp(number, stamped_ns)
            for wire, stamped_ns in control_batches.read_transmit_stamps(
                self._protocol, batch.control, batch.read(count)
            )
            if (number := number_of(wire, now_ns)) is not None
        ]

    def _take_any(self, card: CardStamps, count: int) -> list[TransmitStamp]:
        """Those that may be the card's; one that has no time by the system clock is as if it had not come."""
        wires, stamped_ns, by_card = control_batches.all_transmit_stamps_of(
            self._protocol, self._errors.control, self._errors.results[:count]
        )
        number_of, now_ns = self._ids.stamped, time.monotonic_ns()
        numbers = [number_of(wire, now_ns) for wire in wires.tolist()]
        left = card.departures(stamped_ns, by_card)
        return [
            TransmitStamp(number, left_ns, bound_ns)
            for number, left_ns, bound_ns in zip(
                numbers, left.times_ns.tolist(), left.bounds_ns.tolist(), strict=True
            )
            if number is not None and left_ns
        ]

    def _fill(self) -> int:
        batch = self._errors
        count = batch.fill(self._socket.fileno(), control.MSG_ERRQUEUE)
        if self._hear_errors:
            results = batch.results[:count]
            # an ICMP error quotes a datagram, which is cut off here; a transmit time comes without it
            for at in np.flatnonzero(results["flags"] & control.MSG_TRUNC).tolist():
                said = control.messages(
                    batch.control, at * CONTROL_OCTETS, int(results["control_octets"][at])
                )
                for kind, code, sender in control.icmp_errors_among(said):
                    answer = IcmpAnswer(batch.name_rows[at].tobytes(), kind, code, sender)
                    if answer in self.icmp_answers or len(self.icmp_answers) < _DIFFERENT_ANSWERS:
                        self.icmp_answers[answer] += 1
        return count

    def _enable(self) -> bool:
        """Turn stamping on anew, which lets the kernel count from 0 again; whether it agrees."""
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, 0)
            self._socket.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, self._flags)
        except OSError:
            return False
        return True

    @property
    def _flags(self) -> int:
        by_card = self._card is not None and self._card.in_use
        return control.STAMPING_FLAGS | (control.CARD_STAMPING_FLAGS if by_card else 0)
