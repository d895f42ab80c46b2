"""Datagrams that are written before they are due, and then cost little to send."""

from __future__ import annotations

import numpy as np

from agent.net.datagram import TimestampedSocket
from agent.net.departures import Sending
from agent.net.protocols import TRAFFIC_CLASS_VALUE_AT


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
        at = socket_.id_message_octets + TRAFFIC_CLASS_VALUE_AT
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
