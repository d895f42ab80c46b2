"""ICMP sockets: which kind is chosen by what is permitted, and what each of them hears."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent.core.icmp import ECHO_OCTETS
from agent.net.echo_socket import EchoSocket, open_echo_socket, protocol_of
from tests.support.netns import Namespace, joined_namespaces
from tests.support.requirements import require_binary, require_root
from tests.support.stamped import LOOPBACK

DEADLINE_S = 5.0


@pytest.fixture(autouse=True)
def _may_open_raw_sockets() -> None:
    require_root()


def send(echo: EchoSocket, family: socket.AddressFamily, identifier: int, cookie: int) -> None:
    """A request to loopback; it needs a right checksum over IPv4, where nobody else writes it."""
    message = bytearray(ECHO_OCTETS)
    message[0] = protocol_of(family).request
    message[4:6] = identifier.to_bytes(2, "big")
    message[8:12] = cookie.to_bytes(4, "big")
    words = sum(int.from_bytes(message[at : at + 2], "big") for at in range(0, len(message), 2))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    message[2:4] = (~words & 0xFFFF).to_bytes(2, "big")
    echo.socket.sendto(message, (LOOPBACK[family], 0))


def test_only_replies_to_its_own_requests_reach_a_raw_socket(family: socket.AddressFamily) -> None:
    """Requests, and replies with another identifier or cookie, never get past the filter."""
    ours, theirs = open_echo_socket(family), open_echo_socket(family)
    with ours.socket, theirs.socket:
        assert ours.raw
        assert not ours.socket.getblocking()
        ours.socket.settimeout(DEADLINE_S)
        send(theirs, family, theirs.identifier, theirs.cookie)
        send(ours, family, ours.identifier, ours.cookie ^ 1)
        send(ours, family, ours.identifier ^ 1, ours.cookie)
        send(ours, family, ours.identifier, ours.cookie)
        reply = ours.socket.recv(2048)
        assert reply[-ECHO_OCTETS] == protocol_of(family).reply
        assert reply[-ECHO_OCTETS + 8 : -ECHO_OCTETS + 12] == ours.cookie.to_bytes(4, "big")
        ours.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.socket.recv(2048)


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A network namespace whose sysctls are its own."""
    with joined_namespaces() as (left, _):
        yield left


def unprivileged(namespace: Namespace, target: str, groups: str) -> tuple[int, dict[str, object], str]:
    """`probe icmp` as a program without CAP_NET_RAW: its status, what it found, and what it complained of."""
    namespace.run("sh", "-c", f"echo '{groups}' > /proc/sys/net/ipv4/ping_group_range")
    done = subprocess.run(
        namespace.command(
            *(require_binary("setpriv"), "--bounding-set=-net_raw", sys.executable, "-m", "agent", "probe"),
            *("icmp", target, "--count", "20", "--interval", "2ms", "--limit", "< 1s", "--json"),
        ),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("target", ["127.0.0.1", "::1"])
def test_a_group_may_ping_without_privilege(namespace: Namespace, target: str) -> None:
    """Within ping_group_range the datagram socket measures as well, by kernel stamps."""
    status, found, complaint = unprivileged(namespace, target, "0 0")
    assert (status, complaint) == (0, "")
    assert (found["sent"], found["answered"], found["law"], found["discarded"]) == (20, 20, "holds", {})
    directions = found["directions"]
    assert isinstance(directions, dict)
    assert directions["forward"]["outcomes"]["within"] == 20
    assert directions["round_trip"]["delay"]["p50_seconds"] < 0.001


def test_both_remedies_are_named_where_nothing_is_permitted(namespace: Namespace) -> None:
    """Without either permission nothing is sent, and whoever reads the complaint knows what to do."""
    status, found, complaint = unprivileged(namespace, "127.0.0.1", "1 0")
    assert status == 1
    assert (found["sent"], found["law"]) == (0, "holds")
    not_sent = found["not_sent"]
    assert isinstance(not_sent, dict)
    # what is overdue on a busy machine is beside these
    assert not_sent["not_permitted"] == 20
    assert "CAP_NET_RAW" in complaint
    assert "net.ipv4.ping_group_range='0 0'" in complaint
    assert "Traceback" not in complaint
