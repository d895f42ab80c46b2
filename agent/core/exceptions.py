"""What malformed input raises.

WireError          octets from the network that are not what they should be
├── Truncated      fewer octets than the format needs
├── MalformedTlv   a TLV whose length its type does not have
└── NotAuthentic   an authenticated packet that no valid key has signed
"""


class WireError(ValueError):
    """Octets from the network cannot be read as the expected format."""


class Truncated(WireError):
    """A datagram ends before the format does."""

    def __init__(self, format_name: str, needed: int, got: int) -> None:
        super().__init__(f"{format_name} needs {needed} octets, got {got}")
        self.needed = needed
        self.got = got


class MalformedTlv(WireError):
    """The value of a TLV cannot be read as its type says."""


class NotAuthentic(WireError):
    """No valid key has signed the packet: nothing in it may be used."""
