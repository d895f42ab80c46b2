"""Replies as they pass the loopback, read by another implementation."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.reflection import ReflectorMode
from agent.core.stamp import BASE_OCTETS, ReflectorPacket
from agent.core.timestamps import ErrorEstimate
from agent.core.tlv_values import ClassOfService, ExtraPadding, FollowUpTelemetry, serialise_request
from tests.support.reflectors import Stage, reflector_on, request
from tests.support.requirements import require_binary, require_ipv6, require_root

_PROTOCOLS = {"127.0.0.1": 0x0800, "::1": 0x86DD}
_LINKTYPE_RAW = 101
_TO_US = 0
_FIELDS = (
    "ip.ttl",
    "ip.dsfield.dscp",
    "ip.dsfield.ecn",
    "ipv6.hlim",
    "ipv6.tclass.dscp",
    "ipv6.tclass.ecn",
    "udp.length",
    *(
        f"twamp.test.{name}"
        for name in (
            "seq_number",
            "sender_seq_number",
            "sender_ttl",
            "error_estimate.scale",
            "error_estimate.multiplier",
            "padding",
        )
    ),
)


class Tap:
    """What arrives on the loopback, by a packet socket."""

    def __init__(self, host: str) -> None:
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_PROTOCOLS[host])
        )
        self._socket.bind(("lo", _PROTOCOLS[host]))

    def packets(self) -> Iterator[bytes]:
        """Each once, though the loopback shows it twice: on its way out and on its way in."""
        while True:
            try:
                packet, (_, _, direction, *_) = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if direction == _TO_US:
                yield packet

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def read(packets: list[bytes], port: int, folder: Path) -> list[dict[str, str]]:
    """What tshark reads in the replies of the reflector on a port."""
    file = folder / "replies.pcap"
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, _LINKTYPE_RAW)
    for packet in packets:
        octets += struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet
    file.write_bytes(octets)
    wanted = [argument for name in _FIELDS for argument in ("-e", name)]
    command = [require_binary("tshark"), "-r", str(file), "-Y", f"udp.srcport == {port}"]
    done = subprocess.run(
        [*command, "-d", f"udp.port=={port},twamp.test", "-T", "json", *wanted],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )
    return [
        {name: values[0] for name, values in found["_source"]["layers"].items()}
        for found in json.loads(done.stdout)
    ]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("host", _PROTOCOLS)
async def test_tshark_reads_real_replies(stage: Stage, tmp_path: Path, host: str) -> None:
    """Numbers, TTLs, error estimate, marking and length are what they should be in the reader's eyes too, and what
    follows the base are the TLVs that the sender gets."""
    require_root()
    require_binary("tshark")
    if host == "::1":
        require_ipv6()
    reflector = stage.reflector(reflector_on(host, ReflectorMode.STATEFUL, markable=[46]))
    port = reflector.sockets[0].address[1]
    peer = stage.peer(host, host, reflector, dscp=10)
    tlvs = [
        b"",
        serialise_request(FollowUpTelemetry()),
        serialise_request(FollowUpTelemetry(), ClassOfService(46), ExtraPadding(b"x" * 30)),
        serialise_request(ClassOfService(12)),
    ]
    asked = [request(100 + n) + tlvs[n % 4] for n in range(16)]
    tap = Tap(host)
    try:
        replies = [octets for octets, _, _ in await peer.ask(asked)]
        found = read(list(tap.packets()), port, tmp_path)
    finally:
        tap.close()
    assert len(found) == len(replies) == 16
    ip = ("ip.ttl", "ip.dsfield.dscp", "ip.dsfield.ecn")
    if host == "::1":
        ip = ("ipv6.hlim", "ipv6.tclass.dscp", "ipv6.tclass.ecn")
    for n, (layers, octets) in enumerate(zip(found, replies, strict=True)):
        estimate = ErrorEstimate.from_wire(ReflectorPacket.parse(octets).error_estimate)
        assert [int(layers[name], 0) for name in ip] == [255, 46 if n % 4 == 2 else 0, 0]
        assert int(layers["udp.length"]) == 8 + len(asked[n])
        assert int(layers["twamp.test.seq_number"]) == n
        assert int(layers["twamp.test.sender_seq_number"]) == 100 + n
        assert int(layers["twamp.test.sender_ttl"]) == 255
        assert int(layers["twamp.test.error_estimate.scale"], 0) == estimate.scale
        assert int(layers["twamp.test.error_estimate.multiplier"], 0) == estimate.multiplier
        # a packet of TWAMP ends three octets before one of STAMP
        padding = bytes.fromhex(layers["twamp.test.padding"].replace(":", ""))
        assert padding == bytes(3) + octets[BASE_OCTETS:]
