"""Times of load: told apart from others by when a probe was sent, at no cost where there are none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.load_windows import LoadWindows
from agent.core.timestamps import SECOND_NS

START = 1_700_000_000 * SECOND_NS


def rows(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def at(*seconds: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return START + SECOND_NS * rows(*seconds)


def under(loads: LoadWindows, paths: list[int], seconds: list[int]) -> list[bool]:
    found = loads.under(rows(*paths), at(*seconds))
    return [False] * len(paths) if found is None else found.tolist()


def test_from_its_beginning_to_its_end() -> None:
    """Both included; the end may be told before it comes. Other paths are not under load, known or not."""
    loads = LoadWindows()
    assert loads.under(rows(0), at(0)) is None
    loads.begin(rows(2), START + 10 * SECOND_NS)
    assert under(loads, [2, 2, 2, 1, 7], [9, 10, 99, 20, 20]) == [False, True, True, False, False]
    loads.end(rows(2), START + 30 * SECOND_NS)
    assert under(loads, [2, 2, 2], [10, 30, 31]) == [True, True, False]
    assert loads.under(rows(2), at(31)) is None
    assert loads.under(rows(), at()) is None


def test_a_second_load_goes_on_with_the_first() -> None:
    """What is still under way of the first one stays under load; of one long ago nothing is."""
    loads = LoadWindows()
    loads.begin(rows(0), START)
    loads.end(rows(0), START + 10 * SECOND_NS)
    loads.begin(rows(0), START + 12 * SECOND_NS)
    assert under(loads, [0, 0], [5, 13]) == [True, True]
    loads.end(rows(0), START + 20 * SECOND_NS)
    loads.begin(rows(0), START + 500 * SECOND_NS)
    assert under(loads, [0, 0, 0], [5, 499, 500]) == [False, False, True]


def test_nobody_is_loaded() -> None:
    """A line to where no path goes changes nothing, nor does the end of what never began."""
    loads = LoadWindows()
    loads.begin(rows(), START)
    loads.end(rows(3), START)
    assert loads.under(rows(3), at(0)) is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 99)), min_size=1),
    st.integers(0, 40),
    st.integers(0, 99),
    st.integers(0, 99),
)
def test_whatever_is_asked(probes: list[tuple[int, int]], path: int, begin: int, end: int) -> None:
    """As a plain comparison has it, for rows that came before and after."""
    loads = LoadWindows()
    loads.begin(rows(path), START + begin * SECOND_NS)
    loads.end(rows(path), START + end * SECOND_NS)
    expected = [row == path and begin <= second <= end for row, second in probes]
    assert under(loads, [row for row, _ in probes], [second for _, second in probes]) == expected
