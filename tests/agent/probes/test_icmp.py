"""ICMP echo against the kernel's own answers: on loopback, and over a link of one's own."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.icmp import ECHO_COLUMNS, ECHO_OCTETS
from agent.core.outcome import Outcome
from agent.net import control
from agent.net.addresses import encode_address
from agent.net.arrivals import Arrivals
from agent.probes.destinations import Destinations
from agent.probes.icmp import IcmpOutlet, IcmpProbes
from tests.support.netns import joined_namespaces
from tests.support.probing import Recorded, finish, measure, path, prober_of
from tests.support.processes import eventually
from tests.support.requirements import require, require_ipv6, require_root

MS = 1_000_000
IP_HEADER = 20


@pytest.fixture(autouse=True)
def _may_open_raw_sockets() -> None:
    require_root()


@pytest.fixture(params=["chosen", "counted"])
def _numbering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transmit times under numbers of our choice, and under those of older kernels."""
    if request.param == "chosen":
        require(control.kernel_takes_transmit_ids(), "this kernel takes no chosen transmit numbers")
    else:
        monkeypatch.setattr(control, "kernel_takes_transmit_ids", lambda: False)


@pytest.mark.parametrize("address", ["127.0.0.5", "::1"])
@pytest.mark.usefixtures("_numbering")
async def test_every_echo_is_measured_by_kernel_stamps(address: str) -> None:
    """Every probe is answered, its round trip lies between two times of the kernel, and it bounds both directions."""
    if ":" in address:
        require_ipv6()
    recorded = Recorded()
    prober = prober_of(IcmpProbes(), [path("icmp", address)], 50, recorded)
    await measure(prober)
    ledger = prober.paths[0].ledger
    assert ledger.sent == 50 == sum(ledger.round_trip.outcomes[: Outcome.LOST])
    assert ledger.forward.outcomes[Outcome.WITHIN] == ledger.reverse.outcomes[Outcome.WITHIN] == 50
    assert ledger.round_trip.delay.total == 50
    assert ledger.forward.delay.total == ledger.reverse.delay.total == ledger.forward.variation.total == 0
    assert prober.discarded == {}
    for one in recorded.all:
        assert one.round_trip_ns is not None
        assert 0 <= one.round_trip_ns < 20 * MS
        assert one.uncertainty_ns is None
        assert one.forward_bounds == one.reverse_bounds == (0, one.round_trip_ns)
    assert prober.sockets[0].kernel_transmit_stamps
    assert prober.sockets[0].kernel_receive_stamps


async def test_many_targets_share_one_socket_for_each_code_point() -> None:
    """All targets of a family and a code point are one socket's, and none takes another's replies."""
    paths = [path("icmp", f"127.0.1.{n + 1}", dscp=46 * (n % 2)) for n in range(40)]
    prober = prober_of(IcmpProbes(), paths, 10)
    await measure(prober)
    assert [sum(probed.ledger.round_trip.outcomes[:3]) for probed in prober.paths] == [10] * 40
    assert len(prober.sockets) == 2
    assert prober.discarded == {}


async def test_two_programs_do_not_hear_each_other() -> None:
    """Of two probers at once on one host, neither is even woken by the other's replies."""
    probers = [prober_of(IcmpProbes(), [path("icmp", "127.0.0.1")], 50) for _ in range(2)]
    for prober in probers:
        await prober.start()
    for prober in probers:
        await finish(prober)
        ledger = prober.paths[0].ledger
        assert sum(ledger.round_trip.outcomes[: Outcome.LOST]) == 50
        assert ledger.round_trip.duplicates == 0
        assert prober.discarded == {}


async def answers(address: str) -> bool:
    """Whether one probe is answered."""
    prober = prober_of(IcmpProbes(), [path("icmp", address)], 1)
    await measure(prober)
    return prober.paths[0].ledger.round_trip.outcomes[Outcome.LOST] == 0


@pytest.mark.timeout(120)
async def test_over_a_link() -> None:
    """Over veth every probe is answered; silence is loss in no proven direction, and an error is counted as what it
    says."""
    with joined_namespaces() as (left, right):
        left.run("ip", "route", "add", "10.98.0.0/16", "via", right.ipv4)
        right.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        right.run("ip", "route", "add", "blackhole", "10.98.1.0/24")
        right.run("ip", "route", "add", "unreachable", "10.98.2.0/24")
        addresses = [right.ipv4, right.ipv6, "10.98.1.1", "10.98.2.1"]
        prober = prober_of(IcmpProbes(), [path("icmp", address) for address in addresses], 40)
        with left.entered():
            # IPv6 finds its neighbour a second after the link is up
            await eventually(lambda: answers(right.ipv6), "the other end answers")
            await prober.start()
        await finish(prober)
    ledgers = [probed.ledger for probed in prober.paths]
    for answered in ledgers[:2]:
        assert sum(answered.round_trip.outcomes[: Outcome.LOST]) == 40
        assert 0 < answered.round_trip.delay.sum_ns / 40 < 2 * MS
    for lost in ledgers[2:]:
        assert lost.round_trip.outcomes[Outcome.LOST] == lost.forward.outcomes[Outcome.UNATTRIBUTED] == 40
        assert lost.late == 0
    # a router says so a few times at once, and then once a second
    assert set(prober.discarded) == {"unreachable"}
    assert 0 < prober.discarded["unreachable"] <= 40


