"""What is known of probes once they are answered or given up: in columns for many, one by one for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from agent.core.interval import UNKNOWN_NS, Flags, Integers
from agent.core.outcome import Outcome

NO_OUTCOME: Final = -1
"""Stands for the reverse outcome of a probe that was lost on the way there."""

NO_NUMBER: Final = -1


class Probes(NamedTuple):
    """Probes by their session, (n,) each.

    Attributes:
        rows: of the ledger.
        sequences: within the session, not wrapped; a packet carries the low 32 bits.
    """

    rows: Integers
    sequences: Integers


class Measurements(NamedTuple):
    """What is known of n probes once they are answered or given up, (n,) each unless said.

    Attributes:
        probes: which.
        answered: whether a reply came in time; without, the delays and bounds are 0 and mean nothing.
        t1_ns: when it was sent (Unix wall time).
        delays_ns: (3, n), forward, reverse, round trip.
        uncertainty_ns: how far the one-way delays may be off; `UNKNOWN_NS`: not known.
        lower_ns, upper_ns: (2, n), what is proven of the one-way delays.
        outcomes: (3, n), each an `Outcome`; reverse is `NO_OUTCOME` for a probe that was lost on the way there.
        reflected: the number under which the reflector answered it; `NO_NUMBER` where it did not, or not in time.
        under_load: whether it was sent while a throughput test filled the line; None: none was.
        copied: whether the reflector gave T2 as T3; None: none did.
    """

    probes: Probes
    answered: bool
    t1_ns: Integers
    delays_ns: Integers
    uncertainty_ns: Integers
    lower_ns: Integers
    upper_ns: Integers
    outcomes: Integers
    reflected: Integers
    under_load: Flags | None = None
    copied: Flags | None = None

    def each(self) -> Iterator[Measurement]:
        """The probes one by one."""
        loaded = np.zeros(len(self.t1_ns), np.bool_) if self.under_load is None else self.under_load
        for index, sequence in enumerate(self.probes.sequences.tolist()):
            forward, reverse, round_trip = self.delays_ns[:, index].tolist()
            lower, upper = self.lower_ns[:, index].tolist(), self.upper_ns[:, index].tolist()
            uncertainty = int(self.uncertainty_ns[index])
            there, back, both = self.outcomes[:, index].tolist()
            yield Measurement(
                sequence=sequence,
                t1_ns=int(self.t1_ns[index]),
                forward_ns=forward if self.answered else None,
                reverse_ns=reverse if self.answered else None,
                round_trip_ns=round_trip if self.answered else None,
                uncertainty_ns=None if uncertainty == UNKNOWN_NS else uncertainty,
                forward_bounds=(lower[0], upper[0]) if self.answered else None,
                reverse_bounds=(lower[1], upper[1]) if self.answered else None,
                outcomes=(Outcome(there), None if back == NO_OUTCOME else Outcome(back), Outcome(both)),
                under_load=bool(loaded[index]),
            )


class Measurement(NamedTuple):
    """One probe; times in ns, None where there was no reply in time.

    Attributes:
        sequence, t1_ns, outcomes, under_load: as in `Measurements`; None for the reverse outcome where there is none.
        uncertainty_ns: None where it is not known.
        forward_bounds, reverse_bounds: lower and upper end of what is proven.
    """

    sequence: int
    t1_ns: int
    forward_ns: int | None
    reverse_ns: int | None
    round_trip_ns: int | None
    uncertainty_ns: int | None
    forward_bounds: tuple[int, int] | None
    reverse_bounds: tuple[int, int] | None
    outcomes: tuple[Outcome, Outcome | None, Outcome]
    under_load: bool = False
