"""What is broken: the faults that explain why packets, or agents, are not heard of.

Three witnesses are asked, none of which sees everything:

    heartbeats       which agents were read, and what refuses to speak but is there
    paths            which are dark, and which other paths share a site with those
    reflectors       how many packets reach a target, of which the answers do not come back

They are asked in this order; what one fault explains is not asked about again:

    source_down      no agent at all is read: it is the collector that is blind, and nothing else is known; or what
                     should tell of agents, a Prometheus, leaves some out: nothing is known of these alone
    agent_down       an agent is not read, though its host refuses the connection, its reflector answers, or nobody
                     probes it
    uplink_down      a site is cut off: its agent is not read and no path to it is answered; or its agent is read, and
                     of all paths from and to it, with two other sites at least, none is answered
    target_down      nobody is answered by a target, though others hear of those who ask
    direction_down   a target receives what a path sends, but nothing comes back; or it is there and receives nothing
    path_down        a path is dark, and nothing tells where
    clock_bad        an agent is read, and its clock vouches for nothing, or is further off than it says: paths measure
                     less than light in fibre takes, whatever both ends' bounds leave, and of their two ends this is the
                     one that more of its paths accuse; of a single path it is one of the two

All is done on arrays over paths and sites, and only dark paths are looked at one by one, in groups of a target.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from agent.core.outcome import Direction
from collector.sla.observation import Integers
from collector.sla.reachability import Flags, Floats

_NONE: Final = -1
_FEWEST_AGENTS: Final = 2
"""One agent that is not read may as well be down; that all of several are is on the collector's side."""

_FEWEST_PEERS: Final = 2
_MOST_UNHEARD, _LEAST_HEARD = 0.25, 0.75
"""Shares of what dark paths send that reach the target: at most this much is none, at least this much is all."""


class FaultKind(StrEnum):
    """What is broken; the value is the `kind` label."""

    SOURCE_DOWN = "source_down"
    AGENT_DOWN = "agent_down"
    UPLINK_DOWN = "uplink_down"
    TARGET_DOWN = "target_down"
    DIRECTION_DOWN = "direction_down"
    PATH_DOWN = "path_down"
    CLOCK_BAD = "clock_bad"


class _Ends:
    """The paths that have each site at one end."""

    def __init__(self, places: Integers, sites: int) -> None:
        self._order = np.argsort(places, kind="stable")
        self._bounds = np.searchsorted(places[self._order], np.arange(sites + 1))

    def __getitem__(self, site: int) -> Integers:
        paths: Integers = self._order[self._bounds[site] : self._bounds[site + 1]]
        return paths


@dataclass(frozen=True, eq=False)
class Topology:
    """Which paths share which sites.

    Attributes:
        sites: how many there are.
        source, target: of each path (n,), as places among the sites.
        kind: of each path's packets (n,), as a small number: what answers one kind may not answer another.
        probed: whether it is probed all the time (n,): a line that is tested now and then tells nothing of clocks, nor
            of whether a site is cut off.
        has_agent: of each site (sites,).
    """

    sites: int
    source: Integers
    target: Integers
    kind: Integers
    probed: Flags
    has_agent: Flags

    @functools.cached_property
    def leaving(self) -> _Ends:
        """The paths that begin at each site."""
        return _Ends(self.source, self.sites)

    @functools.cached_property
    def reaching(self) -> _Ends:
        """The paths that end at each site."""
        return _Ends(self.target, self.sites)

    def touching(self, site: int) -> Integers:
        """The paths that begin or end at a site."""
        return np.concatenate([self.leaving[site], self.reaching[site]])

    def timed(self, site: int) -> Integers:
        """Those of them whose packets are timed by the site's clock."""
        touching = self.touching(site)
        paths: Integers = touching[self.probed[touching]]
        return paths


