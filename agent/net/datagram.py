"""Datagram sockets whose packets carry the kernel's own transmit and receive times.

SO_TIMESTAMPING with OPT_ID and OPT_TSONLY (Documentation/networking/timestamping.rst of the kernel): every datagram
sent gets a number, and its transmit time comes back under that number through the error queue, which makes the
descriptor readable. Whoever waits for the descriptor must drain both queues or the event loop spins.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import socket
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from agent.core.stamp import MAX_PAYLOAD
from agent.net import control, control_batches, socket_options
from agent.net.arrivals import Arrivals, Datagram, Requests
from agent.net.card_stamps import CardStamps, stamping_method
from agent.net.clocks.card import CardClock
from agent.net.control import CONTROL_OCTETS
from agent.net.departures import Sending, TransmitStamp, TransmitStamps
from agent.net.drops import dropped
from agent.net.mmsg import IncomingBatch, OutgoingBatch
from agent.net.protocols import IPV4, IPV6
from agent.net.transmit_times import TransmitTimes

_FULL: Final = (errno.EAGAIN, errno.ENOBUFS)
_ATTEMPTS: Final = 3

BATCH: Final = 64
_NEVER_FRAGMENTED: Final = 512
"""Octets that pass everywhere with all their headers: 576 do (RFC 791, section 3.1)."""


class TimestampedSocket:
    """A non-blocking socket that sends and receives in batches and reports the kernel's times.

    Args:
        family: AF_INET or AF_INET6.
        address: address and port to bind to; none: any address, a port of the kernel's choice.
        dscp: code point of what is sent, 0 to 63.
        answering: ask for TTL, traffic class and destination of what is received, to answer from the address that was
            hit and with a traffic class for each answer.
        batch: how many datagrams one system call takes at most.
        payload_octets: how long a payload may be; of what is longer the rest is lost.
        opened: the socket to be used, non-blocking and as it is bound; none: a UDP socket of its own.
        hear_errors: take note of ICMP errors (IP_RECVERR, `man 7 ip`), each of which costs a system call that fails in
            its stead, and of datagrams that this host's own queue had no room for, which are silently lost else.
        card: the clock of the network card whose times are used where it takes them; None: only the kernel's.

    Attributes:
        batch, payload_octets: the same.
        icmp_answers: how often each ICMP error came, where they are heard, of not too many different ones.
        any_source: as `Datagram.local`, the routing's choice.
        id_message_octets: how much of an outgoing datagram's control data chooses its number.
        source_message_at: where in it the source address is chosen, behind the traffic class.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int] | None = None,
        *,
        dscp: int = 0,
        answering: bool = False,
        batch: int = BATCH,
        payload_octets: int = MAX_PAYLOAD,
        opened: socket.socket | None = None,
        hear_errors: bool = False,
        card: CardClock | None = None,
    ) -> None:
        self.batch = batch
        self.payload_octets = payload_octets
        self.family = family
        self._protocol = IPV6 if family == socket.AF_INET6 else IPV4
        self._answering = answering
        self._dscp = dscp
        self._hear_errors = hear_errors
        self._socket = opened or socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            socket_options.configure(
                self._socket,
                self._protocol,
                dscp=dscp,
                answering=answering,
                hear_errors=hear_errors,
                whole=payload_octets <= _NEVER_FRAGMENTED,
            )
            if opened is None:
                socket_options.bind(self._socket, self._protocol, address or ("", 0))
        except OSError:
            self._socket.close()
            raise
        self._card = None if card is None else CardStamps(card)
        self._times = TransmitTimes(
            self._socket, self._protocol, self.batch, hear_errors=hear_errors, card=self._card
        )
        self.icmp_answers = self._times.icmp_answers
        self._last_arrival_stamped = self._times.agreed
        self._load_buffers()

    def _load_buffers(self) -> None:
        protocol = self._protocol
        self.any_source = protocol.any_source if self._answering else b""
        self._class_message = protocol.class_message(self._dscp << 2) if self._answering else b""
        self.id_message_octets = control.TRANSMIT_ID_OCTETS if self._times.chosen_ids else 0
        self.source_message_at = self.id_message_octets + len(self._class_message)
        self._incoming = IncomingBatch(self.batch, protocol.name_octets, self.payload_octets, CONTROL_OCTETS)
        self._received = memoryview(self._incoming.payload)
        self._fetched = 0
        self._answer = functools.lru_cache(maxsize=256)(protocol.answer)

    @functools.cached_property
    def _outgoing(self) -> OutgoingBatch:
        """For `send`; who sends what is prepared has no need of it."""
        return self.outgoing(self.batch, self.payload_octets)

    def outgoing(self, size: int, payload_octets: int) -> OutgoingBatch:
        """Room for datagrams to be sent by `send_loaded`."""
        number = control.transmit_id_message(0) if self._times.chosen_ids else b""
        message = number + self._class_message + self.any_source
        batch = OutgoingBatch(size, self._protocol.name_octets, payload_octets, len(message))
        batch.control[: size * len(message)] = message * size
        return batch

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    @property
    def address(self) -> tuple[str, int]:
        """Address and port that the socket is bound to."""
        name = self._socket.getsockname()
        return name[0], name[1]

    @property
    def kernel_transmit_stamps(self) -> bool:
        """Whether the kernel gives transmit times: it agreed to, and they keep up with what is sent."""
        return self._times.keep_up

    @property
    def kernel_receive_stamps(self) -> bool:
        """Whether the kernel gives receive times: the last datagram had one, or none came and it agreed to."""
        return self._last_arrival_stamped

    @property
    def transmit_method(self) -> str:
        """Who takes transmit times: user, kernel or hardware; by the latest one."""
        by_card = self._card is not None and self._card.transmits
        return stamping_method(by_kernel=self.kernel_transmit_stamps, by_card=by_card)

    @property
    def transmit_times(self) -> int:
        """How many transmit times have come."""
        return self._times.came

    @property
    def receive_method(self) -> str:
        """The same of receive times."""
        by_card = self._card is not None and self._card.receives
        return stamping_method(by_kernel=self.kernel_receive_stamps, by_card=by_card)

    @property
    def card_bound_ns(self) -> int:
        """How much a card's time of late may be off; 0 where there is none."""
        return 0 if self._card is None else self._card.bound_ns

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel threw away since the socket was opened, for lack of room in its buffer."""
        return dropped(self._socket)

    @property
    def receive_buffer_octets(self) -> int:
        """How much memory what has arrived, and the transmit times, may take while they wait."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, datagrams: Sequence[tuple[bytes | bytearray, bytes, bytes]]) -> list[int]:
        """Send datagrams in order.

        Args:
            datagrams: (payload, encoded destination, where to answer from as `Datagram.local` gave it; empty for the
                routing's choice, which is all that a socket that does not answer knows).

        Returns:
            For each, the number under which its transmit time may come, never given twice; or minus the errno with
            which the kernel refused it. A full buffer refuses the rest too; any other refusal concerns one datagram.

        Raises:
            ValueError: a payload exceeds `payload_octets`, or an address is of another family; the datagrams before the
                batch of this one have been sent.
        """
        results: list[int] = []
        for start in range(0, len(datagrams), self.batch):
            self._send_batch(datagrams[start : start + self.batch], results)
        return results

    def receive(self) -> list[Datagram]:
        """Take up to `batch` queued datagrams; fewer mean that the queue was empty. Read them before the next call."""
        self.fetch()
        return self.fetched()

    def fetch(self) -> int:
        """Take up to `batch` queued datagrams, and say how many; `fetched` or `fetched_requests` gives them."""
        self._fetched = self._fill_incoming()
        return self._fetched

    def _fill_incoming(self) -> int:
        for _ in range(_ATTEMPTS if self._hear_errors else 0):
            with contextlib.suppress(OSError):  # an ICMP error, told once, before what is queued
                return self._incoming.fill(self._socket.fileno(), 0)
        return self._incoming.fill(self._socket.fileno(), 0)

    def fetched(self) -> list[Datagram]:
        """What the last `fetch` took."""
        batch, received, room = self._incoming, self._received, self.payload_octets
        names, name_octets = batch.names, batch.name_octets
        sizes = list(batch.read(self._fetched))
        stamps: Sequence[int | None]
        ttls: Iterable[int | None] = itertools.repeat(None)
        classes: Iterable[int | None] = itertools.repeat(None)
        answers: Iterable[bytes] = itertools.repeat(b"")
        by_card: Iterable[bool] = itertools.repeat(False)
        if not sizes:
            return []
        if self._answering:
            stamps, ttls, classes, infos = zip(
                *control_batches.read_arrivals(self._protocol, batch.control, sizes), strict=True
            )
            answers = map(self._answer, infos)
        else:
            stamps = control_batches.read_receive_stamps(batch.control, sizes)
        if self._card is not None:
            kernel_ns = np.array([stamp or 0 for stamp in stamps], np.int64)
            came = self._card.arrivals(batch.control, batch.results[: self._fetched], kernel_ns)
            stamps = [stamp or None for stamp in came.times_ns.tolist()]
            by_card = (came.bounds_ns > 0).tolist()
        self._last_arrival_stamped = stamps[-1] is not None
        return [
            Datagram(
                received[at * room : at * room + octets],
                bytes(names[at * name_octets : at * name_octets + name_octets]),
                stamp,
                ttl,
                answer,
                flags & control.MSG_TRUNC != 0,
                traffic_class,
                carded,
            )
            for at, (_, _, flags, octets), stamp, ttl, traffic_class, answer, carded in zip(
                range(self.batch), sizes, stamps, ttls, classes, answers, by_card, strict=False
            )
        ]

    def receive_arrays(self) -> Arrivals:
        """Take up to `batch` queued datagrams as `receive` does."""
        if self._answering:
            self.fetch()
            came = self.fetched_requests()
            return Arrivals(
                came.payloads,
                came.octets,
                came.sources,
                came.received_ns,
                came.traffic_classes,
                came.bounds_ns,
            )
        batch = self._incoming
        results = batch.results[: self._fill_incoming()]
        stamps = control_batches.receive_stamps_of(batch.control, results)
        bounds_ns = None
        if self._card is not None:
            stamps, bounds_ns = self._card.arrivals(batch.control, results, stamps)
        if len(stamps):
            self._last_arrival_stamped = bool(stamps[-1])
        count = len(results)
        return Arrivals(
            batch.payload_rows[:count],
            results["octets"],
            batch.name_rows[:count],
            stamps,
            bounds_ns=bounds_ns,
        )

    def fetched_requests(self) -> Requests:
        """What the last `fetch` took, as arrays, on a socket that answers."""
        batch, count = self._incoming, self._fetched
        results = batch.results[:count]
        stamps, ttls, classes, infos = control_batches.arrivals_of(self._protocol, batch.control, results)
        bounds_ns = None
        if self._card is not None:
            stamps, bounds_ns = self._card.arrivals(batch.control, results, stamps)
        if count:
            self._last_arrival_stamped = bool(stamps[-1])
        return Requests(
            batch.payload_rows[:count],
            results["octets"],
            batch.name_rows[:count],
            stamps,
            ttls,
            self._protocol.answers(infos),
            results["flags"] & control.MSG_TRUNC != 0,
            classes,
            bounds_ns,
        )

    def transmit_stamp_arrays(self) -> TransmitStamps:
        """The same as `transmit_stamps`, as arrays."""
        return self._times.take_arrays()

    def transmit_stamps(self) -> list[TransmitStamp]:
        """Take up to `batch` transmit times, after a refusal more; what else is in the error queue is thrown away."""
        return self._times.take()

    def _send_batch(
        self, datagrams: Sequence[tuple[bytes | bytearray, bytes, bytes]], results: list[int]
    ) -> None:
        payloads, destinations, sources = zip(*datagrams, strict=True)
        self._outgoing.load(payloads, destinations)
        if self._answering:
            self._answer_from(sources)
        numbers = self.number(self._outgoing, len(datagrams))
        for first, stop, result in self.send_loaded(self._outgoing, numbers, 0, len(datagrams)):
            count = stop - first
            results += range(result, result + count) if result >= 0 else [result] * count

    def number(self, batch: OutgoingBatch, count: int) -> int:
        """Choose the numbers of the first datagrams of a batch of `outgoing`, each to be sent once under its number.

        Returns:
            The first of them; it means nothing where the kernel counts.
        """
        return self._times.number(batch, count)

    def send_loaded(self, batch: OutgoingBatch, numbers: int, first: int, stop: int) -> list[Sending]:
        """Send those datagrams of a batch that lie between two indices; `numbers` is what `number` gave."""
        position = first
        sendings: list[Sending] = []
        while position < stop:
            asked = stop - position
            taken = self._send_some(batch, position, asked)
            if taken > 0:
                number = self._times.sent(numbers + position, taken)
                sendings.append(Sending(position, position + taken, number))
                position += taken
            else:
                refused = asked if -taken in _FULL else 1
                sendings.append(Sending(position, position + refused, taken))
                position += refused
            if taken != asked:
                # Fewer than asked for: one was refused, whether or not it will be again.
                self._times.begin_anew()
        return sendings

    def _send_some(self, batch: OutgoingBatch, position: int, count: int) -> int:
        """As `OutgoingBatch.send`; where errors are heard, one that an earlier datagram met refuses none."""
        taken = batch.send(self._socket.fileno(), position, count)
        for _ in range(_ATTEMPTS if self._hear_errors else 0):
            if taken > 0 or -taken in _FULL:
                break
            self._times.begin_anew()
            taken = batch.send(self._socket.fileno(), position, count)
        return taken

    def _answer_from(self, sources: Sequence[bytes]) -> None:
        """Write the control messages that choose the source addresses of the outgoing datagrams."""
        octets = len(self.any_source)
        step = self.source_message_at + octets
        at = self.source_message_at
        for source in sources:
            self._outgoing.control[at : at + octets] = source or self.any_source
            at += step
