"""The first octets of every data connection, and of every UDP association: who holds the lease proves it.

    requester                      server
       │ HELLO  client nonce          │
       ├─────────────────────────────►│
       │      CHALLENGE server nonce  │   the same 64 octets whatever the lease, known or not
       │◄─────────────────────────────┤
       │ PROOF  both nonces, tag      │
       ├─────────────────────────────►│   the token is checked, the stream is taken
       │        ACCEPT  both, tag     │   or REFUSED, without a reason
       │◄─────────────────────────────┤

Every message has 64 octets, an answer as many as its question: nobody is made to send more than he was sent. The token
never travels. Its tag covers the nonces of both ends: a proof that was overheard proves nothing on another connection,
and a server that does not know the token cannot have its peer send to it. Over UDP the server nonce is a cookie made of
the source's address and port, as DTLS has it (RFC 6347, section 4.2.1): until it has come back from there the server
remembers nothing, and data flows to nobody.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |                        Magic  "IsoT"                          |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  4 |  Version = 1  |     Kind      |  Way: 0 down  |    Stream     |
    |               |               |       1 up    |    0 to 7     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  8 |                       Lease id (8 octets)                     |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 16 ~                     Client nonce (16 octets)                  ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 32 ~        Server nonce (16 octets); zero in HELLO                ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 48 ~ Tag: HMAC-SHA-256(token, octets 0 to 47), its first 16 octets;~
    ~               zero in HELLO, CHALLENGE and REFUSED            ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from struct import Struct
from typing import Final, Self

from agent.core.authentication import Key
from agent.core.exceptions import Truncated, WireError
from agent.core.stamp import Octets
from agent.core.throughput.lease import ID_OCTETS, MAX_STREAMS, Way
from agent.core.timestamps import SECOND_NS

MAGIC: Final = b"IsoT"
VERSION: Final = 1
PREAMBLE_OCTETS: Final = 64
NONCE_OCTETS: Final = 16
TAG_OCTETS: Final = 16
NO_NONCE: Final = bytes(NONCE_OCTETS)
NO_TAG: Final = bytes(TAG_OCTETS)

_LAYOUT: Final = Struct(f">4sBBBB{ID_OCTETS}s{NONCE_OCTETS}s{NONCE_OCTETS}s{TAG_OCTETS}s")
_TAGGED_OCTETS: Final = 48
_FLOW: Final = Struct(">B16sHBBq")
_WAYS: Final = tuple(Way)
_COOKIE_LIFE_NS: Final = 5 * SECOND_NS


class PreambleKind(IntEnum):
    """Which of the messages it is."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    ACCEPT = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class Preamble:
    """One of the five messages.

    Attributes:
        kind: which.
        way, stream: what the connection is for; streams of a way are numbered from 0.
        lease: its id, 8 octets.
        client_nonce, server_nonce: 16 random octets of each end, the server's zero as long as it has said nothing.
        tag: 16 octets; zero where the kind has none.
    """

    kind: PreambleKind
    way: Way
    stream: int
    lease: bytes
    client_nonce: bytes
    server_nonce: bytes = NO_NONCE
    tag: bytes = NO_TAG

    @classmethod
    def parse(cls, data: Octets) -> Self:
        """Read a message; it proves nothing before its tag is checked.

        Args:
            data: exactly 64 octets.

        Raises:
            Truncated: fewer.
            WireError: more, or not such a message.
        """
        if len(data) < PREAMBLE_OCTETS:
            raise Truncated("a throughput preamble", PREAMBLE_OCTETS, len(data))
        if len(data) > PREAMBLE_OCTETS:
            raise WireError(f"a throughput preamble has {PREAMBLE_OCTETS} octets, got {len(data)}")
        magic, version, kind, way, stream, lease, client_nonce, server_nonce, tag = _LAYOUT.unpack(data)
        if magic != MAGIC or version != VERSION:
            raise WireError("not a throughput preamble of version 1")
        if not PreambleKind.HELLO <= kind <= PreambleKind.REFUSED:
            raise WireError(f"a throughput preamble of the unknown kind {kind}")
        if way >= len(_WAYS) or stream >= MAX_STREAMS:
            raise WireError(f"a throughput preamble for way {way}, stream {stream}")
        return cls(PreambleKind(kind), _WAYS[way], stream, lease, client_nonce, server_nonce, tag)

    def serialise(self) -> bytes:
        """The 64 octets."""
        return _LAYOUT.pack(
            MAGIC,
            VERSION,
            self.kind,
            _WAYS.index(self.way),
            self.stream,
            self.lease,
            self.client_nonce,
            self.server_nonce,
            self.tag,
        )

    def challenge(self, server_nonce: bytes) -> Self:
        """The server's answer to this HELLO."""
        return replace(self, kind=PreambleKind.CHALLENGE, server_nonce=server_nonce, tag=NO_TAG)

    def proof(self, token: Key) -> Self:
        """The requester's answer to this CHALLENGE."""
        return self._tagged(PreambleKind.PROOF, token)

    def accept(self, token: Key) -> Self:
        """The server's answer to this PROOF where it is one."""
        return self._tagged(PreambleKind.ACCEPT, token)

    def refuse(self) -> Self:
        """The server's answer to this PROOF where it is none, or to whatever else it does not want."""
        return replace(self, kind=PreambleKind.REFUSED, tag=NO_TAG)

    def answers(self, question: Preamble) -> bool:
        """Whether this is about the same stream, and of the same conversation, as one that was sent before.

        A CHALLENGE brings a server nonce to a HELLO, all others keep both.
        """
        same = (self.way, self.stream, self.lease, self.client_nonce) == (
            question.way,
            question.stream,
            question.lease,
            question.client_nonce,
        )
        return same and (question.kind is PreambleKind.HELLO or self.server_nonce == question.server_nonce)

    def proves(self, token: Key) -> bool:
        """Whether this is a PROOF made with a token, in constant time; the server's own words are none."""
        return self._has_tag_of(token) and self.kind is PreambleKind.PROOF

    def accepts(self, token: Key) -> bool:
        """Whether this is an ACCEPT made with a token, in constant time; the requester's own words are none."""
        return self._has_tag_of(token) and self.kind is PreambleKind.ACCEPT

    def _has_tag_of(self, token: Key) -> bool:
        return token.has_signed(self.serialise()[:_TAGGED_OCTETS], self.tag)

    def _tagged(self, kind: PreambleKind, token: Key) -> Self:
        untagged = replace(self, kind=kind, tag=NO_TAG)
        return replace(untagged, tag=token.sign(untagged.serialise()[:_TAGGED_OCTETS]))


