"""tshark as an oracle: another implementation reads from our packets what we wrote into them."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from pathlib import Path

from agent.core.stamp import ReflectorPacket
from agent.core.timestamps import ErrorEstimate, ntp_from_ns
from tests.support.requirements import require_binary

FIELDS = (
    "seq_number",
    "error_estimate.s",
    "error_estimate.scale",
    "error_estimate.multiplier",
    "sender_seq_number",
    "sender_ttl",
)
TIMES = ("timestamp", "receive_timestamp", "sender_timestamp")
_LINKTYPE_RAW = 101


def capture(payloads: list[bytes]) -> bytes:
    """A capture file of UDP datagrams to port 862 (format: libpcap, link type raw IP)."""
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, _LINKTYPE_RAW)
    for payload in payloads:
        udp = struct.pack(">HHHH", 862, 40_000, 8 + len(payload), 0) + payload
        head = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\2"
        )
        packet = head + udp
        file += struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet
    return file


def test_tshark_reads_our_replies(tmp_path: Path) -> None:
    """Sequence numbers, error estimates, TTL and all three times come out as they went in."""
    rng = random.Random(1)
    times_ns = [rng.randrange(10**18, 2 * 10**18) for _ in range(3)]
    packets = [
        ReflectorPacket(
            rng.randrange(2**32),
            ntp_from_ns(times_ns[0]),
            ErrorEstimate.of_bound(rng.randrange(1, 10**9)).wire,
            7,
            ntp_from_ns(times_ns[1]),
            rng.randrange(2**32),
            ntp_from_ns(times_ns[2]),
            0x8AD2,
            rng.randrange(256),
        )
        for _ in range(20)
    ]
    file = tmp_path / "replies.pcap"
    file.write_bytes(capture([packet.serialise() for packet in packets]))
    wanted = [argument for name in (*FIELDS, *TIMES) for argument in ("-e", f"twamp.test.{name}")]
    done = subprocess.run(
        [require_binary("tshark"), "-r", file, "-d", "udp.port==862,twamp.test", "-T", "json", *wanted],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    decoded = [found["_source"]["layers"] for found in json.loads(done.stdout)]
    assert len(decoded) == len(packets)
    for layers, packet in zip(decoded, packets, strict=True):
        estimate = ErrorEstimate.from_wire(packet.error_estimate)
        read = [int(layers[f"twamp.test.{name}"][0], 0) for name in FIELDS[2:]]
        assert read == [estimate.scale, estimate.multiplier, packet.sender_sequence, packet.sender_ttl]
        assert int(layers["twamp.test.seq_number"][0]) == packet.sequence
        assert layers["twamp.test.error_estimate.s"][0].lower() in ("1", "true")
        for name, time_ns in zip(TIMES, times_ns, strict=True):
            assert f".{time_ns % 10**9 // 1000:06}" in layers[f"twamp.test.{name}"][0]
