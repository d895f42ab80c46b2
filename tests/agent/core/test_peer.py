"""What is said of reflectors that leave something out."""

from __future__ import annotations

import numpy as np
import pytest

from agent.core.peer import PeerTraits
from agent.core.timestamps import ErrorEstimate

GOOD = ErrorEstimate.of_bound(1000).wire


def traits(
    octets: int = 64, ssid: int = 1, estimate: int = GOOD, *, same: bool = False, telling: bool = True
) -> PeerTraits:
    """Of a peer that answers 64 octets twice like this."""
    found = PeerTraits()
    for _ in range(2):
        found.observe(
            np.array([octets]),
            np.array([64]),
            np.array([ssid]),
            np.array([estimate]),
            np.array([same]),
            np.array([telling]),
        )
    return found


def test_who_does_all_is_not_remarked_upon() -> None:
    """Nothing is said, and every trait is true."""
    found = traits()
    assert found.sentences() == []
    assert found.document() == {
        "reply_octets": {"least": 64, "most": 64},
        "replies_are_as_long_as_requests": True,
        "returns_ssid": True,
        "vouches_for_its_clock": True,
        "timestamps_are_ptp": False,
        "tells_receive_from_transmit_time": True,
        "follow_up_telemetry": True,
    }


@pytest.mark.parametrize(
    ("found", "remark"),
    [
        (traits(41, 0, telling=False), "TWAMP Light"),
        (traits(44, 0, telling=False), "does not return the SSID"),
        (traits(44, telling=False), "cuts replies short"),
        (traits(128), "more octets than it is asked with"),
        (traits(estimate=GOOD | 0x4000), "PTP's format (Z=1)"),
        (traits(estimate=GOOD & 0x7FFF), "does not vouch"),
        (traits(estimate=GOOD & 0xFF00), "does not vouch"),
        (traits(same=True), "copies T2 into T3"),
        (traits(telling=False), "does not tell when replies left"),
    ],
)
def test_what_is_left_out_is_named(found: PeerTraits, remark: str) -> None:
    """In words of what it means for the measurement."""
    assert any(remark in sentence for sentence in found.sentences())


def test_a_peer_that_changes_is_neither() -> None:
    """A trait that only some replies have is null; lengths are from least to most."""
    found = traits()
    found.observe(
        np.array([44]),
        np.array([64]),
        np.array([0]),
        np.array([GOOD | 0x4000]),
        np.array([True]),
        np.array([False]),
    )
    document = found.document()
    assert document["reply_octets"] == {"least": 44, "most": 64}
    assert (
        document["returns_ssid"] is document["timestamps_are_ptp"] is document["follow_up_telemetry"] is None
    )


def test_of_nobody_nothing_is_said() -> None:
    """Before the first reply, and of an empty batch."""
    found = PeerTraits()
    nothing = np.zeros(0, np.int64)
    found.observe(nothing, nothing, nothing, nothing, nothing.astype(np.bool_), nothing.astype(np.bool_))
    assert found.sentences() == []
    assert found.replies == 0
