"""Hosts: names and addresses, and which addresses a name has."""

from __future__ import annotations

import ipaddress
import socket


def is_address(host: str) -> bool:
    """Whether this is an address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_name(host: str) -> bool:
    """Whether this can be the name of a host: what is between its dots has 1 to 63 octets, as it is asked for.

    Source: RFC 1035, section 2.3.4; RFC 3490, section 4, of what is not ASCII.
    """
    if host.isascii():
        labels = host.removesuffix(".").split(".")
        return host.isprintable() and all(0 < len(label) < 64 for label in labels)
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return host.isprintable()


def addresses_of(host: str) -> tuple[str, ...]:
    """The addresses of a host, of any family, in the system's order; an address is its own. Blocks.

    Raises:
        OSError: there is none, or this is no name.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except ValueError as error:
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from error
    addresses = []
    for _, _, _, _, name in found:
        address, scope = str(name[0]), name[3] if len(name) == 4 else 0
        addresses.append(f"{address}%{scope}" if scope and "%" not in address else address)
    return tuple(addresses)
