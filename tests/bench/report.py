"""What a measurement looks like: a row with its bar and its peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    Attributes:
        name: what was measured.
        value, unit: ours.
        bar: what was asked for, in the same unit; None: nothing was.
        peer, peer_value: who was measured beside us in the same run, and what it got; None where it is not installed.
        note: load and conditions.
        at_least: the bar is the least that is asked for, and more is better; else the most, and less is.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    note: str = ""
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's; below 1 is better, but above it where the bar is a least one."""
        return self.value / self.peer_value if self.peer_value else None

    @property
    def reached(self) -> bool | None:
        """Whether the value keeps to the bar; None where there is no bar."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def as_json(self) -> dict[str, object]:
        """All attributes, the ratio, and whether the bar is reached; what is no finite number is None."""
        given = {**asdict(self), "ratio": self.ratio, "reached": self.reached}
        return {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in given.items()
        }


def table(rows: Sequence[Row]) -> str:
    """The rows aligned for a terminal."""
    cells = [("figure", "value", "bar", "peer", "ratio", "note")]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer} {_number(row.peer_value)}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        bar = (
            ""
            if row.bar is None
            else f"{'>=' if row.at_least else '<='} {row.bar:g}" + ("" if row.reached else " missed")
        )
        cells.append((row.name, f"{_number(row.value)} {row.unit}", bar, peer, ratio, row.note))
    widths = [max(len(cell[column]) for cell in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _number(value: float | None) -> str:
    return "not installed" if value is None else f"{value:.4g}"
