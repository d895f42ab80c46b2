"""Membership in networks, against the standard library's own answer."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.networks import Networks

_v4 = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
_v6 = st.builds(
    lambda number, length: IPv6Network((number, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)


@given(st.lists(_v4 | _v6, max_size=8), st.data())
def test_as_the_standard_library_says(networks: list[IPv4Network | IPv6Network], data: st.DataObject) -> None:
    """Edges, neighbours of edges and anything else: alone or in a batch, an address is in or out as it should be."""
    for family, bits in ((IPv4Address, 32), (IPv6Address, 128)):
        edges = [
            int(edge) + step
            for network in networks
            if network.version == family(0).version
            for edge in (network.network_address, network.broadcast_address)
            for step in (-1, 0, 1)
        ]
        numbers = [n for n in edges if 0 <= n < 2**bits]
        numbers += data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=4))
        addresses = [family(n) for n in numbers]
        expected = [any(one in network for network in networks) for one in addresses]
        found = Networks(networks)
        assert [found.contain(one.packed) for one in addresses] == expected
        column = np.frombuffer(b"".join(one.packed for one in addresses), np.uint8).reshape(-1, bits // 8)
        assert found.contain_all(column).tolist() == expected


def test_emptiness_is_known() -> None:
    """No network at all is false, so that a batch need not be asked about."""
    assert not Networks()
    assert Networks([ip_network("::/0")])
