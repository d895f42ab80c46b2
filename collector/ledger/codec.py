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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from agent.core.histogram import BUCKETS
from agent.core.outcome import Outcome
from collector.ledger.exceptions import UnreadableBlock
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, WIDTH, Integers, Minutes, by_direction
from collector.ledger.sums import PRODUCT_WIDTH, Sums
from collector.ledger.telescope import Heads

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BII")
_WIDTHS: Final = (1, 2, 4, 8)
_SHORT: Final = 2
"""Octets of which four hold any sum of a group."""

_ROWS_AT_ONCE: Final = 1 << 14

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
    ((_, _, cells),) = _tables([octets])
    return np.ascontiguousarray(cells[:, 0].T, np.int64)


def _tables(
    bodies: Sequence[bytes], columns: int | None = None, head: int = 0
) -> Iterator[tuple[Integers, Integers, Integers]]:
    """What some octets hold, those together that have as many rows, as many as the caches hold.

    Args:
        bodies: of tables.
        columns: how many each has to have; None: whatever it says.
        head: how many rows at the top of each are given apart.

    Returns:
        Which of them, what their heads hold (columns, tables, head), and what the other rows do (columns, tables,
        rows), in four octets each where those of all do with two.
    """
    opened: dict[tuple[int, int], list[tuple[int, bytes]]] = defaultdict(list)
    for place, octets in enumerate(bodies):
        try:
            version, *shape = _HEAD.unpack_from(octets)
            body = zlib.decompress(memoryview(octets)[_HEAD.size :])
        except (struct.error, zlib.error) as error:
            raise UnreadableBlock(f"not a block of the ledger: {error}") from error
        if version != _VERSION:
            raise UnreadableBlock(f"a block of version {version}, this program has version {_VERSION}")
        if columns is not None and shape[1] != columns:
            raise UnreadableBlock(f"{shape[1]} columns where {columns} were expected")
        if len(body) < shape[1] or shape[0] < head:
            raise UnreadableBlock(f"{len(body)} octets and {shape[0]} rows where more were expected")
        opened[shape[0], shape[1]].append((place, body))
    for (rows, of_each), some in opened.items():
        at_once = max(1, _ROWS_AT_ONCE // max(1, rows))
        for first in range(0, len(some), at_once):
            places, parts = zip(*some[first : first + at_once], strict=True)
            yield np.array(places, np.intp), *_cells(parts, rows, of_each, head)


def _cells(parts: Sequence[bytes], rows: int, columns: int, head: int) -> tuple[Integers, Integers]:
    """What tables of one size hold (columns, tables, rows); the first rows apart."""
    widths = np.frombuffer(b"".join(part[:columns] for part in parts), np.uint8).reshape(len(parts), columns)
    expected = columns + rows * widths.sum(axis=1, dtype=np.int64)
    lengths = np.array([len(part) for part in parts])
    wrong = (lengths != expected) | ~np.isin(widths, (0, *_WIDTHS)).all(axis=1)
    if wrong.any():
        raise UnreadableBlock(f"{lengths[wrong][0]} octets where {expected[wrong][0]} were expected")
    short = int(widths.max(initial=0)) <= _SHORT
    kind = np.int32 if short else np.int64
    heads, cells = (np.zeros((columns, len(parts), number), kind) for number in (head, rows - head))
    begins = [columns] * len(parts)
    for width in _WIDTHS:
        table, column = np.nonzero(widths == width)
        if not len(table) or not rows:
            continue
        octets = (np.bincount(table, minlength=len(parts)) * rows).tolist()
        coded = np.zeros((len(table), rows), f"u{width}")
        for octet in range(width):
            plane = b"".join(
                part[begin + octet * length : begin + octet * length + length]
                for part, begin, length in zip(parts, begins, octets, strict=True)
            )
            coded |= np.frombuffer(plane, np.uint8).reshape(-1, rows).astype(coded.dtype) << (8 * octet)
        one = coded.dtype.type(1)
        values = (coded >> one).view(f"i{width}") ^ -(coded & one).view(f"i{width}")
        heads[column, table], cells[column, table] = values[:, :head], values[:, head:]
        begins = [begin + width * length for begin, length in zip(begins, octets, strict=True)]
    return heads, cells


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


def decode(bodies: Sequence[bytes]) -> Iterator[tuple[Minutes, Integers]]:
    """The minutes that `encode` was given, each time: those of some bodies, and of which of them each row is.

    Many at once take a tenth of what one after the other does. Counts are column after column in memory, in four
    octets each where those of all bodies do with two.

    Raises:
        UnreadableBlock: these are not its octets.
    """
    for chosen, heads, cells in _tables(bodies, _COUNTS + WIDTH, 1):
        _grow(cells[_COUNTS:], heads[: 2 * len(DIRECTIONS), :, 0])
        keys = np.cumsum(cells[:_ABSENT], axis=2, dtype=np.int64).reshape(_ABSENT, -1)
        rows = cells.reshape(len(cells), -1)
        minima_us = np.where(rows[_ABSENT:_COUNTS] != 0, NO_MINIMUM, keys[_MINIMA:]).T
        named = {name: keys[place] for place, name in enumerate(_FIELDS)}
        minutes = Minutes(**named, minima_us=minima_us, counts=rows[_COUNTS:].T)
        yield minutes, np.repeat(chosen, cells.shape[2])


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


def decode_sums(bodies: Sequence[bytes], minutes: Sequence[int]) -> Sums:
    """The sums that `encode_sums` was given, each time.

    Args:
        bodies: what it made of them.
        minutes: with which those of each body begin.

    Raises:
        UnreadableBlock: these are not its octets.
    """
    minima, absent = _SUM_FIELDS, _SUM_FIELDS + len(DIRECTIONS)
    counts = absent + len(DIRECTIONS)
    products = counts + WIDTH
    found = []
    for chosen, _, cells in _tables(bodies, products + PRODUCT_WIDTH):
        table = cells.reshape(len(cells), -1).astype(np.int64, copy=False).T
        found.append(
            Sums(
                table[:, 0],
                table[:, 1],
                np.repeat(np.asarray(minutes, np.int64)[chosen], cells.shape[2]),
                table[:, 2],
                table[:, 3],
                np.where(table[:, absent:counts] != 0, NO_MINIMUM, table[:, minima:absent]),
                table[:, counts:products],
                table[:, products:],
            )
        )
    return Sums.joined(found)


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
    """Undo `_shrink`: the sum of a group now holds the difference instead of the largest count.

    Args:
        counts: of some tables (WIDTH, tables, rows).
        largest: which count it is of each group (2 × directions, tables).
    """
    for place in range(len(DIRECTIONS)):
        first = 1 + place * (len(Outcome) + BUCKETS)
        outcomes, delays = counts[first : first + len(Outcome)], counts[first + len(Outcome) :][:BUCKETS]
        _restore(outcomes, largest[place], counts[SENT])
        _restore(
            delays,
            largest[len(DIRECTIONS) + place],
            outcomes[: Outcome.LOST].sum(axis=0, dtype=outcomes.dtype),
        )


def _restore(group: Integers, largest: Integers, total: Integers) -> None:
    tables = np.arange(len(largest))
    group[largest, tables] += group[largest, tables] + total - group.sum(axis=0, dtype=group.dtype)


def _groups(counts: Integers) -> list[tuple[Integers, Integers]]:
    """Outcomes and delays of each direction; views."""
    directions = by_direction(counts)
    return [
        (directions[:, place, : len(Outcome)], directions[:, place, len(Outcome) :])
        for place in range(len(DIRECTIONS))
    ]
