"""The flight recorder: what became of every probe of the last minutes, kept as the raw evidence of a breach.

One ring for all paths, made of blocks that are allocated when they are needed and dropped when their time is over, or
when the memory would exceed its bound: then the record is shorter than it was meant to be, and says so. A packet takes
42 octets, so that 32 MB hold 760,000: ten minutes at 1,250 probes a second, 76 s at 10,000. A path probed ten times a
second so takes 252 kB for ten minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import UNKNOWN_NS, Flags, Integers, one_way_bounds
from agent.core.measurement import NO_OUTCOME, Measurements
from agent.core.outcome import Outcome

RECORD: Final = np.dtype(
    [
        ("sent_ns", "i8"),
        ("forward_ns", "i8"),
        ("reverse_ns", "i8"),
        ("uncertainty_ns", "u4"),
        ("path", "u4"),
        ("sequence", "u4"),
        ("reflected", "u4"),
        ("outcomes", "u2"),
    ]
)
"""One packet. Times are Unix wall time, delays without a reply in time `NO_DELAY`, an uncertainty that is not known (or
exceeds 4 s) `NO_UNCERTAINTY`, the sender's and the reflector's numbers modulo 2^32, the latter `NO_REFLECTED` without a
reply in time, outcomes four bits each: forward, reverse and round trip from the lowest, `NO_OUTCOME` as 15; above them
the bits of what was sent while a throughput test filled the line, and of what was answered with T2 as T3."""

NO_DELAY: Final = int(np.iinfo(np.int64).min)
NO_UNCERTAINTY: Final = int(np.iinfo(np.uint32).max)
NO_REFLECTED: Final = int(np.iinfo(np.uint32).max)
_BLOCK: Final = 16_384
_LOW_32: Final = 0xFFFF_FFFF
_OUTCOME_BITS: Final = 4
_OUTCOME_MASK: Final = 0xF
_LOADED_BIT: Final = 3 * _OUTCOME_BITS
_COPIED_BIT: Final = _LOADED_BIT + 1

Records = NDArray[np.void]


class Summary(NamedTuple):
    """Exact order statistics of some delays; ns, by nearest rank.

    Attributes:
        packets: how many there are.
        least_ns: the least.
        quantiles_ns: of each quantile that was asked for.
    """

    packets: int
    least_ns: int
    quantiles_ns: tuple[int, ...]


class FlightRecorder:
    """Remembers packets.

    Args:
        length_ns: for how long, at most.
        octets: how much memory that may take.
    """

    def __init__(self, length_ns: int, octets: int) -> None:
        self.length_ns = length_ns
        self._most_blocks = max(1, octets // (_BLOCK * RECORD.itemsize))
        self._blocks: deque[Records] = deque()
        self._used = _BLOCK  # of the last block

    def add(self, measured: Measurements, first_path: int = 0) -> None:
        """Remember probes that were answered or given up.

        Args:
            measured: what is known of them.
            first_path: what is added to their rows, where several tables of rows share a recorder.
        """
        records = np.empty(len(measured.t1_ns), RECORD)
        records["sent_ns"] = measured.t1_ns
        if measured.answered:
            records["forward_ns"], records["reverse_ns"] = measured.delays_ns[:2]
        else:
            records["forward_ns"] = records["reverse_ns"] = NO_DELAY
        records["uncertainty_ns"] = np.minimum(measured.uncertainty_ns, NO_UNCERTAINTY)
        records["path"] = measured.probes.rows + first_path
        records["sequence"] = measured.probes.sequences & _LOW_32
        # that there is none reads as the greatest number
        records["reflected"] = measured.reflected & _LOW_32
        forward, reverse, round_trip = measured.outcomes & _OUTCOME_MASK
        records["outcomes"] = forward | reverse << _OUTCOME_BITS | round_trip << 2 * _OUTCOME_BITS
        if measured.under_load is not None:
            records["outcomes"] |= measured.under_load.astype(np.uint16) << _LOADED_BIT
        if measured.copied is not None:
            records["outcomes"] |= measured.copied.astype(np.uint16) << _COPIED_BIT
        start = 0
        while start < len(records):
            if self._used == _BLOCK:
                self._begin_block()
            taken = records[start : start + _BLOCK - self._used]
            self._blocks[-1][self._used : self._used + len(taken)] = taken
            self._used += len(taken)
            start += len(taken)

    def forget(self, now_ns: int) -> None:
        """Drop what is older than the recorder's length at this Unix wall time."""
        while self._blocks and self._part(0)["sent_ns"].max(initial=0) < now_ns - self.length_ns:
            self._blocks.popleft()
            if not self._blocks:
                self._used = _BLOCK

    @property
    def octets(self) -> int:
        """Memory that is taken now."""
        return len(self._blocks) * _BLOCK * RECORD.itemsize

    @property
    def packets(self) -> int:
        """How many are remembered."""
        return max(0, len(self._blocks) - 1) * _BLOCK + (self._used if self._blocks else 0)

    @property
    def paths(self) -> NDArray[np.uint32]:
        """Whose each packet is that is remembered."""
        parts = [self._part(number)["path"] for number in range(len(self._blocks))]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint32)

    @property
    def since_ns(self) -> int | None:
        """Unix wall time of the earliest packet that is remembered; None where none is."""
        return int(self._part(0)["sent_ns"].min()) if self.packets else None

    def between(self, from_ns: int, to_ns: int, path: int | None = None) -> Records:
        """The packets sent from `from_ns` to before `to_ns`, of one path or of all, in the order of their sending."""
        chosen = []
        for number in range(len(self._blocks)):
            part = self._part(number)
            wanted = (part["sent_ns"] >= from_ns) & (part["sent_ns"] < to_ns)
            if path is not None:
                wanted &= part["path"] == path
            if wanted.any():
                chosen.append(part[wanted])
        if not chosen:
            return np.empty(0, RECORD)
        records = np.concatenate(chosen)
        return records[np.argsort(records["sent_ns"], kind="stable")]

    def _begin_block(self) -> None:
        if len(self._blocks) == self._most_blocks:
            self._blocks.popleft()
        self._blocks.append(np.empty(_BLOCK, RECORD))
        self._used = 0

    def _part(self, number: int) -> Records:
        """What is used of a block."""
        last = number == len(self._blocks) - 1
        return self._blocks[number][: self._used if last else _BLOCK]


