"""Datagram sockets whose packets carry the kernel's own transmit and receive times.

SO_TIMESTAMPING with OPT_ID and OPT_TSONLY (Documentation/networking/timestamping.rst of the kernel): every datagram
sent gets a number, and its transmit time comes back under that number through the error queue, which makes the
descriptor readable. Whoever waits for the descriptor must drain both queues or the event loop spins.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.stamp import MAX_PAYLOAD
from agent.net import control
from agent.net.control import CONTROL_OCTETS, IPV4, IPV6, SO_TIMESTAMPING, SOL_SOCKET, Integers
from agent.net.mmsg import IncomingBatch, OutgoingBatch
from agent.net.transmit_ids import TransmitIds

_SO_RCVBUFFORCE: Final = 33
_IP_RECVTTL: Final = 12
_IP_RECVTOS: Final = 13
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=9I")
_MEMINFO_DROPS: Final = 8
_FULL: Final = (errno.EAGAIN, errno.ENOBUFS)
_ATTEMPTS: Final = 3
_DIFFERENT_ANSWERS: Final = 256

_FEW: Final = 8
"""Up to so many at a time are read faster one by one than as arrays."""

BATCH: Final = 64
_RECEIVE_BUFFER_OCTETS: Final = 4 << 20
_ANSWERING_BUFFER_OCTETS: Final = 16 << 20
"""Whoever answers does not choose what comes: a moment without the CPU must not be loss."""


class Datagram(NamedTuple):
    """One received datagram.

    Attributes:
        payload: valid until the next `receive` on the same socket.
        source: the sender's address, encoded as `encode_address` does.
        received_ns: the kernel's receive time (Unix wall time), None where it gave none: for a moment after the first
            such socket of the host was opened, while the kernel turns stamping on, that is to be expected.
        ttl: TTL or hop limit with which it arrived, None where not asked for.
        local: which of our addresses it reached, in the form that `send` takes to answer from it; empty where not
            asked for.
        truncated: whether the payload was longer than what fits.
        traffic_class: TOS or traffic class with which it arrived, DSCP and ECN; None where not asked for.
    """

    payload: memoryview
    source: bytes
    received_ns: int | None
    ttl: int | None
    local: bytes
    truncated: bool
    traffic_class: int | None = None


class Arrivals(NamedTuple):
    """Received datagrams as arrays, valid until the next receive on the same socket.

    Attributes:
        payloads: (n, `payload_octets`) octets; what lies beyond a payload's end is left from before.
        octets: (n,), how long each payload is.
        sources: (n, octets of an address), as `encode_address` gives them.
        received_ns: (n,), the kernel's receive time (Unix wall time); 0 where it gave none.
        traffic_classes: (n,), TOS or traffic class with which each arrived, -1 where not known; None where not asked
            for.
    """

    payloads: NDArray[np.uint8]
    octets: NDArray[np.uint32]
    sources: NDArray[np.uint8]
    received_ns: Integers
    traffic_classes: Integers | None = None


class Requests(NamedTuple):
    """Received datagrams that are to be answered, as arrays, valid until the next receive on the same socket.

    Attributes:
        payloads, octets, sources, received_ns: as of `Arrivals`; the payloads may be written to.
        ttls: (n,), TTL or hop limit with which each arrived, -1 where not known.
        answers: (n, octets of a control message), where to answer from, as `Datagram.local` has it.
        truncated: (n,), whether a payload was longer than what fits.
        traffic_classes: (n,), TOS or traffic class with which each arrived, -1 where not known.
    """

    payloads: NDArray[np.uint8]
    octets: NDArray[np.uint32]
    sources: NDArray[np.uint8]
    received_ns: Integers
    ttls: Integers
    answers: NDArray[np.uint8]
    truncated: NDArray[np.bool_]
    traffic_classes: Integers


class Sending(NamedTuple):
    """What became of neighbouring datagrams of a prepared batch.

    Attributes:
        first, stop: which.
        result: the number of the first one, the others' follow it; or minus the errno with which they were refused.
    """

    first: int
    stop: int
    result: int


class Prepared:
    """Datagrams written beforehand, to be sent piece by piece.

    Attributes:
        payloads: (size, octets of a payload), to be written.
        lengths: (size,), how many octets of each payload are sent; all, unless written.
        destinations: (size, octets of an address), to be written, as `encode_address` gives them.
        sources: (size, octets of a control message), where to send from, as `Requests.answers` has it; may be written
            where the socket answers, and is otherwise empty.
        traffic_classes: (size,), TOS or traffic class of each where the socket answers; its own unless written.
    """

    def __init__(self, socket_: TimestampedSocket, size: int, payload_octets: int) -> None:
        self._socket = socket_
        self._batch = socket_.outgoing(size, payload_octets)
        self._numbers = 0
        self.payloads = self._batch.payload_rows
        self.lengths = self._batch.lengths
        self.destinations = self._batch.name_rows
        self.sources = self._batch.control_rows[:, socket_.source_message_at :]
        at = socket_.id_message_octets + control.TRAFFIC_CLASS_VALUE_AT
        self.traffic_classes = self._batch.control_rows[:, at : at + 4].view(np.int32).reshape(-1)

    def put(self, index: int, payload: bytes | bytearray, destination: bytes, source: bytes) -> None:
        """Write one datagram; `source` as `TimestampedSocket.send` takes it, on a socket that answers."""
        batch = self._batch
        at, octets = index * batch.payload_octets, len(payload)
        batch.payload[at : at + octets] = payload
        batch.lengths[index] = octets
        at = index * batch.name_octets
        batch.names[at : at + batch.name_octets] = destination
        at = (index + 1) * batch.control_octets
        source = source or self._socket.any_source
        batch.control[at - len(source) : at] = source

    def number(self, count: int) -> None:
        """Choose the numbers of the first `count` datagrams; each is sent at most once under them."""
        self._numbers = self._socket.number(self._batch, count)

    def send(self, first: int, stop: int) -> list[Sending]:
        """Send those from index `first` to before `stop`; see `TimestampedSocket.send` for refusals."""
        return self._socket.send_loaded(self._batch, self._numbers, first, stop)


class IcmpAnswer(NamedTuple):
    """An ICMP error that quotes a datagram.

    Attributes:
        destination: where the datagram was sent to, encoded.
        kind, code: ICMP type and code.
        sender: who sent the error, encoded; empty, or beginning with zeros, where the kernel does not say.
    """

    destination: bytes
    kind: int
    code: int
    sender: bytes


class TransmitStamp(NamedTuple):
    """When a datagram left.

    Attributes:
        transmit_id: what `send` gave for it.
        transmitted_ns: the kernel's transmit time (Unix wall time).
    """

    transmit_id: int
    transmitted_ns: int


def encode_address(address: str, port: int) -> bytes:
    """A socket address as the kernel takes it: sockaddr_in or sockaddr_in6 by the form of the address.

    Args:
        address: an IPv4 or IPv6 address, not a name; `fe80::1%eth0` names the interface of a link-local one.
        port: 0 to 65535.

    Raises:
        ValueError: not an address.
        OSError: no such interface.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + parsed.packed + bytes(8)
    scope = parsed.scope_id
    index = 0 if scope is None else int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
    return (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack(">HI", port, 0)
        + parsed.packed
        + struct.pack("=I", index)
    )


