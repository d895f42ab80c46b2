"""A table of bounded size that a flood of strangers cannot wash out.

Two halves, each forgetting what was used longest ago: what has come once stands in the first, what has come again in
the second. Keys that are made up, each used once, only ever push out each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key.

    Args:
        size: how many entries there are at most, 2 or more.
        dispensable: whether an entry may be forgotten now; default: any.
    """

    __slots__ = ("_dispensable", "_half", "_known", "_strangers")

    def __init__(self, size: int, dispensable: Callable[[Value], bool] | None = None) -> None:
        self._half = size // 2
        self._dispensable = dispensable
        self._strangers: OrderedDict[Key, Value] = OrderedDict()
        self._known: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def find(self, key: Key) -> Value | None:
        """The value of a key, which counts as a use of it."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        value = self._strangers.get(key)
        if value is None:
            return None
        if self._has_room(self._known):
            del self._strangers[key]
            self._known[key] = value
        else:
            self._strangers.move_to_end(key)
        return value

    def add(self, key: Key, value: Value) -> bool:
        """Remember a key that `find` does not find; False where there is no room."""
        if not self._has_room(self._strangers):
            return False
        self._strangers[key] = value
        return True

    def _has_room(self, half: OrderedDict[Key, Value]) -> bool:
        """Make room for one more, if need be by forgetting what was used longest ago."""
        if len(half) < self._half:
            return True
        key = next(iter(half))
        if self._dispensable is not None and not self._dispensable(half[key]):
            return False
        del half[key]
        return True
