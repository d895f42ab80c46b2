"""What an objective measures, and which packets count for and against it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from agent.core.outcome import Outcome


class Measure(StrEnum):
    """What is asked of the packets of one direction of a path.

    DELAY: a share of them keeps the limit of the path's tier; a lost one does not (RFC 7679, section 3.6).
    LOSS: no more than a share of them is lost (RFC 7680).
    DELAY_VARIATION: a share of those that arrived took no longer than the quickest of the window and a bound (PDV of
        RFC 5481, section 4.2).
    AVAILABILITY: no more than a share of time is unavailable, for its round trips are lost
        (`collector.sla.availability`).
    THROUGHPUT: no more than a share of the tests of a line may have missed its floor (`collector.sla.throughput`).
    BUDGET: the share that another objective allows is not spent too fast (`collector.sla.budget`).
    """

    DELAY = "delay"
    LOSS = "loss"
    DELAY_VARIATION = "delay_variation"
    AVAILABILITY = "availability"
    THROUGHPUT = "throughput"
    BUDGET = "budget"


class Shares(NamedTuple):
    """Outcomes that break a promise.

    Attributes:
        surely: these do, whatever is not known.
        possibly: these may; the others do not.
    """

    surely: frozenset[Outcome]
    possibly: frozenset[Outcome]


_OVER: Final = frozenset((Outcome.OVER, Outcome.LOST))
SHARES: Final = {
    Measure.DELAY: Shares(_OVER, _OVER | {Outcome.UNCERTAIN, Outcome.UNATTRIBUTED}),
    Measure.LOSS: Shares(frozenset((Outcome.LOST,)), frozenset((Outcome.LOST, Outcome.UNATTRIBUTED))),
}
"""Of the measures that are told by outcomes alone."""
