"""The bounded table, and who gets pushed out of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.remembered import Remembered


def use(table: Remembered[int, int], key: int) -> int:
    """Find a key's value, or add the key as its own value."""
    found = table.find(key)
    if found is None:
        assert table.add(key, key)
        return -1
    return found


def test_strangers_push_out_only_strangers() -> None:
    """What has come twice survives any number of keys that come once."""
    table: Remembered[int, int] = Remembered(8)
    for key in (1, 2, 1, 2):
        use(table, key)
    for key in range(100, 1100):
        use(table, key)
    assert use(table, 1) == 1
    assert use(table, 2) == 2
    assert len(table) == 6
    assert [use(table, key) for key in (1096, 1099)] == [1096, 1099]


def test_the_longest_unused_goes_first() -> None:
    """Among what has come again too."""
    table: Remembered[int, int] = Remembered(4)
    for key in (1, 1, 2, 2, 1, 3, 3):
        use(table, key)
    assert [use(table, key) for key in (1, 3, 2)] == [1, 3, -1]


def test_what_is_indispensable_stays() -> None:
    """A full table of entries that must not be forgotten takes nobody in, and keeps those that it has."""
    kept = {1, 2, 3, 4}
    table: Remembered[int, int] = Remembered(4, lambda value: value not in kept)
    for key in (1, 1, 2, 2, 3, 4):
        use(table, key)
    assert not table.add(5, 5)
    # there is no room for 3 among those that came again: it stays where it is, as the last to go
    assert table.find(3) == 3
    kept -= {3, 4}
    assert table.add(5, 5)
    assert table.find(4) is None
    assert [table.find(key) for key in (1, 2, 3, 5)] == [1, 2, 3, 5]


@given(st.integers(2, 9), st.lists(st.integers(0, 12), max_size=200))
def test_never_more_than_its_size(size: int, keys: list[int]) -> None:
    """Whatever comes, in whatever order; and the last key is always there."""
    table: Remembered[int, int] = Remembered(size)
    for key in keys:
        use(table, key)
        assert len(table) <= size
        assert table.find(key) == key
