"""What a receiver tells its sender."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import Key
from agent.core.exceptions import NotAuthentic, Truncated, WireError
from agent.core.throughput.feedback import FEEDBACK_OCTETS, Feedback, FeedbackKind
from agent.core.throughput.lease import Way

TOKEN, OTHER = Key(bytes(range(16))), Key(bytes(16))
NEWS = Feedback(FeedbackKind.NEWS, Way.UP, 1, 2, 3, 4, 5, 6)
counts = st.integers(0, 2**64 - 1)


def signed(octets: bytes) -> bytes:
    return octets + TOKEN.sign(octets)


def test_layout() -> None:
    """The fields stand where the diagram has them; the tag covers all before it."""
    data = NEWS.serialise(TOKEN)
    assert data[:8] == b"IsoF\x01\x00\x01\x00"
    assert data[8:56] == b"".join(count.to_bytes(8, "big") for count in (1, 2, 3, 4, 5, 6))
    assert TOKEN.has_signed(data[:56], data[56:])


@given(st.builds(Feedback, st.sampled_from(FeedbackKind), st.sampled_from(Way), *[counts] * 6))
def test_round_trip(feedback: Feedback) -> None:
    """Serialise then parse gives the same message, of 72 octets, and no other token reads it."""
    data = feedback.serialise(TOKEN)
    assert len(data) == FEEDBACK_OCTETS
    assert Feedback.parse(data, TOKEN) == feedback
    with pytest.raises(NotAuthentic):
        Feedback.parse(data, OTHER)


@pytest.mark.parametrize("at", [0, 4, 5, 6])
def test_what_is_none(at: int) -> None:
    """Another magic, version, kind or way is refused even where it is signed."""
    data = bytearray(NEWS.serialise(TOKEN)[:56])
    data[at] = 9
    with pytest.raises(WireError, match="feedback"):
        Feedback.parse(signed(bytes(data)), TOKEN)


def test_lengths() -> None:
    """Fewer octets are truncated, more are none."""
    data = NEWS.serialise(TOKEN)
    with pytest.raises(Truncated):
        Feedback.parse(data[:-1], TOKEN)
    with pytest.raises(WireError, match="got 73"):
        Feedback.parse(data + b"\0", TOKEN)
