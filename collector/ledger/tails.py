"""What was beyond a delay variation, block by block: out of minutes in memory, or of the parts of a longer window.

Nothing is kept for it: the histograms tell. Looked at are those paths alone of which somebody asks, and, minute by
minute, those of which some packets are beyond and some are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from agent.core.outcome import Outcome
from collector.ledger.by_minute import ByMinute
from collector.ledger.minutes import NO_MINIMUM, Integers, by_direction
from collector.ledger.promises import Promises, Terms
from collector.ledger.seen import Flags
from collector.ledger.sums import Sums, Totals, add_rows, asked_rows, fitting_rows, products_of, where
from collector.sla.variation import PAIRS, Beyond, Tails, counted_from, first_beyond, varied


def tails_of_minutes(
    by_minute: ByMinute, totals: Totals, asked: Mapping[Beyond, Flags], lengths: Sequence[int]
) -> dict[Beyond, Tails]:
    """Of a window in memory, whose parts are not looked at apart: it is not longer than an hour.

    Args:
        by_minute: the paths in it (n,).
        totals: what they counted in it.
        asked: what is asked, and of which directions of the paths (n, directions).
        lengths: minutes of blocks.
    """
    found = {}
    for beyond, wanted in asked.items():
        first = first_beyond(beyond.limit, totals.minima_us)
        counts = counted_from(totals.delays, first)
        places = np.flatnonzero((varied(counts) & wanted).any(axis=1))
        some = by_minute.some(places).tails(first[places], lengths)
        found[beyond] = replace(some.each(partial(_among, len(counts), places)), counts=counts)
    return found


def tails_of_parts(
    parts: Sums,
    paths: Integers,
    terms: Terms,
    promised: Promises,
    minima_us: Integers,
    asked: Mapping[Beyond, Flags],
    lengths: Sequence[int],
) -> dict[Beyond, Tails]:
    """Of a window that was read in parts.

    Args:
        parts, paths, terms, promised: as of `collector.ledger.sums.block_products`.
        minima_us: the least delays of the window (paths, directions).
        asked: what is asked, and of which directions of the paths (paths, directions).
        lengths: minutes of blocks; a part that is longer counts as one.
    """
    found = {}
    rows, row = asked_rows(parts, paths)
    for beyond, wanted in asked.items():
        of = np.flatnonzero(wanted[row].any(axis=1))
        mine, place = rows.take(of), row[of]
        delays = by_direction(mine.counts)[:, :, len(Outcome) :]
        least_us = mine.minima_us if beyond.apart else minima_us[place]
        first = first_beyond(beyond.limit, least_us)
        fitting = fitting_rows(mine.terms, place, terms, promised)
        if beyond.apart:
            # of a window without a least delay nothing is claimed; of a part it says nothing of the others
            fitting = fitting & (least_us != NO_MINIMUM)
        counted = where(counted_from(delays, first), fitting)
        counts = np.zeros((*minima_us.shape, counted.shape[-1]), np.int64)
        add_rows(counts, place, counted)
        found[beyond] = Tails(
            counts,
            {
                minutes: products_of(counted, place, mine.minute // minutes, len(paths), PAIRS)
                for minutes in lengths
            },
        )
    return found


def _among(paths: int, places: Integers, values: Integers) -> Integers:
    """Values of some of the paths, at their places, and zeros of the others."""
    whole = np.zeros((paths, *values.shape[1:]), np.int64)
    whole[places] = values
    return whole
