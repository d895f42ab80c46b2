"""Both ends of the preamble's conversation: octets in, octets out; nothing opens without the token at the other end.

Over TCP a message is 64 octets of the stream, and a door serves one connection. Over UDP it is a datagram, and a door
serves everybody: it remembers nobody before he has proven himself, answers no datagram with a longer one, and says
ACCEPT again where its answer was lost and the same PROOF comes once more.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from agent.core.authentication import Key
from agent.core.exceptions import WireError
from agent.core.throughput.lease import Way
from agent.core.throughput.preamble import Cookies, Preamble, PreambleKind

Admit = Callable[[Preamble], Key | None]
"""Takes a PROOF's stream where it may be taken, and gives the token of its lease; None: it may not."""


class Progress(Enum):
    """How far a requester is."""

    ASKING = auto()
    PROVING = auto()
    OPEN = auto()
    REFUSED = auto()


class Requester:
    """The end that has a lease, of one stream.

    Args:
        lease: its id.
        token: of the lease.
        way, stream: what the connection is for.
        nonce: 16 octets that nobody can guess, of this connection alone.

    Attributes:
        progress: how far it is; data may be sent when it is OPEN, and not before.
    """

    def __init__(self, lease: bytes, token: Key, way: Way, stream: int, nonce: bytes) -> None:
        self._token = token
        self._sent = Preamble(PreambleKind.HELLO, way, stream, lease, nonce)
        self.progress = Progress.ASKING

    @property
    def message(self) -> bytes:
        """What to send now; over UDP again and again, until something comes."""
        return self._sent.serialise()

    def receive(self, data: bytes) -> bool:
        """Take what came.

        Returns:
            Whether it was an answer; over UDP anything else is passed by, over TCP there is nothing else to come.
        """
        try:
            came = Preamble.parse(data)
        except WireError:
            return False
        if not came.answers(self._sent):
            return False
        match self.progress, came.kind:
            case ((Progress.ASKING | Progress.PROVING), PreambleKind.REFUSED):
                self.progress = Progress.REFUSED
            case Progress.ASKING, PreambleKind.CHALLENGE:
                self._sent = came.proof(self._token)
                self.progress = Progress.PROVING
            case Progress.PROVING, PreambleKind.ACCEPT if came.accepts(self._token):
                self.progress = Progress.OPEN
            case _:
                return False
        return True


class StreamDoor:
    """The server's end of one TCP connection.

    Args:
        nonce: 16 octets that nobody can guess, of this connection alone.
        admit: decides of its PROOF.

    Attributes:
        opened: the PROOF that was admitted; None: nothing was.
        closed: whether nothing more can come of it: after what it has answered, the connection is to be closed.
    """

    def __init__(self, nonce: bytes, admit: Admit) -> None:
        self._nonce = nonce
        self._admit = admit
        self._challenge: Preamble | None = None
        self.opened: Preamble | None = None
        self.closed = False

    def receive(self, data: bytes) -> bytes:
        """Take the next 64 octets, and say what to answer; empty: nothing."""
        assert self.opened is None
        try:
            came = Preamble.parse(data)
        except WireError:
            self.closed = True
            return b""
        if self._challenge is None and came.kind is PreambleKind.HELLO:
            self._challenge = came.challenge(self._nonce)
            return self._challenge.serialise()
        if self._challenge is not None and came.kind is PreambleKind.PROOF and came.answers(self._challenge):
            token = self._admit(came)
            if token is not None:
                self.opened = came
                return came.accept(token).serialise()
        self.closed = True
        return came.refuse().serialise()


class Association(NamedTuple):
    """Where a stream's datagrams go to and come from.

    Attributes:
        address: of the peer, 4 or 16 octets, which has proven that it receives what is sent there.
        port: of the peer.
        proof: that was admitted.
    """

    address: bytes
    port: int
    proof: Preamble


class DatagramDoor:
    """The server's end of all UDP associations of a socket.

    Args:
        cookies: of this socket.
        admit: decides of a PROOF that has brought its cookie back, from an address.
    """

    def __init__(self, cookies: Cookies, admit: Callable[[Preamble, bytes], Key | None]) -> None:
        self._cookies = cookies
        self._admit = admit
        self._open: dict[tuple[bytes, int], tuple[Preamble, bytes]] = {}

    def receive(
        self, data: bytes, address: bytes, port: int, now_ns: int
    ) -> tuple[bytes, Association | None]:
        """Take a datagram that may be part of a conversation.

        Args:
            data: what came.
            address: of its source, 4 or 16 octets.
            port: of its source.
            now_ns: monotonic.

        Returns:
            What to answer, as long as what came or empty; and the association that this has opened.
        """
        try:
            came = Preamble.parse(data)
        except WireError:
            return b"", None
        if came.kind is PreambleKind.HELLO:
            return came.challenge(self._cookies.bake(came, address, port, now_ns)).serialise(), None
        if came.kind is not PreambleKind.PROOF:
            return b"", None
        known = self._open.get((address, port))
        if known is not None and known[0] == came:
            return known[1], None
        # whoever brings no cookie may not be there at all: a refusal would go to somebody else
        if known is not None or not self._cookies.has_baked(came, address, port, now_ns):
            return b"", None
        token = self._admit(came, address)
        if token is None:
            return came.refuse().serialise(), None
        accept = came.accept(token).serialise()
        self._open[address, port] = came, accept
        return accept, Association(address, port, came)

    def forget(self, lease: bytes) -> None:
        """The lease is over: nothing more is said about its associations."""
        self._open = {at: known for at, known in self._open.items() if known[0].lease != lease}

    def __len__(self) -> int:
        return len(self._open)
