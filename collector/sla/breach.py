"""Breaches: opened by a run of FAIL, closed by a run of PASS.

A run is of consecutive evaluations. INDETERMINATE and NO_DATA prove neither, so they end a run of either kind and
leave an open breach open: not knowing is no recovery. An evaluation that knows nothing new of a path, for its agent is
not read, neither ends a run nor lengthens it. What is not judged at all any more, because the fleet file has
changed, can neither open nor recover: its breach is closed without a proof, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction
from collector.sla.verdict import Fault, Judgement, PathKey, Verdict


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
        closing: the PASS that closed it; None too where it is closed because nobody judges it any more.
    """

    id: str
    key: BreachKey
    opened_ns: int
    opening: Judgement
    closed_ns: int | None = None
    closing: Judgement | None = None

    @property
    def fault(self) -> Fault | None:
        """What was known to be broken when it opened: the incident that it is part of."""
        return self.opening.fault


@dataclass(frozen=True, slots=True)
class BreachOpened:
    """A breach has begun."""

    breach: Breach


@dataclass(frozen=True, slots=True)
class BreachClosed:
    """A breach has ended; `breach.closed_ns` is set."""

    breach: Breach


BreachEvent = BreachOpened | BreachClosed


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """How many consecutive evaluations it takes."""

    open_after: int
    close_after: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of one path, direction and objective between evaluations.

    Attributes:
        open: the open breach, if there is one.
        run: how many consecutive evaluations have spoken for a change: FAIL while closed, PASS while open.
    """

    open: Breach | None = None
    run: int = 0


_NOTHING: Final = Watch()
_VERDICTS: Final = tuple(Verdict)


def breach_id(key: BreachKey, opened_ns: int) -> str:
    """A short identifier that is the same for whoever computes it."""
    text = "|".join((*map(str, astuple(key.path)), key.direction, key.objective, str(opened_ns)))
    return sha256(text.encode()).hexdigest()[:16]


class Judged(Protocol):
    """The verdicts of one evaluation, in the order of what is judged."""

    @property
    def codes(self) -> NDArray[np.int8]:
        """The `Verdict` of each."""

    @property
    def unread(self) -> NDArray[np.bool_]:
        """Of which of them nothing new is known."""

    def __getitem__(self, index: int, /) -> Judgement:
        """All that belongs to one."""


def advance(
    watches: Mapping[BreachKey, Watch],
    judged: Judged,
    keys: Sequence[BreachKey],
    places: Mapping[BreachKey, int],
    hysteresis: Mapping[str, Hysteresis],
    now_ns: int,
) -> tuple[dict[BreachKey, Watch], list[BreachEvent]]:
    """Take one evaluation into account.

    Args:
        watches: as the previous call returned them.
        judged: the whole evaluation's verdicts.
        keys: of what each of them is about.
        places: where each key stands among them.
        hysteresis: by objective.
        now_ns: when it was evaluated (Unix wall time).

    Returns:
        What is under way now, open or about to be, and what was opened or closed.
    """
    after: dict[BreachKey, Watch] = {}
    events: list[BreachEvent] = []
    failed = np.flatnonzero((judged.codes == Verdict.FAIL) & ~judged.unread).tolist()
    watched: dict[int, Watch] = {}
    unjudged: list[Breach] = []
    for key, watch in watches.items():
        place = places.get(key)
        if place is None:
            unjudged += [] if watch.open is None else [watch.open]
        elif judged.unread[place]:
            after[key] = watch
        else:
            watched[place] = watch
    codes = judged.codes.tolist()
    for place in sorted({*failed, *watched}):
        key = keys[place]
        verdict = _VERDICTS[codes[place]]
        watch, changes = _step(watched.get(place, _NOTHING), verdict, hysteresis[key.objective])
        if changes:
            # The judgement is put together for these alone: many paths may fail at once, for long.
            watch, event = _changed(watch, key, judged[place], now_ns)
            events.append(event)
        if watch != _NOTHING:
            after[key] = watch
    events += [BreachClosed(replace(breach, closed_ns=now_ns)) for breach in unjudged]
    return after, events


def _step(watch: Watch, verdict: Verdict, needed: Hysteresis) -> tuple[Watch, bool]:
    """What is remembered after one more verdict, and whether that opens or closes a breach."""
    if verdict is not (Verdict.FAIL if watch.open is None else Verdict.PASS):
        return Watch(watch.open, 0), False
    run = watch.run + 1
    return Watch(watch.open, run), run >= (needed.open_after if watch.open is None else needed.close_after)


def _changed(watch: Watch, key: BreachKey, judgement: Judgement, now_ns: int) -> tuple[Watch, BreachEvent]:
    """What is opened, or closed."""
    if watch.open is None:
        opened = Breach(breach_id(key, now_ns), key, now_ns, judgement)
        return Watch(opened, 0), BreachOpened(opened)
    return Watch(), BreachClosed(replace(watch.open, closed_ns=now_ns, closing=judgement))