def outcomes_of(records: Records) -> Integers:
    """(3, n), the outcomes forward, reverse and round trip, each an `Outcome` or `NO_OUTCOME`."""
    packed = records["outcomes"].astype(np.int64)
    each = np.stack([packed >> shift & _OUTCOME_MASK for shift in (0, _OUTCOME_BITS, 2 * _OUTCOME_BITS)])
    return np.where(each == NO_OUTCOME & _OUTCOME_MASK, NO_OUTCOME, each)


def under_load(records: Records) -> Flags:
    """(n,), whether each was sent while a throughput test filled the line."""
    found: Flags = records["outcomes"] >> _LOADED_BIT & 1 != 0
    return found


def delays_of(records: Records) -> tuple[Integers, Integers, Integers]:
    """The delays forward, reverse and round trip of the packets among these that were answered in time.

    One-way delays are those between clocks that vouched for themselves: in others is an offset that nobody knows.
    """
    answered = records[records["forward_ns"] != NO_DELAY]
    trusted = answered[answered["uncertainty_ns"] != NO_UNCERTAINTY]
    return trusted["forward_ns"], trusted["reverse_ns"], answered["forward_ns"] + answered["reverse_ns"]


def bounds_of(records: Records, floors_ns: tuple[int, int]) -> tuple[Integers, Integers, Flags]:
    """What is proven of the one-way delays under these floors, as it was judged.

    Args:
        records: n packets.
        floors_ns: of both directions.

    Returns:
        Lower and upper ends, (2, n) each, and (n,) whether a packet was answered in time: else they mean nothing.
    """
    answered: Flags = records["forward_ns"] != NO_DELAY
    delays = np.where(answered, np.stack((records["forward_ns"], records["reverse_ns"])), 0)
    recorded = records["uncertainty_ns"].astype(np.int64)
    uncertainty = np.where(recorded == NO_UNCERTAINTY, UNKNOWN_NS, recorded)
    floors = np.repeat(np.array(floors_ns, np.int64)[:, None], len(records), axis=1)
    copied: Flags = records["outcomes"] >> _COPIED_BIT & 1 != 0
    bounds = one_way_bounds(delays, uncertainty, floors, delays[0] + delays[1], copied)
    return bounds.lower_ns, bounds.upper_ns, answered


def summary(delays_ns: Integers, quantiles: Sequence[float]) -> Summary | None:
    """Exact order statistics by nearest rank; None of nothing.

    Args:
        delays_ns: (n,).
        quantiles: each above 0 and at most 1.
    """
    count = len(delays_ns)
    if count == 0:
        return None
    ranked = np.sort(delays_ns)
    ranks = [max(0, int(np.ceil(quantile * count)) - 1) for quantile in quantiles]
    return Summary(count, int(ranked[0]), tuple(int(ranked[rank]) for rank in ranks))


def uncertainty_of(recorded: int) -> int:
    """What a record's uncertainty means in ns; `UNKNOWN_NS` where it is not known."""
    return UNKNOWN_NS if recorded == NO_UNCERTAINTY else recorded


def counted(records: Records) -> dict[Outcome, tuple[int, int, int]]:
    """How many packets have each outcome: forward, reverse, round trip."""
    outcomes = outcomes_of(records)
    return {
        outcome: tuple(int(np.count_nonzero(row == outcome)) for row in outcomes)  # type: ignore[misc]
        for outcome in Outcome
    }