@dataclass(frozen=True, slots=True, eq=False)
class Witnesses:
    """What is known at one moment.

    Attributes:
        blind: of which sites' agents the source of the counts itself does not tell (sites,).
        read: which sites' agents were read lately (sites,).
        silent: which were not for a while (sites,); one that is neither has only just failed to answer.
        refused: of the silent ones, whose host was there and refused (sites,).
        clock_good: whose clock vouches for something, or is not meant to (sites,).
        reflected_per_s: packets that reach each site's reflector (sites,); NaN where nothing tells.
        dark, heard: of paths (n,); neither where nothing was resolved yet.
        sent_per_s, answered_per_s: of paths (n,).
        impossible: of which paths a delay was measured that no clocks within their bounds could measure (n,).
    """

    blind: Flags
    read: Flags
    silent: Flags
    refused: Flags
    clock_good: Flags
    reflected_per_s: Floats
    dark: Flags
    heard: Flags
    sent_per_s: Floats
    answered_per_s: Floats
    impossible: Flags


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, by places among sites and paths.

    Attributes:
        site: what is concerned; None where that is a single path, or the collector.
        path: the single path.
        direction: that is down, where it is known to be one.
        witnesses: how many other sites say so; of agents that the source leaves out: how many these are.
    """

    kind: FaultKind
    site: int | None = None
    path: int | None = None
    direction: Direction | None = None
    witnesses: int = 0


@dataclass(slots=True, eq=False)
class Located:
    """All faults of one moment.

    Attributes:
        findings: in the order in which they were found.
        of_path: which of them explains each path (n,); -1: none.
    """

    findings: list[Finding] = field(default_factory=list)
    of_path: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, finding: Finding, paths: Integers) -> None:
        """One more, which explains those of these paths that nothing has explained yet."""
        self.of_path[paths[self.of_path[paths] == _NONE]] = len(self.findings)
        self.findings.append(finding)

    def unexplained(self, paths: Integers) -> Integers:
        """Those of these paths that nothing has explained yet."""
        found: Integers = paths[self.of_path[paths] == _NONE]
        return found


def locate(topology: Topology, seen: Witnesses) -> Located:
    """The faults that explain what is seen."""
    located = Located([], np.full(len(topology.source), _NONE))
    agents = int(topology.has_agent.sum())
    all_blind = bool(agents and seen.blind[topology.has_agent].all())
    if all_blind or (agents >= _FEWEST_AGENTS and bool(seen.silent[topology.has_agent].all())):
        located.add(Finding(FaultKind.SOURCE_DOWN), np.arange(len(topology.source)))
        return located
    left_out = np.flatnonzero(topology.has_agent & seen.blind)
    if len(left_out):
        paths = np.flatnonzero(seen.blind[topology.source])
        located.add(Finding(FaultKind.SOURCE_DOWN, witnesses=len(left_out)), paths)
    # what an agent said last is no news of its paths once it is silent
    known = ~seen.silent[topology.source]
    dark, heard = seen.dark & known, seen.heard & known
    _silent_agents(located, topology, seen, dark, heard)
    _cut_off_sites(located, topology, seen, dark, heard)
    _unanswered_targets(located, topology, seen, dark, heard)
    for site in np.flatnonzero(seen.read & ~seen.clock_good).tolist():
        located.add(Finding(FaultKind.CLOCK_BAD, site), topology.timed(site))
    _lying_clocks(located, topology, seen, heard)
    return located


def _count(places: Integers, which: Flags, sites: int) -> Integers:
    """How many of these paths have each site at this end (sites,)."""
    return np.bincount(places[which], minlength=sites)


def _silent_agents(located: Located, topology: Topology, seen: Witnesses, dark: Flags, heard: Flags) -> None:
    """Agents that are not read, and whether their sites are cut off."""
    answers = _count(topology.target, heard, topology.sites)
    unanswered = _count(topology.target, dark, topology.sites)
    for site in np.flatnonzero(topology.has_agent & seen.silent & ~seen.blind).tolist():
        from_here, to_here = topology.leaving[site], topology.reaching[site]
        dark_here = to_here[dark[to_here]]
        everything = np.concatenate([from_here, dark_here])
        if seen.refused[site] or answers[site] or not unanswered[site]:
            # where its host is there and its reflector is not, the whole program is gone
            gone = everything if seen.refused[site] and not answers[site] else from_here
            located.add(Finding(FaultKind.AGENT_DOWN, site), gone)
        else:
            sources = len(np.unique(topology.source[dark_here]))
            located.add(Finding(FaultKind.UPLINK_DOWN, site, witnesses=sources), everything)


def _cut_off_sites(located: Located, topology: Topology, seen: Witnesses, dark: Flags, heard: Flags) -> None:
    """Sites whose agents are read, by another way than the probes take, and of whose paths none is answered."""
    left = dark & (located.of_path == _NONE)
    outwards = _count(topology.source, left, topology.sites)
    inwards = _count(topology.target, left, topology.sites)
    answered = _count(topology.source, heard, topology.sites) + _count(topology.target, heard, topology.sites)
    probed = _count(topology.target, topology.probed, topology.sites)
    suspects = seen.read & (outwards > 0) & (answered == 0) & ((inwards > 0) | (probed == 0))
    found: list[tuple[int, int, Integers]] = []
    for site in np.flatnonzero(suspects).tolist():
        touching = topology.touching(site)
        paths = touching[left[touching]]
        ends = np.concatenate([topology.source[paths], topology.target[paths]])
        peers = len(np.unique(ends[ends != site]))
        if peers >= _FEWEST_PEERS:
            found.append((peers, site, paths))
    for peers, site, paths in sorted(found, key=lambda one: (-one[0], one[1])):
        # what a site with more dark neighbours explains says nothing against its neighbours
        if len(located.unexplained(paths)):
            located.add(Finding(FaultKind.UPLINK_DOWN, site, witnesses=peers), paths)


def _unanswered_targets(
    located: Located, topology: Topology, seen: Witnesses, dark: Flags, heard: Flags
) -> None:
    """Dark paths that nothing has explained yet, in groups of a target and a kind of packets."""
    left = np.flatnonzero(dark & (located.of_path == _NONE))
    if not len(left):
        return
    kinds = int(topology.kind.max()) + 1
    group = topology.target * kinds + topology.kind
    answers = np.bincount(group[heard], minlength=topology.sites * kinds)
    order = left[np.argsort(group[left], kind="stable")]
    bounds = np.flatnonzero(np.diff(group[order])) + 1
    for paths in np.split(order, bounds):
        site = int(topology.target[paths[0]])
        direction = _direction(topology, seen, site, paths, heard)
        sources = len(np.unique(topology.source[paths]))
        if answers[group[paths[0]]] or (direction is not None and sources == 1):
            kind = FaultKind.PATH_DOWN if direction is None else FaultKind.DIRECTION_DOWN
            for path in paths.tolist():
                located.add(Finding(kind, path=path, direction=direction), np.array([path]))
        elif direction is Direction.REVERSE:
            located.add(Finding(FaultKind.DIRECTION_DOWN, site, None, direction, sources), paths)
        else:
            located.add(Finding(FaultKind.TARGET_DOWN, site, witnesses=sources), paths)


def _direction(
    topology: Topology, seen: Witnesses, site: int, paths: Integers, heard: Flags
) -> Direction | None:
    """Which direction of the dark paths to a target is down; None: nothing tells.

    What reaches its reflector and is not answered, over what the dark paths send, is the share of them that arrives.
    Where nothing arrives, the reflector may be gone instead: unless others are answered by it, it is suspected where
    the way there is known to be open, for that way carries the answers to what the target's own agent sends.
    """
    reflected = float(seen.reflected_per_s[site])
    if not seen.read[site] or np.isnan(reflected):
        return None
    here = topology.reaching[site]
    unanswered = reflected - float(seen.answered_per_s[here].sum())
    sent = float(seen.sent_per_s[paths].sum())
    if unanswered >= _LEAST_HEARD * sent > 0:
        return Direction.REVERSE
    if unanswered > _MOST_UNHEARD * sent:
        return None
    back = topology.leaving[site]
    back = back[np.isin(topology.target[back], topology.source[paths])]
    if bool(heard[back].any()) and not bool(heard[here].any()):
        return None
    return Direction.FORWARD


def _lying_clocks(located: Located, topology: Topology, seen: Witnesses, heard: Flags) -> None:
    """Clocks that are further off than they say: of the two ends of a path, the one that more of its paths accuse."""
    accused = seen.impossible & heard
    if not accused.any():
        return
    ends = topology.source, topology.target
    against = sum((_count(end, accused, topology.sites) for end in ends), np.zeros(topology.sites, np.int64))
    heard_of = sum((_count(end, heard, topology.sites) for end in ends), np.zeros(topology.sites, np.int64))
    share = against / np.maximum(heard_of, 1)
    paths = np.flatnonzero(accused)
    source, target = topology.source[paths], topology.target[paths]
    guilty = np.where(share[source] > share[target], source, target)
    sure = share[source] != share[target]
    for site in np.unique(guilty[sure]).tolist():
        of_site = sure & (guilty == site)
        others = np.concatenate([source[of_site], target[of_site]])
        witnesses = len(np.unique(others[others != site]))
        located.add(Finding(FaultKind.CLOCK_BAD, site, witnesses=witnesses), topology.timed(site))
    for path in paths[~sure].tolist():
        located.add(Finding(FaultKind.CLOCK_BAD, path=path), np.array([path]))


def kinds_of(labels: Sequence[str]) -> Integers:
    """Small numbers for the kinds of paths' packets."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], np.int64)
