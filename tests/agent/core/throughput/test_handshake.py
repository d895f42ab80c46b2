"""Both ends of the preamble's conversation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import Key
from agent.core.throughput.handshake import Association, DatagramDoor, Progress, Requester, StreamDoor
from agent.core.throughput.lease import Way
from agent.core.throughput.preamble import PREAMBLE_OCTETS, Cookies, Preamble, PreambleKind

LEASE, TOKEN, OTHER = b"lease-id", Key(b"t" * 16), Key(b"o" * 16)
HOST, PORT = bytes([192, 0, 2, 1]), 40_000


class Book:
    """Admits each stream once to who has the token."""

    def __init__(self) -> None:
        self.admitted: list[Preamble] = []

    def __call__(self, proof: Preamble, address: bytes = HOST) -> Key | None:
        taken = {(one.way, one.stream) for one in self.admitted}
        if not proof.proves(TOKEN) or (proof.way, proof.stream) in taken or address != HOST:
            return None
        self.admitted.append(proof)
        return TOKEN


def requester(token: Key = TOKEN, stream: int = 0, nonce: bytes = b"n" * 16) -> Requester:
    return Requester(LEASE, token, Way.DOWN, stream, nonce)


def datagram_door(book: Book) -> DatagramDoor:
    return DatagramDoor(Cookies(Key(b"s" * 16)), book)


def progress_of(asking: Requester) -> Progress:
    return asking.progress


# TCP


def test_a_connection_opens() -> None:
    """Four messages, and both ends are open."""
    book, asking = Book(), requester()
    door = StreamDoor(b"d" * 16, book)
    assert asking.receive(door.receive(asking.message))
    assert progress_of(asking) is Progress.PROVING
    assert door.opened is None
    assert asking.receive(door.receive(asking.message))
    assert progress_of(asking) is Progress.OPEN
    assert door.opened == book.admitted[0]
    assert not door.closed


def test_who_has_not_the_token_is_refused() -> None:
    """And learns nothing but that."""
    asking = requester(OTHER)
    door = StreamDoor(b"d" * 16, Book())
    assert asking.receive(door.receive(asking.message))
    answer = door.receive(asking.message)
    assert asking.receive(answer)
    assert progress_of(asking) is Progress.REFUSED
    assert (door.opened, door.closed) == (None, True)
    assert Preamble.parse(answer).tag == bytes(16)


def test_an_impostor_opens_no_requester() -> None:
    """A server that does not know the token, or repeats what it heard, is sent nothing."""
    asking = requester()
    door = StreamDoor(b"d" * 16, lambda _: OTHER)
    asking.receive(door.receive(asking.message))
    proof = asking.message
    assert not asking.receive(door.receive(proof))
    assert not asking.receive(proof)
    assert not asking.receive(Preamble.parse(proof).challenge(b"e" * 16).serialise())
    assert progress_of(asking) is Progress.PROVING


def test_an_overheard_conversation_opens_no_door() -> None:
    """Its proof is for another nonce; the server's own words are no proof; a second hello or no octets at all close."""
    book, asking = Book(), requester()
    door = StreamDoor(b"d" * 16, book)
    asking.receive(door.receive(asking.message))
    proof = asking.message
    accept = door.receive(proof)
    hello = requester().message
    for messages in (
        (proof,),
        (hello, proof),
        (hello, accept),
        (hello, hello),
        (hello, b""),
        (b"GET /",),
        (accept,),
    ):
        other = StreamDoor(b"e" * 16, Book())
        for message in messages:
            answer = other.receive(message)
            assert len(answer) in (0, PREAMBLE_OCTETS)
        assert (other.opened, other.closed) == (None, True)


def test_who_was_refused_or_is_open_takes_nothing_more() -> None:
    """Neither a late refusal nor a late acceptance changes anything."""
    asking = requester()
    hello = Preamble.parse(asking.message)
    assert asking.receive(hello.refuse().serialise())
    assert progress_of(asking) is Progress.REFUSED
    assert not asking.receive(hello.challenge(b"d" * 16).serialise())
    opened = requester()
    challenge = Preamble.parse(opened.message).challenge(b"d" * 16)
    opened.receive(challenge.serialise())
    opened.receive(challenge.accept(TOKEN).serialise())
    assert progress_of(opened) is Progress.OPEN
    assert not opened.receive(challenge.refuse().serialise())
    assert progress_of(opened) is Progress.OPEN


