"""Faults over time: since when each has stood, under an identifier that is the same for as long as it does.

What has only just been found may turn out to be something larger, once the last witness has spoken: a target whose
packets stop is seen before its agent is missed. It is the same incident then, and keeps its identifier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from agent.core.outcome import Direction
from collector.sla.faults import FaultKind, Finding, Located
from collector.sla.observation import Integers
from collector.sla.verdict import Fault, PathKey


class _Key(NamedTuple):
    """What a fault is about; at most one of a key stands at a time."""

    kind: FaultKind
    site: str | None
    path: PathKey | None
    direction: Direction | None


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """The faults of one moment.

    Attributes:
        faults: in the order in which they were found.
        of_path: which of them explains each path (n,); -1: none.
    """

    faults: Sequence[Fault] = ()
    of_path: Integers | None = None

    def of(self, row: int) -> Fault | None:
        """What explains the path of a row."""
        place = -1 if self.of_path is None else int(self.of_path[row])
        return None if place < 0 else self.faults[place]


class FaultWatch:
    """Follows faults from one evaluation to the next.

    Args:
        sites, paths: what findings call by their places.
        refined_ns: for how long after it was found a fault may turn out to be another one.
        before: faults that stood before this program started.
        now_ns: Unix wall time.
    """

    def __init__(
        self,
        sites: Sequence[str],
        paths: Sequence[PathKey],
        refined_ns: int,
        before: Iterable[Fault],
        now_ns: int,
    ) -> None:
        self._sites = sites
        self._paths = paths
        self._refined_ns = refined_ns
        self._before = {_Key(one.kind, one.site, one.path, one.direction): one for one in before}
        self._began_ns = now_ns
        self._standing: dict[_Key, Fault] = {}
        self._told = Standing()

    def follow(self, located: Located, now_ns: int) -> Standing:
        """The faults that stand, now that these were found (Unix wall time)."""
        if now_ns - self._began_ns > self._refined_ns:
            self._before = {}
        keys = [self._key(finding) for finding in located.findings]
        found = set(keys)
        order = np.argsort(located.of_path, kind="stable")
        bounds = np.searchsorted(located.of_path[order], np.arange(len(keys) + 1))
        after: dict[_Key, Fault] = {}
        for number, (key, finding) in enumerate(zip(keys, located.findings, strict=True)):
            paths = order[bounds[number] : bounds[number + 1]]
            # a target may be down for several kinds of packets
            known = after.get(key) or replace(
                self._standing.get(key) or self._before.get(key) or self._refined(key, paths, found, now_ns),
                paths=0,
                witnesses=0,
            )
            witnesses = max(known.witnesses, finding.witnesses)
            after[key] = replace(known, paths=known.paths + len(paths), witnesses=witnesses)
        self._standing = after
        places = {key: place for place, key in enumerate(after)}
        place = np.array([*(places[key] for key in keys), -1], np.int64)
        self._told = Standing(list(after.values()), place[located.of_path])
        return self._told

    def _refined(self, key: _Key, paths: Integers, keys: Collection[_Key], now_ns: int) -> Fault:
        """A new incident, or what explained most of these paths a moment ago and is found no more."""
        fault = Fault(fault_id(key, now_ns), key.kind, now_ns, key.site, key.path, key.direction)
        explained = Counter(filter(None, (self._told.of(row) for row in paths.tolist())))
        for known, _ in explained.most_common():
            gone = _Key(known.kind, known.site, known.path, known.direction) not in keys
            if gone and now_ns - known.since_ns <= self._refined_ns:
                return replace(fault, id=known.id, since_ns=known.since_ns)
        return fault

    def _key(self, finding: Finding) -> _Key:
        site = None if finding.site is None else self._sites[finding.site]
        path = None if finding.path is None else self._paths[finding.path]
        return _Key(finding.kind, site, path, finding.direction)


def fault_id(key: _Key, since_ns: int) -> str:
    """A short identifier that is the same for whoever computes it."""
    text = "|".join([*("" if one is None else str(one) for one in key), str(since_ns)])
    return sha256(text.encode()).hexdigest()[:16]
