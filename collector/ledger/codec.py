"""Tables of integers as compressed octets, without loss.

    +---------+------+---------+------------------------------------------------------------------+
    | version | rows | columns | zlib: width of each column | columns of one octet | of two | of …  |
    |    1    |  4   |    4    |                                                                  |
    +---------+------+---------+------------------------------------------------------------------+

Every column is zigzag-coded and takes as many octets as its largest value needs, 0, 1, 2, 4 or 8; columns of one width
stand together, with their low octets first and their high ones last, which zlib then finds to be mostly zero.

What is known from other columns is taken out before: rows lie near the ones above, the packets of a direction are near
those sent, and delays were measured of the packets that arrived. So the largest count of each group, which holds nearly
all of its packets, becomes a small difference.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np

from agent.core.outcome import Outcome
from collector.ledger.exceptions import UnreadableBlock
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, WIDTH, Integers, Minutes, by_direction
from collector.ledger.sums import PRODUCT_WIDTH, Sums
from collector.ledger.telescope import Heads

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BII")
_WIDTHS: Final = (1, 2, 4, 8)
_LEVEL: Final = 6
QUICKLY: Final = 1
"""Level for what is soon written anew."""

_FIELDS: Final = ("path", "terms", "minute", "covered_ms", "reach_s")
_SUM_FIELDS: Final = 4
_HEAD_FIELDS: Final = ("path", "start_ns", "run", "taken_ns")
_MINIMA: Final = len(_FIELDS)
_ABSENT: Final = _MINIMA + len(DIRECTIONS)
_COUNTS: Final = _ABSENT + len(DIRECTIONS)


def pack(table: Integers, level: int = _LEVEL) -> bytes:
    """The octets of a table (rows, columns), compressed as hard as zlib's `level` says."""
    columns = np.ascontiguousarray(table.T)
    coded = ((columns << 1) ^ (columns >> 63)).view(np.uint64)
    largest = coded.max(axis=1, initial=0)
    widths = np.select([largest == 0, *(largest < 1 << 8 * width for width in (1, 2, 4))], [0, 1, 2, 4], 8)
    parts = [widths.astype(np.uint8).tobytes()]
    for width in _WIDTHS:
        chosen = coded[widths == width].astype(f"<u{width}")
        parts.append(chosen.reshape(-1, 1).view(np.uint8).T.tobytes())
    return _HEAD.pack(_VERSION, *table.shape) + zlib.compress(b"".join(parts), level)


def unpack(octets: bytes) -> Integers:
    """The table that `pack` was given.

    Raises:
        UnreadableBlock: these are not its octets, or those of a version that this program does not know.
    """
    try:
        version, rows, columns = _HEAD.unpack_from(octets)
        body = zlib.decompress(octets[_HEAD.size :])
    except (struct.error, zlib.error) as error:
        raise UnreadableBlock(f"not a block of the ledger: {error}") from error
    if version != _VERSION:
        raise UnreadableBlock(f"a block of version {version}, this program has version {_VERSION}")
    widths = np.frombuffer(body[:columns], np.uint8)
    expected = columns + rows * int(widths.sum(dtype=np.int64))
    if len(body) != expected or not np.isin(widths, (0, *_WIDTHS)).all():
        raise UnreadableBlock(f"{len(body)} octets where {expected} were expected")
    coded = np.zeros((columns, rows), np.uint64)
    offset = columns
    for width in _WIDTHS:
        chosen = widths == width
        octet_count = int(chosen.sum()) * rows * width
        if octet_count:
            planes = np.frombuffer(body, np.uint8, octet_count, offset).reshape(width, -1)
            coded[chosen] = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(-1, rows)
        offset += octet_count
    table: Integers = ((coded >> np.uint64(1)) ^ (~(coded & np.uint64(1)) + np.uint64(1))).view(np.int64)
    return np.ascontiguousarray(table.T)


def encode(minutes: Minutes, level: int = _LEVEL) -> bytes:
    """The octets of some minutes."""
    table = np.zeros((len(minutes) + 1, _COUNTS + WIDTH), np.int64)
    rows = table[1:]
    for place, name in enumerate(_FIELDS):
        rows[:, place] = getattr(minutes, name)
    absent = minutes.minima_us == NO_MINIMUM
    rows[:, _MINIMA:_ABSENT] = np.where(absent, 0, minutes.minima_us)
    rows[:, _ABSENT:_COUNTS] = absent
    counts = rows[:, _COUNTS:]
    counts[:] = minutes.counts
    largest = _largest(counts)
    _shrink(counts, largest)
    table[0, : len(largest)] = largest
    _near(rows)[1:] -= _near(rows)[:-1].copy()
    return pack(table, level)


