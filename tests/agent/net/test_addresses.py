"""Socket addresses as the kernel takes them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.net.addresses import bindable, decode_address, encode_address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_addresses_are_encoded_and_decoded(address: object, port: int) -> None:
    """Decoding gives back what was encoded, over all addresses and ports."""
    encoded = encode_address(str(address), port)
    assert decode_address(encoded) == (str(address), port)
    assert len(encoded) in (16, 28)


def test_scopes_are_interfaces() -> None:
    """A link-local address carries its interface, by name or by number; a name is no address."""
    index = socket.if_nametoindex("lo")
    assert encode_address("fe80::1%lo", 862) == encode_address(f"fe80::1%{index}", 862)
    assert decode_address(encode_address("fe80::1%lo", 862)) == (f"fe80::1%{index}", 862)
    assert bindable("fe80::1%lo", 862) == bindable(f"fe80::1%{index}", 862) == ("fe80::1", 862, 0, index)
    for encode in (encode_address, bindable):
        with pytest.raises(OSError, match=r"No such device|no interface"):
            encode("fe80::1%nonesuch", 862)
    with pytest.raises(ValueError, match="does not appear to be"):
        encode_address("example.org", 862)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", ""])
def test_what_has_no_scope_is_bound_as_it_is(address: str) -> None:
    """The kernel's choice of an address, too."""
    assert bindable(address, 862) == (address, 862)
