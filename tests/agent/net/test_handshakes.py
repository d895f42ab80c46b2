"""TCP handshakes timed by the kernel, on loopback."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from agent.net.addresses import encode_address
from agent.net.handshakes import Handshake, Handshakes
from tests.support.stamped import LOOPBACK

PLACES = 8
DEADLINE_S = 10.0


@pytest.fixture
def places() -> threading.BoundedSemaphore:
    """Room for connections; giving back more than was taken is an error."""
    return threading.BoundedSemaphore(PLACES)


@pytest.fixture
def opened(family: socket.AddressFamily, places: threading.BoundedSemaphore) -> Iterator[Handshakes[str]]:
    """Handshakes of each address family."""
    made: Handshakes[str] = Handshakes(family, 46, places)
    yield made
    made.close()
    made.close()
    assert free_of(places) == PLACES


@pytest.fixture
def listening(family: socket.AddressFamily) -> Iterator[socket.socket]:
    """A service."""
    with socket.create_server((LOOPBACK[family], 0), family=family) as server:
        yield server


def free_of(places: threading.BoundedSemaphore) -> int:
    """How many places are free."""
    free = 0
    while places.acquire(blocking=False):
        free += 1
    if free:
        places.release(free)
    return free


def next_of(handshakes: Handshakes[str]) -> Handshake[str]:
    """The next connection of which it is known what became of it."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        for found in handshakes.finished():
            return found
        time.sleep(0.001)
    raise AssertionError("nothing became of any connection")


def address_of(server: socket.socket) -> bytes:
    """Where a server listens."""
    host, port, *_ = server.getsockname()
    return encode_address(host, port)


def test_an_accepted_connection_has_the_kernels_round_trip(
    opened: Handshakes[str], listening: socket.socket
) -> None:
    """The round trip is the handshake's, however late one looks; the connection is then reset, and leaves nothing."""
    assert opened.begin("a", address_of(listening)) == 0
    accepted, _ = listening.accept()
    time.sleep(0.05)
    found = next_of(opened)
    assert (found.token, found.failure) == ("a", "")
    assert found.round_trip_ns is not None
    assert 0 <= found.round_trip_ns < 20_000_000
    with accepted, pytest.raises(ConnectionResetError):
        accepted.recv(1)


def test_a_service_that_hangs_up_at_once_has_answered(
    opened: Handshakes[str], listening: socket.socket
) -> None:
    """What the other end does after the handshake does not change that it answered."""
    assert opened.begin("a", address_of(listening)) == 0
    accepted, _ = listening.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01" + bytes(7))
    accepted.close()
    found = next_of(opened)
    assert found.round_trip_ns is not None


def test_a_closed_port_refuses(opened: Handshakes[str], family: socket.AddressFamily) -> None:
    """A refusal is told as that, and has no round trip."""
    with socket.socket(family) as taken:
        taken.bind((LOOPBACK[family], 0))
        assert opened.begin("a", address_of(taken)) == 0
        assert next_of(opened) == Handshake("a", None, "refused")


def test_no_more_than_places_are_open(opened: Handshakes[str], listening: socket.socket) -> None:
    """A connection too many is refused as if there were no descriptor for it; each that ends makes room for one."""
    codes = [opened.begin(str(n), address_of(listening)) for n in range(PLACES + 2)]
    assert codes == [0] * PLACES + [errno.EMFILE] * 2
    next_of(opened)
    assert opened.begin("again", address_of(listening)) == 0


def test_what_cannot_be_sent_says_why(family: socket.AddressFamily, opened: Handshakes[str]) -> None:
    """A destination that there is no way to is no loss: nothing was sent."""
    nowhere = "255.255.255.255" if family == socket.AF_INET else "ff02::1"
    assert opened.begin("a", encode_address(nowhere, 9)) in (errno.ENETUNREACH, errno.EACCES, errno.EINVAL)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server whose queue of connections is full, so that it is silent to more."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        answered = True
        while answered:
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
            poller = select.poll()
            poller.register(one, select.POLLOUT)
            answered = bool(poller.poll(100))
        one.close()
        yield server


def test_silence_is_given_up(silent: socket.socket, places: threading.BoundedSemaphore) -> None:
    """A connection that nobody answers is closed once it is older than asked, and no sooner."""
    handshakes: Handshakes[str] = Handshakes(socket.AF_INET, 0, places)
    before_ns = time.monotonic_ns()
    assert handshakes.begin("a", address_of(silent)) == 0
    handshakes.give_up(before_ns)
    assert list(handshakes.finished()) == []
    assert free_of(places) == PLACES - 1
    handshakes.give_up(time.monotonic_ns())
    assert free_of(places) == PLACES
    handshakes.close()


def test_a_syn_that_was_sent_twice_tells_nothing(
    silent: socket.socket, places: threading.BoundedSemaphore
) -> None:
    """Once the kernel has sent the SYN again it is not known which one was answered."""
    handshakes: Handshakes[str] = Handshakes(socket.AF_INET, 0, places)
    assert handshakes.begin("a", address_of(silent)) == 0
    silent.accept()[0].close()
    assert next_of(handshakes) == Handshake("a", None, "retransmitted")
    handshakes.close()


def test_a_connection_that_meets_itself_is_none(places: threading.BoundedSemaphore) -> None:
    """A port that nobody listens on can be the connection's own: then nobody answered but itself."""
    handshakes: Handshakes[str] = Handshakes(socket.AF_INET, 0, places)
    real = socket.socket

    class OnThatPort(socket.socket):
        def connect_ex(self, address: object, /) -> int:
            assert isinstance(address, tuple)
            self.bind(address)
            return super().connect_ex(address)

    with real() as free:
        free.bind(("127.0.0.1", 0))
        address = encode_address(*free.getsockname())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "socket", OnThatPort)
        assert handshakes.begin("a", address) == 0
    assert next_of(handshakes) == Handshake("a", None, "self")
    handshakes.close()
