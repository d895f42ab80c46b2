"""What malformed input raises.

WireError          octets from the network that are not what they should be
└── Truncated      fewer octets than the format needs
"""


class WireError(ValueError):
    """Octets from the network cannot be read as the expected format."""


class Truncated(WireError):
    """A datagram ends before the format does."""

    def __init__(self, format_name: str, needed: int, got: int) -> None:
        super().__init__(f"{format_name} needs {needed} octets, got {got}")
        self.needed = needed
        self.got = got
