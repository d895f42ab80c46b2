"""One line of an exposition, and what its labels and its value may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.core.metrics import LINE_KIND
from collector.sla.verdict import PathKey

_SECOND_NS: Final = 1_000_000_000
LATEST_S: Final = 1 << 33
"""In the year 2242; what is beyond is no Unix time, and would not fit where nanoseconds are kept."""

_MOST: Final = 1 << 53
"""A sample is a float, which counts no further by ones."""

_MAX_DSCP: Final = 63

MAX_STORED: Final = (1 << 63) - 1
"""The largest integer that the store takes."""


class IncompleteError(ValueError):
    """An exposition lacks what every agent's has, or says what cannot be."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an exposition."""

    name: str
    labels: Mapping[str, str]
    value: float


def path_of(labels: Mapping[str, str]) -> PathKey:
    """The probed path that labels name.

    Raises:
        KeyError: one is missing.
        ValueError: one says what no agent says.
    """
    return _of_kind(_key_of(labels), probed=True)


def line_of(labels: Mapping[str, str]) -> PathKey:
    """The line under test that labels name; raises as `path_of`."""
    return _of_kind(_key_of(labels), probed=False)


def _of_kind(key: PathKey, *, probed: bool) -> PathKey:
    if (key.kind != LINE_KIND) is not probed:
        raise ValueError(f"kind {key.kind!r} is none of {'a probed path' if probed else 'a line under test'}")
    return key


def _key_of(labels: Mapping[str, str]) -> PathKey:
    return PathKey(
        labels["source"],
        labels["target"],
        labels.get("tier", ""),
        labels.get("provider", ""),
        labels["kind"],
        _code_point(labels["dscp"]),
    )


def count_of(value: float) -> int:
    """A count that a sample tells.

    Raises:
        ValueError, OverflowError: it is none.
    """
    if value != int(value) or not 0 <= value <= _MOST:
        raise ValueError(f"{value} is no count")
    return int(value)


def time_of(value: float) -> float:
    """A time that a sample tells, in seconds of the agent's clock.

    Raises:
        ValueError: it is none.
    """
    if not 0 <= value <= LATEST_S:
        raise ValueError(f"{value} is no time")
    return value


def nanoseconds_of(seconds: float) -> int:
    """A duration that a sample tells in seconds.

    Raises:
        ValueError: it is none.
    """
    nanoseconds = round(seconds * _SECOND_NS)
    if not 0 <= nanoseconds <= MAX_STORED:
        raise ValueError(f"{seconds} is no time")
    return nanoseconds


def _code_point(label: str) -> int:
    if not (label.isdecimal() and int(label) <= _MAX_DSCP):
        raise ValueError(f"dscp {label!r} is no code point")
    return int(label)
