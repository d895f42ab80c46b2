"""A load generator: `python -m tests.support.load ADDRESS PORT …` sends at a rate, counts what comes back, prints JSON.

It is a program of its own so that it can be put on a core of its own, and it uses no timestamps: it has to be faster
than what it loads.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
import time
from typing import Final

import numpy as np

from agent.core.authentication import AUTHENTICATED_OCTETS
from agent.core.stamp import BASE_OCTETS, SENDER_COLUMNS
from agent.core.tlv_values import FollowUpTelemetry, serialise_request
from agent.net.addresses import encode_address
from agent.net.mmsg import IncomingBatch, OutgoingBatch

_BATCH: Final = 64
_LONGEST: Final = 1472
_BUFFER_OCTETS: Final = 16 << 20
_SO_RCVBUFFORCE: Final = 33
_SO_SNDBUFFORCE: Final = 32


class Load:
    """What is sent, from one socket.

    Args:
        source: address to send from.
        target: address and port to send to.
        garbage: octets of any content and length instead of requests.
        behind: what follows the base packet in each request.
    """

    def __init__(self, source: str, target: tuple[str, int], *, garbage: bool, behind: bytes = b"") -> None:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        for option, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_OCTETS)
            except PermissionError:
                self.socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_OCTETS)
        self.socket.bind((source, 0))
        name = encode_address(*target)
        octets = _LONGEST if garbage else BASE_OCTETS + len(behind)
        self._outgoing = OutgoingBatch(_BATCH, len(name), octets, 0)
        self._incoming = IncomingBatch(_BATCH, len(name), octets, 0)
        rng = random.Random(1)
        if garbage:
            self._outgoing.payload[:] = rng.randbytes(_BATCH * _LONGEST)
            self._outgoing.lengths[:] = [rng.choice((0, 1, 14, 43, 44, 60, 112)) for _ in range(_BATCH)]
        self._outgoing.names[:] = name * _BATCH
        if behind:
            self._outgoing.payload_rows[:, BASE_OCTETS:] = np.frombuffer(behind, np.uint8)
        self._sequences = self._outgoing.payload_rows[:, :BASE_OCTETS].view(SENDER_COLUMNS)[:, 0]["sequence"]
        self._garbage = garbage
        self.sent = 0
        self.received = 0

    def send(self, count: int) -> None:
        """Send so many, at most a batch."""
        if not self._garbage:
            self._sequences[:count] = range(self.sent, self.sent + count)
        self.sent += max(0, self._outgoing.send(self.socket.fileno(), 0, count))

    def receive(self) -> int:
        """Take what has come, at most a batch, and say how much that was."""
        count = self._incoming.fill(self.socket.fileno(), 0)
        self.received += count
        return count

    def run(self, rate: float, seconds: float) -> None:
        """Send so many a second (0: as many as can be) for so long; then wait until nothing comes any more."""
        begun = time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < seconds:
            due = _BATCH if not rate else int(elapsed * rate) - self.sent
            if due > 0:
                self.send(min(due, _BATCH))
            if self.receive() == 0 and rate and due <= 0:
                time.sleep(0.0001)
        quiet_since = time.perf_counter()
        while time.perf_counter() - quiet_since < 0.3:
            if self.receive():
                quiet_since = time.perf_counter()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--source", default="127.0.0.1")
    parser.add_argument("--rate", type=float, default=0, help="packets a second; 0: as many as can be")
    parser.add_argument("--seconds", type=float, default=2)
    content = parser.add_mutually_exclusive_group()
    content.add_argument("--garbage", action="store_true", help="octets of any content and length")
    content.add_argument("--requests", action="store_true", help="requests (default)")
    content.add_argument(
        "--follow-up", action="store_true", help="requests, each with a Follow-Up Telemetry TLV"
    )
    content.add_argument(
        "--forged", action="store_true", help="requests of authenticated mode that nobody signed"
    )
    parser.add_argument("--core", type=int)
    chosen = parser.parse_args()
    if chosen.core is not None:
        os.sched_setaffinity(0, {chosen.core})
    behind = b""
    if chosen.follow_up:
        behind = serialise_request(FollowUpTelemetry())
    elif chosen.forged:
        behind = random.Random(1).randbytes(AUTHENTICATED_OCTETS - BASE_OCTETS)
    load = Load(chosen.source, (chosen.address, chosen.port), garbage=chosen.garbage, behind=behind)
    load.run(chosen.rate, chosen.seconds)
    print(json.dumps({"sent": load.sent, "received": load.received}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