class Cookies:
    """Server nonces of UDP associations: they tell, without a memory, that a source receives what is sent to it.

    Args:
        secret: known to this server alone, drawn anew when it starts.
    """

    def __init__(self, secret: Key) -> None:
        self._secret = secret

    def bake(self, hello: Preamble, address: bytes, port: int, now_ns: int) -> bytes:
        """The nonce for a source's CHALLENGE.

        Args:
            hello: what came.
            address: of its source, 4 or 16 octets.
            port: of its source.
            now_ns: monotonic.
        """
        return self._secret.sign(_bound(hello, address, port, now_ns // _COOKIE_LIFE_NS))

    def has_baked(self, proof: Preamble, address: bytes, port: int, now_ns: int) -> bool:
        """Whether a PROOF brings back what its source was sent: for 5 s surely, after 10 s no more."""
        life = now_ns // _COOKIE_LIFE_NS
        return any(
            self._secret.has_signed(_bound(proof, address, port, one), proof.server_nonce)
            for one in (life, life - 1)
        )


def _bound(preamble: Preamble, address: bytes, port: int, life: int) -> bytes:
    """What a cookie is made of."""
    flow = _FLOW.pack(len(address), address, port, _WAYS.index(preamble.way), preamble.stream, life)
    return flow + preamble.lease + preamble.client_nonce