async def test_what_may_not_be_opened_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where neither kind of socket may be opened, nothing is sent and nothing lost; the reason is counted, and said
    once for all paths with both remedies."""

    def refused(*_: object, **__: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refused)
    prober = prober_of(IcmpProbes(), [path("icmp", f"127.0.0.{n + 1}") for n in range(3)], 5)
    await prober.start()
    monkeypatch.undo()
    await finish(prober)
    for probed in prober.paths:
        assert probed.ledger.sent == 0
        assert probed.ledger.not_sent["not_permitted"]
        # a busy machine may miss the moment to try
        assert probed.ledger.not_sent.keys() <= {"not_permitted", "overdue"}
        assert probed.ledger.not_sent.total() == 5
        assert not probed.resolved
    (complaint,) = [record.getMessage() for record in caplog.records if "not permitted" in record.message]
    assert "CAP_NET_RAW" in complaint
    assert "ping_group_range" in complaint


class Reader:
    """An outlet that reads what a test makes up; row 0 is sent to 127.0.0.1."""

    def __init__(self) -> None:
        self.destinations = Destinations()
        self.source = encode_address("127.0.0.1", 0)
        self.destinations.set(0, self.source)
        self.outlet = IcmpOutlet(socket.AF_INET, 0, self.destinations)
        self.discarded: Counter[str] = Counter()

    def read(self, messages: list[bytes]) -> list[int]:
        """The rows of what passes for a reply."""
        payloads = np.zeros((len(messages), 128), np.uint8)
        for row, message in enumerate(messages):
            payloads[row, : len(message)] = np.frombuffer(message[:128], np.uint8)
        octets = np.array([len(message) for message in messages], np.uint32)
        sources = np.tile(np.frombuffer(self.source, np.uint8), (len(messages), 1))
        arrivals = Arrivals(payloads, octets, sources, np.full(len(messages), 5, np.int64))
        rows: list[int] = self.outlet.read(arrivals, self.discarded).rows.tolist()
        return rows

    def reply(self, options: int = 0) -> bytes:
        """A genuine reply to row 0, behind an IP header with so many words of options."""
        octets = np.zeros((1, ECHO_OCTETS), np.uint8)
        columns = octets.view(ECHO_COLUMNS)[:, 0]
        columns["identifier"] = self.outlet._echo.identifier
        columns["cookie"] = self.outlet._echo.cookie
        columns["timestamp"] = 77
        columns["complement"] = ~77 & 0xFFFF_FFFF_FFFF_FFFF
        header = bytes([0x45 + options]) + bytes(IP_HEADER - 1 + 4 * options)
        return header + octets.tobytes()


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """One for all examples."""
    require_root()
    made = Reader()
    yield made
    made.outlet.close()


def test_a_reply_behind_ip_options_is_read(reader: Reader) -> None:
    """The IP header's length is what it says."""
    assert reader.read([reader.reply(), reader.reply(options=3), reader.reply(options=10)]) == [0, 0, 0]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_counted_and_kills_nothing(reader: Reader, messages: list[bytes]) -> None:
    """Whatever comes is no reply, and counted once."""
    before = reader.discarded.total()
    assert reader.read(messages) == []
    assert reader.discarded.total() == before + len(messages)


CHECKED = [*range(2), *range(4, 6), *range(8, 16), *range(24, 40)]


@given(st.sampled_from(CHECKED), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reply_with_one_wrong_octet_is_none(reader: Reader, place: int, flipped: int) -> None:
    """Type, code, identifier, cookie, row, and the timestamp in both its forms must all be right."""
    reply = bytearray(reader.reply())
    reply[IP_HEADER + place] ^= flipped
    assert reader.read([bytes(reply)]) == []


@given(st.integers(0, IP_HEADER + ECHO_OCTETS - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reply_that_is_cut_short_is_none(reader: Reader, octets: int) -> None:
    """What is not there is not read from what was there before."""
    assert reader.read([reader.reply()[:octets]]) == []
