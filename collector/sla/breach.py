"""Breaches: opened on FAIL, closed after a run of PASS, and nothing in between changes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agent.core.outcome import Direction
from collector.sla.verdict import Judgement, PathKey


class BreachKey(NamedTuple):
    """What a breach is about; at most one breach of a key is open at a time."""

    path: PathKey
    direction: Direction
    objective: str


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise found broken, with the judgement that proved it.

    Attributes:
        id: unique and stable over restarts; the fingerprint that alerts carry.
        opened_ns, closed_ns: Unix wall time; `closed_ns` is None while the breach is open.
        opening: the FAIL that opened it: the evidence.
        closing: the PASS that closed it.
    """

    id: str
    key: BreachKey
    opened_ns: int
    opening: Judgement
    closed_ns: int | None = None
    closing: Judgement | None = None


@dataclass(frozen=True, slots=True)
class BreachOpened:
    """A breach has begun."""

    breach: Breach


@dataclass(frozen=True, slots=True)
class BreachClosed:
    """A breach has ended; `breach.closed_ns` and `breach.closing` are set."""

    breach: Breach


BreachEvent = BreachOpened | BreachClosed
