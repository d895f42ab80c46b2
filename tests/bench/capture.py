"""What the kernel saw on loopback: packets with its own times, from a packet socket (`man 7 packet`).

On loopback a packet passes the tap twice. Going out, it is stamped by the tap itself, just before the driver is handed
the packet, which is where a socket's software transmit stamp is taken a moment later (skb_tx_timestamp). Coming in, it
carries the receive stamp that the kernel gave it on entry, the same that a socket reports. So

    left       the going-out stamp: independent of every stamp that the measured program sees, and before it by what
               the tap takes for its copy, some tenths of a microsecond
    arrived    the coming-in stamp: the kernel has only one, so what is checked by it is whether the program holds the
               right stamp to the right packet, and converts it without loss

The kernel writes into a ring in shared memory (Documentation/networking/packet_mmap.rst), for the copy is made between
`left` and the transmit stamp: a queue of packets that nobody frees would cost more there than what is to be measured,
and so would a ring that is much larger than needed, each frame of which is out of every cache.
Nothing is read while it is measured unless asked for.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

_ETH_P_ALL: Final = 0x0003
_SO_ATTACH_FILTER: Final = 26
_SO_TIMESTAMPNS: Final = 35
_SOL_PACKET: Final = 263
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_VERSION: Final = 10
_TPACKET_V2: Final = 1
_RING: Final = struct.Struct("=4I")
_FRAME: Final = struct.Struct("=III2xHII18xB")
"""tpacket2_hdr: status, length, captured octets, offset of the packet, seconds, nanoseconds; sockaddr_ll: the type."""
_STATUS: Final = struct.Struct("=I")
_OURS: Final = 1
_FRAME_OCTETS: Final = 160
"""The header and an address, 80 octets in all, and as much of a packet."""
_BLOCK_FRAMES: Final = 4096
_BLOCK_OCTETS: Final = _BLOCK_FRAMES * _FRAME_OCTETS
_PACKET_OUTGOING: Final = 4
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")
_LOAD_OCTET: Final = 0x30
_LOAD_HALF: Final = 0x28
_EQUALS: Final = 0x15
_RETURN: Final = 0x06
_PACKET_TYPE: Final = 0xFFFFF004
_PROTOCOL_AT: Final = 9
_UDP_SOURCE_AT: Final = 20
_UDP_DESTINATION_AT: Final = 22
_SNAP: Final = 80
_IP_OCTETS: Final = 20
_UDP_HEADER_OCTETS: Final = 8
_SECOND_NS: Final = 1_000_000_000


class NotPermitted(Exception):
    """Packet sockets need CAP_NET_RAW."""


class Seen(NamedTuple):
    """One packet at the tap.

    Attributes:
        at_ns: the kernel's time, Unix wall time.
        outgoing: going out, else coming in.
        packet: from the IPv4 header on.
    """

    at_ns: int
    outgoing: bool
    packet: bytes

    @property
    def payload(self) -> bytes:
        """What is behind the UDP header."""
        return self.packet[_IP_OCTETS + _UDP_HEADER_OCTETS :]

    @property
    def message(self) -> bytes:
        """What is behind the IP header."""
        return self.packet[_IP_OCTETS:]

    @property
    def addresses(self) -> tuple[str, str]:
        """Source and destination."""
        return socket.inet_ntoa(self.packet[12:16]), socket.inet_ntoa(self.packet[16:20])

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination."""
        source, destination = struct.unpack_from(">HH", self.packet, _IP_OCTETS)
        return source, destination


def udp(port: int) -> list[tuple[int, int, int, int]]:
    """A program that lets through UDP from and to a port."""
    return [
        (_LOAD_OCTET, 0, 0, _PROTOCOL_AT),
        (_EQUALS, 0, 5, socket.IPPROTO_UDP),
        (_LOAD_HALF, 0, 0, _UDP_SOURCE_AT),
        (_EQUALS, 2, 0, port),
        (_LOAD_HALF, 0, 0, _UDP_DESTINATION_AT),
        (_EQUALS, 0, 1, port),
        (_RETURN, 0, 0, _SNAP),
        (_RETURN, 0, 0, 0),
    ]


def udp_departures(port: int) -> list[tuple[int, int, int, int]]:
    """A program that lets through UDP to a port as it goes out."""
    return [
        (_LOAD_OCTET, 0, 0, _PACKET_TYPE),
        (_EQUALS, 0, 5, _PACKET_OUTGOING),
        (_LOAD_OCTET, 0, 0, _PROTOCOL_AT),
        (_EQUALS, 0, 3, socket.IPPROTO_UDP),
        (_LOAD_HALF, 0, 0, _UDP_DESTINATION_AT),
        (_EQUALS, 0, 1, port),
        (_RETURN, 0, 0, _SNAP),
        (_RETURN, 0, 0, 0),
    ]


def icmp() -> list[tuple[int, int, int, int]]:
    """A program that lets through ICMP."""
    return [
        (_LOAD_OCTET, 0, 0, _PROTOCOL_AT),
        (_EQUALS, 0, 1, socket.IPPROTO_ICMP),
        (_RETURN, 0, 0, _SNAP),
        (_RETURN, 0, 0, 0),
    ]


class Capture:
    """Packets of loopback that a classic BPF program lets through; a context.

    Args:
        program: instructions (code, jump if true, jump if false, operand) on the packet from its IPv4 header on.
        waiting: how many packets may wait in the ring.

    Raises:
        NotPermitted: without CAP_NET_RAW.
    """

    def __init__(self, program: Sequence[tuple[int, int, int, int]], waiting: int = 1 << 18) -> None:
        blocks = -(-waiting // _BLOCK_FRAMES)
        self._frames = blocks * _BLOCK_FRAMES
        try:
            # opened for no protocol: nothing comes before the filter stands
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        except PermissionError:
            raise NotPermitted("packet sockets need CAP_NET_RAW") from None
        code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
        held = ctypes.create_string_buffer(code, len(code))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(program), ctypes.addressof(held))
        )
        # makes the kernel stamp packets for as long as this socket is open
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        ring = _RING.pack(_BLOCK_OCTETS, blocks, _FRAME_OCTETS, self._frames)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
        self._ring = mmap.mmap(self._socket.fileno(), blocks * _BLOCK_OCTETS)
        self._socket.bind(("lo", _ETH_P_ALL))
        self._frame = 0
        self._seen: list[Seen] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ring.close()
        self._socket.close()

    def drain(self) -> None:
        """Take what waits in the ring."""
        while True:
            start = self._frame * _FRAME_OCTETS
            status, _, octets, offset, seconds, nanoseconds, kind = _FRAME.unpack_from(self._ring, start)
            if not status & _OURS:
                return
            packet = self._ring[start + offset : start + offset + octets]
            self._seen.append(Seen(seconds * _SECOND_NS + nanoseconds, kind == _PACKET_OUTGOING, packet))
            _STATUS.pack_into(self._ring, start, 0)
            self._frame = (self._frame + 1) % self._frames

    def drain_for(self, seconds: float) -> None:
        """Take what comes, for so long: where it is too much to wait in the ring."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(0.1, left))
            self.drain()

    def packets(self) -> list[Seen]:
        """All that was seen.

        Raises:
            RuntimeError: the ring overflowed, so some were not.
        """
        self.drain()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, drops = struct.unpack("=II", statistics)
        if drops:
            raise RuntimeError(f"the capture missed {drops} packets")
        return self._seen