def decode_address(encoded: bytes) -> tuple[str, int]:
    """Address and port of an encoded socket address."""
    (port,) = struct.unpack_from(">H", encoded, 2)
    if struct.unpack_from("=H", encoded)[0] == socket.AF_INET:
        return str(ipaddress.IPv4Address(encoded[4:8])), port
    address = str(ipaddress.IPv6Address(encoded[8:24]))
    (index,) = struct.unpack_from("=I", encoded, 24)
    return (f"{address}%{index}" if index else address), port


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
        hear_errors: take note of ICMP errors (IP_RECVERR, `man 7 ip`). Each costs a system call that fails in its
            stead, so this is for few packets.

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
    ) -> None:
        self.batch = batch
        self.payload_octets = payload_octets
        self.family = family
        self._protocol = IPV6 if family == socket.AF_INET6 else IPV4
        self._answering = answering
        self._dscp = dscp
        self._hear_errors = hear_errors
        self.icmp_answers: Counter[IcmpAnswer] = Counter()
        self._socket = opened or socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._configure()
            if opened is None:
                self._bind(address or ("", 0))
        except OSError:
            self._socket.close()
            raise
        self._stamping = self._enable_stamping()
        self._chosen_ids = self._stamping and control.kernel_takes_transmit_ids()
        self._ids = TransmitIds(counted=not self._chosen_ids)
        # one thread may send while another takes transmit times
        self._counting = threading.Lock()
        self._last_sent = -1
        self._last_stamped = -1
        self._last_arrival_stamped = self._stamping
        self._stray: list[TransmitStamp] = []
        self._load_buffers()

    def _load_buffers(self) -> None:
        protocol = self._protocol
        self.any_source = protocol.any_source if self._answering else b""
        self._class_message = protocol.class_message(self._dscp << 2) if self._answering else b""
        self.id_message_octets = control.TRANSMIT_ID_OCTETS if self._chosen_ids else 0
        self.source_message_at = self.id_message_octets + len(self._class_message)
        self._outgoing = self.outgoing(self.batch, self.payload_octets)
        self._incoming = IncomingBatch(self.batch, protocol.name_octets, self.payload_octets, CONTROL_OCTETS)
        self._errors = IncomingBatch(self.batch, protocol.name_octets, 0, CONTROL_OCTETS)
        self._received = memoryview(self._incoming.payload)
        self._fetched = 0
        self._answer = functools.lru_cache(maxsize=256)(protocol.answer)

    def outgoing(self, size: int, payload_octets: int) -> OutgoingBatch:
        """Room for datagrams to be sent by `send_loaded`."""
        number = control.transmit_id_message(0) if self._chosen_ids else b""
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
        return self._stamping and self._last_sent - self._last_stamped <= 2 * self.batch

    @property
    def kernel_receive_stamps(self) -> bool:
        """Whether the kernel gives receive times: the last datagram had one, or none came and it agreed to."""
        return self._last_arrival_stamped

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel threw away since the socket was opened, for lack of room in its buffer."""
        info = self._socket.getsockopt(SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        drops: int = _MEMINFO.unpack(info)[_MEMINFO_DROPS]
        return drops

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
        if not sizes:
            return []
        if self._answering:
            stamps, ttls, classes, infos = zip(
                *control.read_arrivals(self._protocol, batch.control, sizes), strict=True
            )
            answers = map(self._answer, infos)
        else:
            stamps = control.read_receive_stamps(batch.control, sizes)
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
            )
            for at, (_, _, flags, octets), stamp, ttl, traffic_class, answer in zip(
                range(self.batch), sizes, stamps, ttls, classes, answers, strict=False
            )
        ]

    def receive_arrays(self) -> Arrivals:
        """Take up to `batch` queued datagrams as `receive` does."""
        if self._answering:
            self.fetch()
            came = self.fetched_requests()
            return Arrivals(came.payloads, came.octets, came.sources, came.received_ns, came.traffic_classes)
        batch = self._incoming
        results = batch.results[: self._fill_incoming()]
        stamps = control.receive_stamps_of(batch.control, results)
        if len(stamps):
            self._last_arrival_stamped = bool(stamps[-1])
        count = len(results)
        return Arrivals(batch.payload_rows[:count], results["octets"], batch.name_rows[:count], stamps)

    def fetched_requests(self) -> Requests:
        """What the last `fetch` took, as arrays, on a socket that answers."""
        batch, count = self._incoming, self._fetched
        results = batch.results[:count]
        stamps, ttls, classes, infos = control.arrivals_of(self._protocol, batch.control, results)
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
        )

    def transmit_stamp_arrays(self) -> tuple[Integers, Integers]:
        """The same as `transmit_stamps`, as arrays of numbers and of times."""
        if not self._chosen_ids:
            stamps = np.array(self.transmit_stamps(), np.int64).reshape(-1, 2)
            return stamps[:, 0], stamps[:, 1]
        batch = self._errors
        results = batch.results[: self._fill_errors()]
        wire, stamped_ns = control.transmit_stamps_of(self._protocol, batch.control, results)
        ids = self._ids.unfold(wire)
        if len(ids):
            self._last_stamped = int(ids[-1])
        return ids, stamped_ns

    def transmit_stamps(self) -> list[TransmitStamp]:
        """Take up to `batch` transmit times, after a refusal more; what else is in the error queue is thrown away."""
        with self._counting:
            stamps, self._stray = self._stray, []
            stamps += self._take_stamps()
        if stamps:
            self._last_stamped = stamps[-1][0]
        return stamps

    def _take_stamps(self) -> list[TransmitStamp]:
        batch = self._errors
        count = self._fill_errors()
        if count > _FEW and self._chosen_ids:
            wires, times = control.transmit_stamps_of(self._protocol, batch.control, batch.results[:count])
            return list(map(TransmitStamp, self._ids.unfold(wires).tolist(), times.tolist()))
        number_of, now_ns = self._ids.stamped, time.monotonic_ns()
        return [
            TransmitStamp(number, stamped_ns)
            for wire, stamped_ns in control.read_transmit_stamps(
                self._protocol, batch.control, batch.read(count)
            )
            if (number := number_of(wire, now_ns)) is not None
        ]

    def _fill_errors(self) -> int:
        batch = self._errors
        count = batch.fill(self._socket.fileno(), control.MSG_ERRQUEUE)
        if self._hear_errors:
            for at, octets in enumerate(batch.results["control_octets"][:count].tolist()):
                said = control.messages(batch.control, at * CONTROL_OCTETS, octets)
                for kind, code, sender in control.icmp_errors_among(said):
                    answer = IcmpAnswer(batch.name_rows[at].tobytes(), kind, code, sender)
                    if answer in self.icmp_answers or len(self.icmp_answers) < _DIFFERENT_ANSWERS:
                        self.icmp_answers[answer] += 1
        return count

    def _configure(self) -> None:
        dscp = self._dscp
        option = self._socket.setsockopt
        if self._hear_errors:
            option(self._protocol.level, self._protocol.error, 1)
        room = _ANSWERING_BUFFER_OCTETS if self._answering else _RECEIVE_BUFFER_OCTETS
        try:
            option(socket.SOL_SOCKET, _SO_RCVBUFFORCE, room)
        except PermissionError:
            option(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        if self._protocol is IPV6:
            option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            option(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            if self._answering:
                option(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                option(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                option(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            option(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
            option(socket.IPPROTO_IP, socket.IP_TTL, 255)
            if self._answering:
                option(socket.IPPROTO_IP, _IP_RECVTTL, 1)
                option(socket.IPPROTO_IP, IPV4.packet_info, 1)
                option(socket.IPPROTO_IP, _IP_RECVTOS, 1)

    def _bind(self, address: tuple[str, int]) -> None:
        if self._protocol is IPV6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._socket.bind(address)

    def _enable_stamping(self) -> bool:
        """Turn stamping on anew, which lets the kernel count from 0 again; whether it agrees."""
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, 0)
            self._socket.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, control.STAMPING_FLAGS)
        except OSError:
            return False
        return True

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
        if self._chosen_ids:
            words = np.frombuffer(batch.control, np.uint32)
            step = batch.control_octets // 4
            wire = (np.arange(count) + self._ids.next_wire) & 0xFFFF_FFFF
            words[control.TRANSMIT_ID_VALUE_AT // 4 : count * step : step] = wire
            return self._ids.take(count).start
        return self._ids.next

    def send_loaded(self, batch: OutgoingBatch, numbers: int, first: int, stop: int) -> list[Sending]:
        """Send those datagrams of a batch that lie between two indices; `numbers` is what `number` gave."""
        position = first
        sendings: list[Sending] = []
        while position < stop:
            asked = stop - position
            taken = self._send_some(batch, position, asked)
            if taken > 0:
                number = numbers + position if self._chosen_ids else self._count(taken)
                sendings.append(Sending(position, position + taken, number))
                position += taken
                self._last_sent = number + taken - 1
            else:
                refused = asked if -taken in _FULL else 1
                sendings.append(Sending(position, position + refused, taken))
                position += refused
            if taken != asked:
                # Fewer than asked for: one was refused, whether or not it will be again.
                self._renumber()
        return sendings

    def _send_some(self, batch: OutgoingBatch, position: int, count: int) -> int:
        """As `OutgoingBatch.send`; where errors are heard, one that an earlier datagram met refuses none."""
        taken = batch.send(self._socket.fileno(), position, count)
        for _ in range(_ATTEMPTS if self._hear_errors else 0):
            if taken > 0 or -taken in _FULL:
                break
            self._renumber()
            taken = batch.send(self._socket.fileno(), position, count)
        return taken

    def _count(self, datagrams: int) -> int:
        """The number of the first of so many that the kernel has counted."""
        with self._counting:
            return self._ids.take(datagrams).start

    def _renumber(self) -> None:
        """After a refusal, nobody knows what the kernel has counted, unless it was told the numbers: begin anew."""
        if self._chosen_ids or not self._stamping:
            return
        with self._counting:
            while found := self._take_stamps():
                self._stray += found
            self._stamping = self._enable_stamping()
            self._ids.begin_anew(time.monotonic_ns())

    def _answer_from(self, sources: Sequence[bytes]) -> None:
        """Write the control messages that choose the source addresses of the outgoing datagrams."""
        octets = len(self.any_source)
        step = self.source_message_at + octets
        at = self.source_message_at
        for source in sources:
            self._outgoing.control[at : at + octets] = source or self.any_source
            at += step
