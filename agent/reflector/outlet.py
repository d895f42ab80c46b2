"""One listening socket of the reflector: replies leave it with T3 written at the last moment, and it is watched how
long after that they really leave."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.recent import RecentLags
from agent.core.stamp import BASE_OCTETS, REFLECTOR_COLUMNS
from agent.core.timestamps import ntp_from_ns
from agent.net.datagram import Prepared, TimestampedSocket
from agent.runtime.quantities import Endpoint

BATCH: Final = 256
PORT: Final = slice(2, 4)
"""Where the port stands in a socket address of either family, in network order."""
_TOGETHER: Final = 4
"""How many replies share one T3: where sending one takes 3 µs, the last leaves some 10 µs after it."""
_AWAITED_STAMPS: Final = 1 << 13
_LAG_QUANTILE: Final = 0.99


class Outlet:
    """A socket, and how late its replies leave after T3.

    Args:
        endpoint: an address, not a name, and a port.

    Attributes:
        lags: from T3 to the kernel's transmit time.

    Raises:
        OSError, ValueError: it cannot be listened on.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        version = ipaddress.ip_address(endpoint.host).version
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        self.socket = TimestampedSocket(family, (endpoint.host, endpoint.port), answering=True, batch=BATCH)
        self.lags = RecentLags(quantile=_LAG_QUANTILE)
        self.address = slice(8, 24) if version == 6 else slice(4, 8)
        self._prepared = Prepared(self.socket, BATCH, self.socket.payload_octets)
        self.packets = self._prepared.payloads
        self._timestamps: NDArray[Any] = self.packets[:, :BASE_OCTETS].view(REFLECTOR_COLUMNS)[:, 0][
            "timestamp"
        ]
        # by the low bits of its number, the reply whose transmit time is awaited: its number and T3
        self._awaited = [(-1, 0)] * _AWAITED_STAMPS

    def take_stamps(self) -> None:
        """Learn from the transmit times that have come how late replies leave."""
        awaited = self._awaited
        lags = []
        for number, transmitted_ns in self.socket.transmit_stamps():
            expected, t3_ns = awaited[number % _AWAITED_STAMPS]
            if expected == number and transmitted_ns >= t3_ns:
                lags.append(transmitted_ns - t3_ns)
        if lags:
            self.lags.observe(*lags)

    def load(self, which: NDArray[np.intp], payloads: NDArray[np.uint8], octets: NDArray[np.uint32]) -> None:
        """Copy the payloads of these rows to the first places of `packets`."""
        count, longest = len(which), int(octets.max())
        self.packets[:count, :longest] = payloads[which, :longest]
        self._prepared.lengths[:count] = octets

    def send_loaded(self, destinations: NDArray[np.uint8], answers: NDArray[np.uint8]) -> int:
        """Send the first of `packets`, and say how many the kernel took.

        Args:
            destinations: (n, octets of an address), where to.
            answers: (n, octets of a control message), where from.
        """
        prepared, count = self._prepared, len(destinations)
        prepared.destinations[:count] = destinations
        prepared.sources[:count] = answers
        return self._send(count)

    def send(self, replies: Sequence[tuple[bytearray, bytes, bytes]]) -> int:
        """Send replies, each with its destination and where to answer from, and say how many the kernel took."""
        for index, (reply, destination, answer) in enumerate(replies):
            self._prepared.put(index, reply, destination, answer)
        return self._send(len(replies))

    def _send(self, count: int) -> int:
        prepared, taken = self._prepared, 0
        prepared.number(count)
        for first in range(0, count, _TOGETHER):
            stop = min(first + _TOGETHER, count)
            t3_ns = time.time_ns()
            self._timestamps[first:stop] = ntp_from_ns(t3_ns)
            for begun, ended, result in prepared.send(first, stop):
                if result >= 0:
                    taken += ended - begun
                    self._await_stamps(range(result, result + ended - begun), t3_ns)
        return taken

    def _await_stamps(self, numbers: Iterable[int], t3_ns: int) -> None:
        for number in numbers:
            self._awaited[number % _AWAITED_STAMPS] = number, t3_ns
