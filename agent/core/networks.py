"""Which addresses belong to a list of networks: looked up in ordered ranges, one at a time or a whole batch at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags

Network = IPv4Network | IPv6Network

IPV4_OCTETS: Final = 4
IPV6_OCTETS: Final = 16
SUBSCRIBER_OCTETS_IPV6: Final = 8
"""One subscriber has a whole /64: otherwise he had as much of everything as he has addresses."""
_COLUMNS: Final = {IPV4_OCTETS: np.dtype(">u4"), IPV6_OCTETS: np.dtype("S16")}


class _Ranges:
    """The networks of one address family as ranges that neither overlap nor touch, in order."""

    def __init__(self, octets: int, networks: Iterable[Network]) -> None:
        firsts: list[bytes] = []
        lasts: list[bytes] = []
        spans = sorted(
            (network.network_address.packed, network.broadcast_address.packed) for network in networks
        )
        for first, last in spans:
            if lasts and first <= lasts[-1]:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        self._firsts = firsts
        self._lasts = lasts
        self._octets = octets
        self._first_column = self._column(firsts)
        self._last_column = self._column(lasts)

    def contain(self, address: bytes) -> bool:
        at = bisect_right(self._firsts, address) - 1
        return at >= 0 and address <= self._lasts[at]

    def contain_all(self, addresses: NDArray[np.uint8]) -> Flags:
        if not self._firsts:
            return np.zeros(len(addresses), np.bool_)
        column = np.ascontiguousarray(addresses).view(_COLUMNS[self._octets])[:, 0]
        at = self._first_column.searchsorted(column, "right") - 1
        inside: Flags = (at >= 0) & (column <= self._last_column[at])
        return inside

    def _column(self, addresses: Sequence[bytes]) -> NDArray[Any]:
        return np.frombuffer(b"".join(addresses), _COLUMNS[self._octets])


class Networks:
    """A set of addresses, given as networks of either family.

    Args:
        networks: they may overlap.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        listed = list(networks)
        self._ranges = {
            IPV4_OCTETS: _Ranges(IPV4_OCTETS, [one for one in listed if one.version == 4]),
            IPV6_OCTETS: _Ranges(IPV6_OCTETS, [one for one in listed if one.version == 6]),
        }
        self._empty = not listed

    def __bool__(self) -> bool:
        return not self._empty

    def contain(self, address: bytes) -> bool:
        """Whether an address of 4 or 16 octets is in one of the networks."""
        return self._ranges[len(address)].contain(address)

    def contain_all(self, addresses: NDArray[np.uint8]) -> Flags:
        """The same of many, (n, 4) or (n, 16) octets: (n,)."""
        return self._ranges[addresses.shape[1]].contain_all(addresses)


def subscriber_of(address: bytes) -> bytes:
    """What stands for whoever an address of 4 or 16 octets belongs to: an IPv4 address, or the /64 of an IPv6 one."""
    return address[:SUBSCRIBER_OCTETS_IPV6] if len(address) == IPV6_OCTETS else address
