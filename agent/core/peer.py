"""What kind of reflector answers: learnt from its replies, and told to whoever asks with a one-shot probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from agent.core.interval import Flags, Integers
from agent.core.stamp import BASE_OCTETS

_SYNCHRONISED: Final = 0x8000
_PTP: Final = 0x4000
_MULTIPLIER: Final = 0xFF


class PeerTraits:
    """What the replies of one peer have in common.

    Attributes:
        replies: how many were looked at.
        octets: least and greatest length of a reply; (0, 0) before the first one.
    """

    def __init__(self) -> None:
        self.replies = 0
        self.octets = (0, 0)
        self._session = 0
        self._vouched = 0
        self._ptp = 0
        self._same_times = 0
        self._telling = 0
        self._longer = 0
        self._shorter = 0

    def observe(
        self,
        octets: Integers,
        asked: Integers,
        ssids: Integers,
        estimates: Integers,
        same_times: Flags,
        telling: Flags,
    ) -> None:
        """Look at replies, (n,) each.

        Args:
            octets: how long.
            asked: how long the requests were.
            ssids: the session identifier that came back; 0: none.
            estimates: 16-bit Error Estimates.
            same_times: whether T2 and T3 are the same to the last bit.
            telling: whether Follow-Up Telemetry came back understood.
        """
        if len(octets) == 0:
            return
        least, most = int(octets.min()), int(octets.max())
        self.octets = (min(least, self.octets[0] or least), max(most, self.octets[1]))
        self.replies += len(octets)
        self._longer += int(np.count_nonzero(octets > asked))
        self._shorter += int(np.count_nonzero(octets < asked))
        self._session += int(np.count_nonzero(ssids))
        vouching = (estimates & _SYNCHRONISED != 0) & (estimates & _MULTIPLIER != 0)
        self._vouched += int(np.count_nonzero(vouching))
        self._ptp += int(np.count_nonzero(estimates & _PTP))
        self._same_times += int(np.count_nonzero(same_times))
        self._telling += int(np.count_nonzero(telling))

    def document(self) -> Mapping[str, Any]:
        """All of it; a trait is true where every reply has it, false where none has, and else null."""
        return {
            "reply_octets": {"least": self.octets[0], "most": self.octets[1]},
            "replies_are_as_long_as_requests": self._every(self.replies - self._longer - self._shorter),
            "returns_ssid": self._every(self._session),
            "vouches_for_its_clock": self._every(self._vouched),
            "timestamps_are_ptp": self._every(self._ptp),
            "tells_receive_from_transmit_time": self._every(self.replies - self._same_times),
            "follow_up_telemetry": self._every(self._telling),
        }

    def sentences(self) -> list[str]:
        """What is odd of it, for a person; nothing of a reflector that does all that can be asked for."""
        if self.replies == 0:
            return []
        found = []
        if self.octets[0] < BASE_OCTETS:
            found.append(f"answers with {self.octets[0]} octets, as TWAMP Light does: without extensions")
        elif not self._session:
            found.append("does not return the SSID (RFC 8762 without RFC 8972): told apart by its address")
        if self._longer:
            found.append(
                "answers with more octets than it is asked with, and so could be used to amplify floods"
            )
        elif self._shorter and self.octets[0] >= BASE_OCTETS:
            found.append(
                "cuts replies short of their requests: what is asked for beyond the base is not answered"
            )
        if self._ptp:
            found.append(
                "tells its times in PTP's format (Z=1), which counts TAI: taken as 37 s ahead of UTC"
            )
        if not self._vouched:
            found.append("does not vouch for its clock (S=0 or multiplier 0): one-way delays are bounds only")
        if self._same_times == self.replies:
            found.append(
                "copies T2 into T3: the time it takes to answer counts as reverse delay, which is never proven over"
            )
        if not self._telling:
            found.append(
                "does not tell when replies left (RFC 8972, section 4.7): reverse delays are a bit too long"
            )
        return found

    def _every(self, number: int) -> bool | None:
        if number in (0, self.replies):
            return number > 0
        return None