# UDP


def test_an_association_opens_over_a_network_that_loses_and_repeats() -> None:
    """Whatever is lost, delayed or doubled, both ends open in the end, and the stream is taken once."""
    for seed in range(50):
        rng = random.Random(seed)
        book, asking = Book(), requester()
        door = datagram_door(book)
        opened: list[Association] = []
        network: list[bytes] = []
        for step in range(400):
            if progress_of(asking) is Progress.OPEN:
                break
            network += [asking.message] * rng.choice((0, 1, 1, 2))
            rng.shuffle(network)
            if network and rng.random() < 0.7:
                answer, association = door.receive(network.pop(), HOST, PORT, step * 10_000_000)
                if association is not None:
                    opened.append(association)
                if answer and rng.random() < 0.6:
                    asking.receive(answer)
        assert progress_of(asking) is Progress.OPEN
        assert [(one.address, one.port, one.proof) for one in opened] == [(HOST, PORT, book.admitted[0])]
        assert len(book.admitted) == len(door) == 1


def test_nobody_else_gets_anything() -> None:
    """A proof from another port, address or time is not answered; of what is answered, nothing is longer than asked."""
    book, asking = Book(), requester()
    door = datagram_door(book)
    answer, _ = door.receive(asking.message, HOST, PORT, 0)
    assert len(answer) == len(asking.message)
    asking.receive(answer)
    for address, port, now_ns in (
        (HOST, PORT + 1, 0),
        (bytes([192, 0, 2, 2]), PORT, 0),
        (HOST, PORT, 20_000_000_000),
    ):
        assert door.receive(asking.message, address, port, now_ns) == (b"", None)
    assert not book.admitted
    # from an address that has proven itself, an answer comes in any case
    guessing = requester(OTHER, stream=1)
    guessing.receive(door.receive(guessing.message, HOST, PORT, 0)[0])
    guessing.receive(door.receive(guessing.message, HOST, PORT, 0)[0])
    assert progress_of(guessing) is Progress.REFUSED
    assert len(door) == 0


def test_one_association_for_each_source() -> None:
    """From where a stream is open, no second one is opened; when its lease is over, all is forgotten."""
    book, asking = Book(), requester()
    door = datagram_door(book)
    for _ in range(2):
        asking.receive(door.receive(asking.message, HOST, PORT, 0)[0])
    assert progress_of(asking) is Progress.OPEN
    second = requester(stream=1, nonce=b"m" * 16)
    second.receive(door.receive(second.message, HOST, PORT, 0)[0])
    assert door.receive(second.message, HOST, PORT, 0) == (b"", None)
    door.forget(b"other-id")
    assert len(door) == 1
    door.forget(LEASE)
    assert len(door) == 0


@given(
    st.binary(max_size=80)
    | st.sampled_from(PreambleKind).map(lambda kind: b"IsoT\x01" + bytes([kind]) + bytes(58))
)
def test_any_octets(data: bytes) -> None:
    """Nothing that was not asked for opens anything, is answered at length, or breaks an end."""
    book = Book()
    door, stream_door, asking = datagram_door(book), StreamDoor(b"d" * 16, book), requester()
    answer, association = door.receive(data, HOST, PORT, 0)
    assert len(answer) <= len(data)
    assert association is None
    assert len(stream_door.receive(data)) <= len(data)
    assert not asking.receive(data)
    assert (stream_door.opened, progress_of(asking), len(door)) == (None, Progress.ASKING, 0)


@pytest.mark.parametrize("kind", [PreambleKind.CHALLENGE, PreambleKind.ACCEPT, PreambleKind.REFUSED])
def test_a_door_hears_no_doors(kind: PreambleKind) -> None:
    """What only servers say is not answered over UDP: two of them never talk to each other."""
    message = Preamble(kind, Way.UP, 0, LEASE, bytes(16)).serialise()
    assert datagram_door(Book()).receive(message, HOST, PORT, 0) == (b"", None)
