"""RFC 4656's exponential deviates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agent.core.exponential import Exponential, deviates, scaled
from tests.support import aes

UNIT = 1 << 32
LN2 = 0xB17217F8


def test_aes_encrypts_as_fips_197_says() -> None:
    """The examples of its appendices B and C.1; the numbers drawn are those of neighbouring counters."""
    for key, plain, cipher in (
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3243f6a8885a308d313198a2e0370734",
            "3925841d02dc09fbdc118597196a0b32",
        ),
        (
            "000102030405060708090a0b0c0d0e0f",
            "00112233445566778899aabbccddeeff",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
        ),
    ):
        block = np.frombuffer(bytes.fromhex(plain), np.uint8)
        assert aes.encrypt(bytes.fromhex(key), np.stack((block, block)))[1].tobytes().hex() == cipher


@pytest.mark.parametrize(
    ("sid", "total"),
    [
        ("2872979303ab47eeac028dab3829dab2", 0x000F4479BD317381),
        ("0102030405060708090a0b0c0d0e0f00", 0x000F433686466A62),
        ("deadbeefdeadbeefdeadbeefdeadbeef", 0x000F416C8884D2D3),
        ("feed0feed1feed2feed3feed4feed5ab", 0x000F3F0B4B416EC8),
    ],
)
def test_vectors_of_rfc_4656(sid: str, total: int) -> None:
    """The sums of the first million deviates of appendix II, to the last bit."""
    drawn, _ = deviates(aes.counter_mode(bytes.fromhex(sid), 1_750_000))
    assert len(drawn) >= 1_000_000
    assert int(drawn[:1_000_000].sum()) == total


@pytest.mark.parametrize(
    ("numbers", "value"),
    [
        ([0], 0),
        ([0b1100 << 28], 2 * LN2),
        ([UNIT - 1], 32 * LN2),
        ([UNIT - 2], 31 * LN2),
        # 0xB1... is not below ln 2 but below Q[2]: the least of two more
        ([0x58C00000, UNIT - 1, 0x80000000], LN2 // 2),
        # what is left of the greatest that begins with 0 is below Q[11] alone
        ([0x7FFFFFFF, *range(100, 110), 50], (50 * LN2) >> 32),
    ],
)
def test_single_deviates(numbers: list[int], value: int) -> None:
    """Leading ones count ln 2 each, and the rest is taken as it is or replaced by the least of others."""
    drawn, used = deviates(np.array(numbers, np.uint32))
    assert drawn.tolist() == [value]
    assert used == len(numbers)


numbers_32 = st.lists(st.one_of(st.integers(0, UNIT - 1), st.integers(0x58B90BFC, 0x7FFFFFFF)), max_size=40)


@given(numbers_32, st.integers(0, 40))
def test_deviates_do_not_depend_on_how_numbers_are_cut(numbers: list[int], cut: int) -> None:
    """What is left of some numbers begins the next deviate, whose numbers may come later."""
    together, used = deviates(np.array(numbers, np.uint32))
    first, before = deviates(np.array(numbers[:cut], np.uint32))
    second, after = deviates(np.array(numbers[before:], np.uint32))
    assert first.tolist() + second.tolist() == together.tolist()
    assert before + after == used
    assert len(numbers) - used <= 11


@given(st.lists(st.tuples(st.integers(0, 32 * LN2), st.integers(0, 1 << 58)), max_size=9))
def test_scaling_is_exact(pairs: list[tuple[int, int]]) -> None:
    """A deviate times a mean, without its fraction."""
    factors = np.array([factor for factor, _ in pairs], np.uint64)
    means = np.array([mean for _, mean in pairs], np.int64)
    assert scaled(factors, means).tolist() == [(factor * mean) >> 32 for factor, mean in pairs]


def test_deviates_are_exponential() -> None:
    """By a Kolmogorov-Smirnov test, with a mean of 1, each independent of the one before."""
    drawn = Exponential(np.random.default_rng(4656)).draw(200_000) / UNIT
    assert stats.kstest(drawn, "expon").pvalue > 0.01
    assert drawn.mean() == pytest.approx(1, abs=4 / math.sqrt(len(drawn)))
    assert abs(stats.pearsonr(drawn[1:], drawn[:-1]).statistic) < 4 / math.sqrt(len(drawn))


@given(st.lists(st.integers(0, 5000), max_size=6))
def test_drawing_is_repeatable(counts: list[int]) -> None:
    """The same seed gives the same deviates in portions of any size."""
    one, other = Exponential(np.random.default_rng(7)), Exponential(np.random.default_rng(7))
    total = sum(counts)
    whole = [value for _ in range(total // 100) for value in one.draw(100).tolist()]
    parts = [value for count in counts for value in other.draw(count).tolist()]
    assert all(a == b for a, b in zip(whole, parts, strict=False))
    assert len(parts) == total
