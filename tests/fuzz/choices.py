"""An input read as choices, so that what a fuzzer mutates is what was decided, and in which order."""

from __future__ import annotations


class Choices:
    """Octets handed out one after the other; zeros once they are used up, so that every input means something.

    Args:
        data: the fuzzer's input.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many octets have not been handed out."""
        return len(self._data) - self._at

    def take(self, octets: int) -> bytes:
        """The next octets, as many as asked for."""
        taken = self._data[self._at : self._at + octets]
        self._at = min(len(self._data), self._at + octets)
        return taken.ljust(octets, b"\0")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def number(self, octets: int = 1) -> int:
        """An unsigned number of so many octets."""
        return int.from_bytes(self.take(octets), "big")

    def below(self, end: int) -> int:
        """A number from 0 to `end` - 1, of one octet."""
        return self.number() % end

    def flag(self) -> bool:
        """Yes or no."""
        return self.number() & 1 == 1