def decode(octets: bytes) -> Minutes:
    """The minutes that `encode` was given.

    Raises:
        UnreadableBlock: these are not its octets.
    """
    table = unpack(octets)
    if table.shape[1] != _COUNTS + WIDTH or not len(table):
        raise UnreadableBlock(f"{table.shape[1]} columns where {_COUNTS + WIDTH} were expected")
    largest, rows = table[0, : 2 * len(DIRECTIONS)], table[1:]
    np.cumsum(_near(rows), axis=0, out=_near(rows))
    counts = rows[:, _COUNTS:]
    _grow(counts, largest)
    minima_us = np.where(rows[:, _ABSENT:_COUNTS] != 0, NO_MINIMUM, rows[:, _MINIMA:_ABSENT])
    keys = {name: rows[:, place] for place, name in enumerate(_FIELDS)}
    return Minutes(**keys, minima_us=minima_us, counts=counts)


def encode_sums(sums: Sums) -> bytes:
    """The octets of sums that begin with the same minute, which they do not say."""
    absent = sums.minima_us == NO_MINIMUM
    columns = [
        sums.path[:, None],
        sums.terms[:, None],
        sums.covered_ms[:, None],
        sums.reach_s[:, None],
        np.where(absent, 0, sums.minima_us),
        absent,
        sums.counts,
        sums.products,
    ]
    return pack(np.concatenate(columns, axis=1, dtype=np.int64))


def decode_sums(octets: bytes, minute: int) -> Sums:
    """The sums that `encode_sums` was given, which begin with this minute.

    Raises:
        UnreadableBlock: these are not its octets.
    """
    table = unpack(octets)
    minima, absent = _SUM_FIELDS, _SUM_FIELDS + len(DIRECTIONS)
    counts = absent + len(DIRECTIONS)
    products = counts + WIDTH
    if table.shape[1] != products + PRODUCT_WIDTH:
        raise UnreadableBlock(f"{table.shape[1]} columns where {products + PRODUCT_WIDTH} were expected")
    return Sums(
        table[:, 0],
        table[:, 1],
        np.full(len(table), minute),
        table[:, 2],
        table[:, 3],
        np.where(table[:, absent:counts] != 0, NO_MINIMUM, table[:, minima:absent]),
        table[:, counts:products],
        table[:, products:],
    )


def encode_heads(heads: Heads) -> bytes:
    """The octets of heads."""
    keys = np.stack([getattr(heads, name) for name in _HEAD_FIELDS], axis=1)
    keys[1:] -= keys[:-1].copy()
    return pack(np.concatenate([keys, heads.counts], axis=1), QUICKLY)


def decode_heads(octets: bytes) -> Heads:
    """The heads that `encode_heads` was given.

    Raises:
        UnreadableBlock: these are not its octets.
    """
    table = unpack(octets)
    fields = len(_HEAD_FIELDS)
    if table.shape[1] != fields + WIDTH:
        raise UnreadableBlock(f"{table.shape[1]} columns where {fields + WIDTH} were expected")
    keys = np.cumsum(table[:, :fields], axis=0)
    named = {name: keys[:, place] for place, name in enumerate(_HEAD_FIELDS)}
    return Heads(**named, counts=table[:, fields:])


def _near(rows: Integers) -> Integers:
    """The columns of which a row holds the difference from the row above."""
    return rows[:, :_ABSENT]


def _largest(counts: Integers) -> Integers:
    """The largest outcome and the largest bucket of each direction (2 × directions,)."""
    sums = by_direction(counts).sum(axis=0)
    return np.concatenate([sums[:, : len(Outcome)].argmax(1), sums[:, len(Outcome) :].argmax(1)])


def _shrink(counts: Integers, largest: Integers) -> None:
    """Put the difference that is to be small in the place of the largest count of each group."""
    for place, (outcomes, delays) in enumerate(_groups(counts)):
        arrived = outcomes[:, : Outcome.LOST].sum(axis=1)
        delays[:, largest[len(DIRECTIONS) + place]] = delays.sum(axis=1) - arrived
        outcomes[:, largest[place]] = outcomes.sum(axis=1) - counts[:, SENT]


def _grow(counts: Integers, largest: Integers) -> None:
    """Undo `_shrink`: the sum of a group now holds the difference instead of the largest count."""
    for place, (outcomes, delays) in enumerate(_groups(counts)):
        outcome, bucket = outcomes[:, largest[place]], delays[:, largest[len(DIRECTIONS) + place]]
        outcome[:] = 2 * outcome - outcomes.sum(axis=1) + counts[:, SENT]
        bucket[:] = 2 * bucket - delays.sum(axis=1) + outcomes[:, : Outcome.LOST].sum(axis=1)


def _groups(counts: Integers) -> list[tuple[Integers, Integers]]:
    """Outcomes and delays of each direction; views."""
    directions = by_direction(counts)
    return [
        (directions[:, place, : len(Outcome)], directions[:, place, len(Outcome) :])
        for place in range(len(DIRECTIONS))
    ]
