"""Blocks: what is read is what was written, and what was not written is refused."""

from __future__ import annotations

import zlib
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from collector.ledger.codec import (
    QUICKLY,
    decode,
    decode_heads,
    decode_sums,
    encode,
    encode_heads,
    encode_sums,
    pack,
    unpack,
)
from collector.ledger.exceptions import UnreadableBlock
from collector.ledger.minutes import NO_MINIMUM, WIDTH, Integers, Minutes
from collector.ledger.sums import Sums
from collector.ledger.telescope import Heads

numbers = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-300, 300)
tables = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12), elements=numbers)
counts = st.sampled_from([0, 0, 0, 0, 1, 7, 255, 256, 600, 1 << 40])


def some(rows: int, *width: int, elements: st.SearchStrategy[int]) -> st.SearchStrategy[Integers]:
    """A table of so many rows."""
    return arrays(np.int64, (rows, *width), elements=elements)


@st.composite
def minutes(draw: st.DrawFn) -> Minutes:
    """Rows of any paths, also with counts that no agent would have."""
    rows = draw(st.integers(0, 8))
    column = some(rows, elements=st.integers(0, 1 << 40))
    return Minutes(
        draw(column),
        draw(column),
        draw(column),
        draw(column),
        draw(column),
        draw(some(rows, 3, elements=st.integers(-(1 << 40), 1 << 40) | st.just(NO_MINIMUM))),
        draw(some(rows, WIDTH, elements=counts)),
    )


def assert_equal(found: Any, expected: Any) -> None:
    """All columns."""
    for one in fields(expected):
        np.testing.assert_array_equal(getattr(found, one.name), getattr(expected, one.name), one.name)


@given(tables)
def test_any_table_comes_back(table: Integers) -> None:
    """Of any size, with any 64-bit integers."""
    np.testing.assert_array_equal(unpack(pack(table)), table)


@given(minutes(), st.sampled_from([QUICKLY, 6]))
def test_minutes_come_back(written: Minutes, level: int) -> None:
    """Also without a minimum, and where no direction counts what another one does."""
    ((found, _),) = decode([encode(written, level)])
    assert_equal(found, written)


@given(minutes())
def test_sums_come_back(written: Minutes) -> None:
    """With the minute that is said apart."""
    sums = Sums.of(written.merged())
    assert_equal(decode_sums([encode_sums(sums)], [0]), sums)


@given(st.data(), st.integers(0, 6))
def test_heads_come_back(data: st.DataObject, rows: int) -> None:
    """With starts in nanoseconds of any time that can be told."""
    column = some(rows, elements=st.integers(0, (1 << 62) - 1))
    path, start_ns, run, taken_ns = (data.draw(column) for _ in range(4))
    heads = Heads(path, start_ns, run, taken_ns, data.draw(some(rows, WIDTH, elements=counts)))
    assert_equal(decode_heads(encode_heads(heads)), heads)


@given(st.binary(max_size=200))
def test_what_is_no_block_is_refused(octets: bytes) -> None:
    """By name, not by whatever it leads to."""
    for read in (unpack, lambda one: [*decode([one])], decode_heads):
        with pytest.raises(UnreadableBlock):
            read(octets)
    with pytest.raises(UnreadableBlock):
        decode_sums([octets], [0])


@pytest.mark.parametrize(
    "read", [lambda octets: [*decode([octets])], decode_heads, lambda octets: decode_sums([octets], [0])]
)
def test_a_block_of_another_kind_is_refused(read: Any) -> None:
    """It has other columns."""
    with pytest.raises(UnreadableBlock, match="3 columns where"):
        read(pack(np.zeros((2, 3), np.int64)))


def test_a_damaged_block_is_refused() -> None:
    """One of a later version, one that is cut, and one that says other sizes than it has."""
    whole = pack(np.arange(12, dtype=np.int64).reshape(3, 4))
    with pytest.raises(UnreadableBlock, match="version 2"):
        unpack(b"\x02" + whole[1:])
    with pytest.raises(UnreadableBlock, match="not a block"):
        unpack(whole[:-3])
    with pytest.raises(UnreadableBlock, match="octets"):
        unpack(whole[:1] + b"\x07" + whole[2:])
    with pytest.raises(UnreadableBlock, match="octets"):
        unpack(whole[:9] + zlib.compress(b"\1"))


def test_an_hour_of_a_steady_path_is_small() -> None:
    """Counts that follow from others take next to nothing."""
    table = np.zeros((60, WIDTH), np.int64)
    table[:, 0] = 600
    for place in range(3):
        table[:, 1 + 32 * place] = table[:, 1 + 32 * place + 5 + 10] = 600
    nothing = np.zeros(60, np.int64)
    hour = Minutes(
        nothing, nothing, np.arange(60), nothing + 60_000, nothing + 9, np.full((60, 3), 4100), table
    )
    assert len(encode(hour)) < 120
