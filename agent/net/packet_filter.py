"""Classic BPF programs (`man 7 socket`, SO_ATTACH_FILTER): the kernel drops what a socket does not want to see.

What a program on a raw socket sees begins with the IP header for IPv4, and after it for IPv6; offsets here are from
the end of the IP header in both cases.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")
_LOAD: Final = {4: 0x20, 2: 0x28, 1: 0x30}
_LOAD_AFTER_HEADER: Final = {4: 0x40, 2: 0x48, 1: 0x50}
_IPV4_HEADER_LENGTH: Final = (0xB1, 0, 0, 0)
_EQUALS: Final = 0x15
_RETURN: Final = 0x06


class Field(NamedTuple):
    """What a packet must have: so many octets (1, 2 or 4) at an offset after the IP header, and their value."""

    offset: int
    octets: int
    value: int


def program(alternatives: Sequence[Sequence[Field]], version: int) -> bytes:
    """A program that accepts a packet which has all fields of at least one alternative.

    An alternative's fields are looked at in order, and the rest only where the first ones match; a packet too short
    for a field that is looked at is dropped.

    Args:
        alternatives: what is accepted.
        version: of IP, 4 or 6.
    """
    load = _LOAD_AFTER_HEADER if version == 4 else _LOAD
    instructions = [_IPV4_HEADER_LENGTH] if version == 4 else []
    for fields in alternatives:
        for position, field in enumerate(fields):
            to_next = 2 * (len(fields) - position - 1) + 1
            instructions += [(load[field.octets], 0, 0, field.offset), (_EQUALS, 0, to_next, field.value)]
        instructions.append((_RETURN, 0, 0, 0xFFFF_FFFF))
    instructions.append((_RETURN, 0, 0, 0))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)


def attach(socket_: socket.socket, made: bytes) -> None:
    """Let a socket receive only what a program accepts; what it has received before stays.

    Raises:
        OSError: the kernel refuses the program.
    """
    buffer = ctypes.create_string_buffer(made, len(made))
    described = _PROGRAM.pack(len(made) // _INSTRUCTION.size, ctypes.addressof(buffer))
    socket_.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
