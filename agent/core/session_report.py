"""What the replies of one session tell of their way and of their reflector, besides times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from agent.core.outcome import Direction
from agent.core.tlv import TlvType
from agent.core.tlv_reception import TlvFault
from agent.core.tlv_values import DirectMeasurement, SyncSource, TimestampInformation, TimestampMethod


class Marking(StrEnum):
    """What of a packet's marking was changed on the way."""

    DSCP = "dscp"
    ECN = "ecn"
    """To anything but congestion experienced: whether a transport may be told of congestion was changed."""
    CONGESTION = "congestion"
    """From ECT to CE (RFC 3168, section 5): what ECN is for."""


@dataclass(slots=True)
class SessionReport:
    """What was learnt so far.

    Attributes:
        remarked: packets that arrived with another marking than they left with, by direction and marking.
        timestamping: how the reflector last said to keep its clock and to take its times; None: it never said.
        direct: the packet counts of the last reply that told them; None: none did.
        unanswered: types of TLVs that the reflector has not answered.
        faults: replies of which not all TLVs could be used, by reason.
    """

    remarked: Counter[tuple[Direction, Marking]] = field(default_factory=Counter)
    timestamping: TimestampInformation | None = None
    direct: DirectMeasurement | None = None
    unanswered: frozenset[int] = frozenset()
    faults: Counter[TlvFault] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        """All of it; null where nothing was said."""
        return {
            "remarked": [
                {"direction": direction.value, "marking": marking.value, "packets": count}
                for (direction, marking), count in sorted(self.remarked.items())
            ],
            "timestamping": None if self.timestamping is None else _timestamping(self.timestamping),
            "direct_measurement": None
            if self.direct is None
            else {
                "sender_sent": self.direct.sender_tx,
                "reflector_received": self.direct.reflector_rx,
                "reflector_sent": self.direct.reflector_tx,
            },
            "unanswered_tlvs": [_label(TlvType, kind) for kind in sorted(self.unanswered)],
            "tlv_faults": {fault.value: count for fault, count in sorted(self.faults.items())},
        }


def _timestamping(said: TimestampInformation) -> dict[str, str]:
    return {
        "receive_clock": _label(SyncSource, said.sync_in),
        "receive_method": _label(TimestampMethod, said.method_in),
        "transmit_clock": _label(SyncSource, said.sync_out),
        "transmit_method": _label(TimestampMethod, said.method_out),
    }


def _label(registry: type[IntEnum], value: int) -> str:
    """The name of a registered number; others stay numbers."""
    return next((known.name.lower() for known in registry if known == value), str(value))
