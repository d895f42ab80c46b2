"""One listening socket of the reflector: replies leave it with T3 written at the last moment, and it is watched how
long after that they really leave."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.authentication import set_timestamp
from agent.core.recent import RecentLags
from agent.core.reflected_sessions import ReflectedSession
from agent.core.reflection import Reply, ReplyColumns
from agent.core.stamp import BASE_OCTETS, REFLECTOR_COLUMNS
from agent.core.timestamps import ntp_from_ns
from agent.core.tlv_values import TimestampMethod
from agent.net.clocks.card import CardClock
from agent.net.datagram import TimestampedSocket
from agent.net.prepared import Prepared
from agent.reflector.lookout import Lookout
from agent.runtime.quantities import Endpoint

BATCH: Final = 256
PORT: Final = slice(2, 4)
"""Where the port stands in a socket address of either family, in network order."""
_TOGETHER: Final = 4
"""How many replies share one T3: where sending one takes 3 µs, the last leaves some 10 µs after it."""
_AWAITED_STAMPS: Final = 1 << 13
_LAG_QUANTILE: Final = 0.99
_BY_KERNEL: Final = TimestampMethod.SOFTWARE
_BY_CARD: Final = TimestampMethod.HARDWARE
_DSCP_SHIFT: Final = 2
"""Below the DSCP stands the ECN: replies are of no transport that reacts to congestion, and do not claim to be."""


class Outgoing(NamedTuple):
    """A reply on its way: its destination, and where to answer from."""

    reply: Reply
    destination: bytes
    answer: bytes


_Awaited = tuple[int, int, ReflectedSession | None, int]
"""A reply whose transmit time is awaited: the datagram's number, its T3 (ns), the session that wants to know when it
left, and which reply of it that is."""
_NOTHING: Final[_Awaited] = (-1, 0, None, 0)
_NOBODY: Final = (None,) * BATCH


class Outlet:
    """A socket, and how late its replies leave after T3.

    Args:
        endpoint: an address, not a name, and a port.
        card: as of `TimestampedSocket`.

    Attributes:
        lags: from T3 to the kernel's transmit time.
        lookout: says when to look for requests.

    Raises:
        OSError, ValueError: it cannot be listened on.
    """

    def __init__(self, endpoint: Endpoint, card: CardClock | None = None) -> None:
        version = ipaddress.ip_address(endpoint.host).version
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        self.socket = TimestampedSocket(
            family, (endpoint.host, endpoint.port), answering=True, batch=BATCH, card=card
        )
        self.lookout = Lookout(self.socket, BATCH)
        self.lags = RecentLags(quantile=_LAG_QUANTILE)
        self.address = slice(8, 24) if version == 6 else slice(4, 8)
        self._prepared = Prepared(self.socket, BATCH, self.socket.payload_octets)
        self.packets = self._prepared.payloads
        self._timestamps: NDArray[Any] = self.packets[:, :BASE_OCTETS].view(REFLECTOR_COLUMNS)[:, 0][
            "timestamp"
        ]
        self._awaited = [_NOTHING] * _AWAITED_STAMPS
        """By the low bits of its number."""
        self._last_followed = self._last_stamped = -1

    def close(self) -> None:
        """Close the socket."""
        self.lookout.close()
        self.socket.close()

    @property
    def is_followed(self) -> bool:
        """Whether a session waits for the transmit time of a reply."""
        return self._last_followed > self._last_stamped

    def take_stamps(self) -> None:
        """Learn from the transmit times that have come how late replies leave, and tell the sessions that ask."""
        awaited = self._awaited
        lags = []
        number = self._last_stamped
        for number, transmitted_ns, bound_ns in self.socket.transmit_stamps():
            expected, t3_ns, session, sequence = awaited[number % _AWAITED_STAMPS]
            # earlier than T3 it can only seem where the clock was stepped
            if expected == number and transmitted_ns >= t3_ns:
                lags.append(transmitted_ns + bound_ns - t3_ns)
                if session is not None:
                    session.left(sequence, transmitted_ns, _BY_CARD if bound_ns else _BY_KERNEL)
        if lags:
            self._last_stamped = number
            self.lags.observe(*lags)

    def load(self, which: NDArray[np.intp], payloads: NDArray[np.uint8], octets: NDArray[np.uint32]) -> None:
        """Copy the payloads of these rows to the first places of `packets`."""
        count, longest = len(which), int(octets.max())
        self.packets[:count, :longest] = payloads[which, :longest]
        self._prepared.lengths[:count] = octets

    def send_loaded(
        self, destinations: NDArray[np.uint8], answers: NDArray[np.uint8], replies: ReplyColumns
    ) -> int:
        """Send the first of `packets`, and say how many the kernel took.

        Args:
            destinations: (n, octets of an address), where to.
            answers: (n, octets of a control message), where from.
            replies: how, and whose they are.
        """
        prepared, count = self._prepared, len(destinations)
        prepared.destinations[:count] = destinations
        prepared.sources[:count] = answers
        prepared.traffic_classes[:count] = replies.dscps << _DSCP_SHIFT
        return self._send(
            replies.sessions or _NOBODY, replies.waiting or _NOBODY, replies.sequences, count, {}
        )

    def send(self, replies: Sequence[Outgoing]) -> int:
        """Send replies, signed where they have a key, and say how many the kernel took."""
        signed = {}
        for index, outgoing in enumerate(replies):
            self._put(index, outgoing)
            self._prepared.traffic_classes[index] = outgoing.reply.dscp << _DSCP_SHIFT
            if outgoing.reply.key is not None:
                signed[index] = outgoing
        sessions = [outgoing.reply.session for outgoing in replies]
        sequences = [outgoing.reply.sequence for outgoing in replies]
        return self._send(sessions, sessions, sequences, len(replies), signed)

    def _send(
        self,
        sessions: Sequence[ReflectedSession | None],
        waiting: Sequence[ReflectedSession | None],
        sequences: Sequence[int],
        count: int,
        signed: Mapping[int, Outgoing],
    ) -> int:
        """Send the first `count` replies that are prepared, and say how many the kernel took.

        Args:
            sessions, sequences: whose reply each is, and which.
            waiting: the same sessions, where they want to know when it left.
            signed: those to be signed, by index.
        """
        prepared, taken = self._prepared, 0
        prepared.number(count)
        for first in range(0, count, _TOGETHER):
            stop = min(first + _TOGETHER, count)
            t3_ns = time.time_ns()
            t3_wire = ntp_from_ns(t3_ns)
            self._timestamps[first:stop] = t3_wire
            if signed:
                self._sign(first, stop, signed, t3_wire)
            for begun, ended, result in prepared.send(first, stop):
                if result >= 0:
                    taken += ended - begun
                    for index, number in enumerate(range(result, result + ended - begun), begun):
                        self._awaited[number % _AWAITED_STAMPS] = (
                            number,
                            t3_ns,
                            waiting[index],
                            sequences[index],
                        )
                    if waiting is not _NOBODY:
                        self._last_followed = number
                else:
                    for session in sessions[begun:ended]:
                        if session is not None:
                            session.unsent += 1
        return taken

    def _sign(self, first: int, stop: int, signed: Mapping[int, Outgoing], t3_wire: int) -> None:
        """Write T3 into those replies of a few that have a key, and sign them."""
        for index in range(first, stop):
            outgoing = signed.get(index)
            if outgoing is not None and outgoing.reply.key is not None:
                set_timestamp(outgoing.reply.octets, t3_wire, outgoing.reply.key)
                self._put(index, outgoing)

    def _put(self, index: int, outgoing: Outgoing) -> None:
        self._prepared.put(index, outgoing.reply.octets, outgoing.destination, outgoing.answer)
