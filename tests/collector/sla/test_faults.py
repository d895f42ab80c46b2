"""What is broken: told from heartbeats, from paths that share a site, and from what reaches a reflector."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.metrics import LINE_KIND
from agent.core.outcome import Direction
from collector.sla.faults import FaultKind, Finding, Located, Topology, Witnesses, kinds_of, locate

RATE = 50.0
"""Packets a second of every path."""


@dataclass
class World:
    """Sites and paths, and what is broken of them; it tells what would be seen.

    Attributes:
        sites: how many; all have an agent and a reflector but for those of `bare`.
        paths: source, target and kind of packets of each.
        bare: sites without an agent.
        dead: agents that are gone, of which the collector is refused.
        cut: sites that nothing leads to, the collector's way neither; `lonely`: that the collector still reaches.
        mute: sites whose reflector is gone; the agent lives.
        wrong_clocks: sites whose clock vouches for nothing; `lying`: whose clock is wrong and says it is not.
        blocked: paths and the direction in which nothing passes.
        blind: whether the source tells of no agent; `left_out`: of which ones it does not.
    """

    sites: int
    paths: list[tuple[int, int, str]]
    bare: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    cut: set[int] = field(default_factory=set)
    lonely: set[int] = field(default_factory=set)
    mute: set[int] = field(default_factory=set)
    blocked: dict[int, Direction] = field(default_factory=dict)
    wrong_clocks: set[int] = field(default_factory=set)
    lying: set[int] = field(default_factory=set)
    blind: bool = False
    left_out: set[int] = field(default_factory=set)

    def topology(self) -> Topology:
        """Who probes whom."""
        source, target, kinds = zip(*self.paths, strict=True)
        agents = [site not in self.bare for site in range(self.sites)]
        return Topology(
            self.sites,
            np.array(source),
            np.array(target),
            kinds_of(kinds),
            np.array([kind != LINE_KIND for kind in kinds], np.bool_),
            np.array(agents, np.bool_),
        )

    def seen(self) -> Witnesses:
        """What the witnesses say."""
        sites = range(self.sites)
        away = self.cut | self.lonely
        running = [source not in self.dead | self.cut for source, _, _ in self.paths]
        reaches = [
            run and not away & {source, target} and self.blocked.get(at) is not Direction.FORWARD
            for at, ((source, target, _), run) in enumerate(zip(self.paths, running, strict=True))
        ]
        received = [
            ok and target not in self.dead | self.mute
            for ok, (_, target, _) in zip(reaches, self.paths, strict=True)
        ]
        answered = [ok and self.blocked.get(at) is not Direction.REVERSE for at, ok in enumerate(received)]
        reflected = np.zeros(self.sites)
        for (_, target, _), ok in zip(self.paths, received, strict=True):
            reflected[target] += RATE * ok
        blind = [site not in self.bare and (self.blind or site in self.left_out) for site in sites]
        gone = self.dead | self.cut
        silent = [site not in self.bare and (blind[site] or site in gone) for site in sites]
        read = [site not in self.bare and not silent[site] for site in sites]
        reflected[[not one for one in read]] = np.nan
        # of paths whose agent is silent the last thing is remembered that was read
        heard = np.array([ok or not run for ok, run in zip(answered, running, strict=True)])
        return Witnesses(
            np.array(blind),
            np.array(read),
            np.array(silent),
            np.array([site in self.dead for site in sites]),
            np.array([site not in self.wrong_clocks for site in sites]),
            reflected,
            ~heard,
            heard,
            np.full(len(self.paths), RATE),
            RATE * np.array(answered),
            np.array([bool(self.lying & {source, target}) for source, target, _ in self.paths]),
        )

    def located(self) -> Located:
        """What is found."""
        return locate(self.topology(), self.seen())


def mesh(sites: int) -> World:
    """Every site probes every other one."""
    pairs = [(one, other, "stamp") for one in range(sites) for other in range(sites) if one != other]
    return World(sites, pairs)


def star(targets: int, kind: str = "stamp") -> World:
    """Site 0 probes all others, which probe nobody."""
    return World(targets + 1, [(0, target, kind) for target in range(1, targets + 1)])


def touching(world: World, sites: Iterable[int]) -> set[int]:
    """Paths from or to any of these."""
    chosen = set(sites)
    return {at for at, (source, target, _) in enumerate(world.paths) if chosen & {source, target}}


def explained(located: Located) -> set[int]:
    """Paths that a finding explains."""
    return set(np.flatnonzero(located.of_path >= 0).tolist())


def test_where_all_is_well_nothing_is_found() -> None:
    """In a mesh of four."""
    located = mesh(4).located()
    assert located.findings == []
    assert (located.of_path == -1).all()


def test_a_collector_that_reads_nobody_is_blind_and_claims_nothing_else() -> None:
    """Whatever its agents said last; whether the source says so or all of its agents are silent."""
    for world in (mesh(3), mesh(4)):
        world.blind = True
        world.mute = {1}
        located = world.located()
        assert located.findings == [Finding(FaultKind.SOURCE_DOWN)]
        assert (located.of_path == 0).all()
    world = mesh(3)
    world.cut = {0, 1, 2}
    assert [one.kind for one in world.located().findings] == [FaultKind.SOURCE_DOWN]


def test_agents_that_the_source_leaves_out_are_not_said_to_be_down() -> None:
    """A partial answer is the collector's own blindness too; what is not of it is found as ever."""
    world = mesh(6)
    world.left_out, world.dead = {1, 2}, {4}
    located = world.located()
    assert located.findings == [
        Finding(FaultKind.SOURCE_DOWN, witnesses=2),
        Finding(FaultKind.AGENT_DOWN, 4),
    ]
    left_out = {at for at, (source, _, _) in enumerate(world.paths) if source in world.left_out}
    assert set(np.flatnonzero(located.of_path == 0).tolist()) == left_out


def test_one_agent_alone_that_is_silent_is_down() -> None:
    """Nothing tells that it is the collector instead."""
    world = star(2)
    world.bare, world.dead = {1, 2}, {0}
    located = world.located()
    assert located.findings == [Finding(FaultKind.AGENT_DOWN, 0)]
    assert explained(located) == {0, 1}


def test_an_agent_that_nobody_probes_is_down_where_it_is_not_read() -> None:
    """Its host may be cut off as well: nothing tells."""
    world = star(2)
    world.cut = {0}
    assert world.located().findings == [Finding(FaultKind.AGENT_DOWN, 0)]


def test_an_agent_whose_host_refuses_is_down_with_its_reflector() -> None:
    """One fault, not one more of each path to it."""
    world = mesh(4)
    world.dead = {2}
    located = world.located()
    assert located.findings == [Finding(FaultKind.AGENT_DOWN, 2)]
    assert explained(located) == touching(world, [2])


def test_an_agent_that_is_not_read_and_yet_answers_others_is_down_and_its_site_is_not() -> None:
    """What it reflects says that its network is there."""
    world = mesh(3)
    seen = world.seen()
    seen.silent[1], seen.read[1] = True, False
    located = locate(world.topology(), seen)
    assert located.findings == [Finding(FaultKind.AGENT_DOWN, 1)]
    assert explained(located) == {at for at, path in enumerate(world.paths) if path[0] == 1}


def test_a_site_that_neither_agent_nor_path_is_heard_of_is_cut_off() -> None:
    """All its paths are explained by its uplink."""
    world = mesh(4)
    world.cut = {3}
    located = world.located()
    assert located.findings == [Finding(FaultKind.UPLINK_DOWN, 3, witnesses=3)]
    assert explained(located) == touching(world, [3])


@pytest.mark.parametrize("world", [mesh(4), star(3)], ids=["mesh", "star"])
def test_a_site_whose_agent_is_read_is_cut_off_where_none_of_its_paths_is_answered(world: World) -> None:
    """By a network of its own: a quorum of the others, who hear each other or cannot all have gone at once."""
    world.lonely = {0}
    located = world.located()
    assert located.findings == [Finding(FaultKind.UPLINK_DOWN, 0, witnesses=3)]
    assert explained(located) == touching(world, [0])


def test_a_reflector_that_answers_nobody_is_down_and_its_site_is_not() -> None:
    """For its agent hears of others."""
    world = mesh(4)
    world.mute = {1}
    located = world.located()
    assert located.findings == [Finding(FaultKind.TARGET_DOWN, 1, witnesses=3)]
    assert explained(located) == {at for at, path in enumerate(world.paths) if path[1] == 1}


def test_a_single_path_to_a_target_cannot_tell_it_from_the_target() -> None:
    """Target down, with one witness; it may be the path."""
    world = star(2)
    world.bare, world.mute = {1, 2}, {2}
    assert world.located().findings == [Finding(FaultKind.TARGET_DOWN, 2, witnesses=1)]


def test_a_reflector_that_is_gone_is_known_by_the_way_back_to_its_agent() -> None:
    """What its own agent sends is answered over the same way that the dark path takes."""
    world = World(2, [(0, 1, "stamp"), (1, 0, "stamp")], mute={1})
    assert world.located().findings == [Finding(FaultKind.TARGET_DOWN, 1, witnesses=1)]


@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.REVERSE])
def test_one_direction_of_one_path_is_told_by_what_reaches_the_reflector(direction: Direction) -> None:
    """Where others are answered by the same target, and where nobody else asks."""
    for world in (mesh(4), star(1)):
        world.blocked = {0: direction}
        located = world.located()
        assert located.findings == [Finding(FaultKind.DIRECTION_DOWN, path=0, direction=direction)]
        assert explained(located) == {0}


def test_a_target_whose_answers_all_get_lost_has_one_direction_down() -> None:
    """Every path to it is heard by its reflector."""
    world = mesh(4)
    paths = [at for at, path in enumerate(world.paths) if path[1] == 2]
    world.blocked = dict.fromkeys(paths, Direction.REVERSE)
    located = world.located()
    assert located.findings == [Finding(FaultKind.DIRECTION_DOWN, 2, None, Direction.REVERSE, 3)]
    assert explained(located) == set(paths)


def test_paths_of_which_some_arrive_have_no_known_direction() -> None:
    """Half of what the dark ones send reaches the target: neither of the two."""
    world = World(4, [(0, 3, "stamp"), (1, 3, "stamp"), (2, 3, "stamp")])
    world.blocked = {0: Direction.FORWARD, 1: Direction.REVERSE}
    located = world.located()
    assert located.findings == [Finding(FaultKind.PATH_DOWN, path=0), Finding(FaultKind.PATH_DOWN, path=1)]


def test_a_service_may_be_down_on_a_host_that_answers() -> None:
    """Kinds of packets are told apart; a direction is known of none, where no reflector tells."""
    world = World(3, [(0, 1, "icmp"), (0, 1, "tcp"), (0, 2, "stamp")], bare={1, 2})
    world.blocked = {1: Direction.FORWARD}
    located = world.located()
    assert located.findings == [Finding(FaultKind.TARGET_DOWN, 1, witnesses=1)]
    assert explained(located) == {1}


def test_a_clock_that_vouches_for_nothing_explains_the_paths_that_nothing_else_does() -> None:
    """At both ends of a path."""
    world = mesh(3)
    world.wrong_clocks, world.mute = {0}, {1}
    located = world.located()
    assert located.findings == [
        Finding(FaultKind.TARGET_DOWN, 1, witnesses=2),
        Finding(FaultKind.CLOCK_BAD, 0),
    ]
    assert explained(located) == touching(world, [0]) | {
        at for at, path in enumerate(world.paths) if path[1] == 1
    }


def test_a_clock_that_lies_is_told_by_the_paths_that_share_its_site() -> None:
    """All of them measure what cannot be; of the others' paths only those to it do."""
    world = mesh(4)
    world.lying = {2}
    located = world.located()
    assert located.findings == [Finding(FaultKind.CLOCK_BAD, 2, witnesses=3)]
    assert explained(located) == touching(world, [2])


def test_which_of_two_clocks_lies_is_not_known_from_one_path() -> None:
    """So the path is named."""
    world = star(1)
    world.lying = {0}
    assert world.located().findings == [Finding(FaultKind.CLOCK_BAD, path=0)]


def test_an_agent_that_has_only_just_failed_to_answer_is_not_down_yet() -> None:
    """Its paths are known from before."""
    world = mesh(3)
    seen = world.seen()
    seen.read[1] = False
    assert locate(world.topology(), seen).findings == []


SINGLE = st.sampled_from(["dead", "cut", "lonely", "mute"])
KINDS = {
    "dead": FaultKind.AGENT_DOWN,
    "cut": FaultKind.UPLINK_DOWN,
    "lonely": FaultKind.UPLINK_DOWN,
    "mute": FaultKind.TARGET_DOWN,
}


@given(st.integers(4, 9), st.dictionaries(st.integers(0, 8), SINGLE, max_size=2))
def test_in_a_mesh_each_fault_is_found_for_what_it_is(sites: int, broken: dict[int, str]) -> None:
    """Any two sites, broken in any two ways, while two others are left to witness it."""
    world = mesh(sites)
    broken = {site: how for site, how in broken.items() if site < sites}
    for site, how in broken.items():
        getattr(world, how).add(site)
    found = {one.site: one.kind for one in world.located().findings}
    assert found == {site: KINDS[how] for site, how in broken.items()}


PAIRS = st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(["stamp", "tcp"]))
SITES = st.sets(st.integers(0, 6), max_size=3)
WORLDS = st.builds(
    World,
    st.just(7),
    st.lists(PAIRS.filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=25, unique=True),
    dead=SITES,
    cut=SITES,
    lonely=SITES,
    mute=SITES,
    blocked=st.dictionaries(st.integers(0, 24), st.sampled_from([Direction.FORWARD, Direction.REVERSE])),
    wrong_clocks=SITES,
    lying=SITES,
    blind=st.booleans(),
    left_out=SITES,
)


@given(WORLDS)
def test_what_is_dark_is_explained_and_what_is_heard_is_not_accused(world: World) -> None:
    """Each dark path of an agent that is read has one fault; of what is answered only a clock is doubted."""
    located, seen, topology = world.located(), world.seen(), world.topology()
    known = ~seen.silent[topology.source]
    dark = set(np.flatnonzero(seen.dark & known).tolist())
    assert dark <= explained(located)
    for path in np.flatnonzero(seen.heard & known).tolist():
        number = int(located.of_path[path])
        blind = located.findings[:1] == [Finding(FaultKind.SOURCE_DOWN)]
        assert number < 0 or blind or located.findings[number].kind is FaultKind.CLOCK_BAD
    accused = {one.site for one in located.findings if one.kind is FaultKind.AGENT_DOWN}
    assert not accused & world.left_out


@given(WORLDS, st.randoms(use_true_random=False))
def test_the_order_of_paths_does_not_matter(world: World, rng: object) -> None:
    """The same faults are found."""
    order = list(range(len(world.paths)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    paths, blocked = world.paths, world.blocked
    before = _said(world, list(range(len(paths))))
    world.paths = [paths[at] for at in order]
    world.blocked = {place: blocked[at] for place, at in enumerate(order) if at in blocked}
    assert _said(world, order) == before


def _said(world: World, order: list[int]) -> set[tuple[object, ...]]:
    return {
        (one.kind, one.site, None if one.path is None else order[one.path], one.direction, one.witnesses)
        for one in world.located().findings
    }


def test_a_hundred_thousand_paths_are_looked_at_at_once() -> None:
    """In well below a second, with a thousand sites of which ten are cut off and a hundred mute."""
    rng = np.random.default_rng(1)
    sites, paths = 1000, 100_000
    source = rng.integers(0, sites, paths)
    target = (source + rng.integers(1, sites, paths)) % sites
    topology = Topology(
        sites, source, target, np.zeros(paths, np.int64), np.ones(paths, np.bool_), np.ones(sites, np.bool_)
    )
    cut, mute = np.arange(sites) < 10, (np.arange(sites) >= 10) & (np.arange(sites) < 110)
    dark = cut[source] | cut[target] | mute[target]
    rates = np.full(paths, RATE)
    seen = Witnesses(
        np.zeros(sites, np.bool_),
        ~cut,
        cut,
        np.zeros(sites, np.bool_),
        np.ones(sites, np.bool_),
        np.bincount(target, RATE * ~dark, minlength=sites).astype(np.float64),
        dark,
        ~dark,
        rates,
        rates * ~dark,
        np.zeros(paths, np.bool_),
    )
    began = time.perf_counter()
    located = locate(topology, seen)
    took_s = time.perf_counter() - began
    kinds = [one.kind for one in located.findings]
    assert (kinds.count(FaultKind.UPLINK_DOWN), kinds.count(FaultKind.TARGET_DOWN)) == (10, 100)
    assert took_s < 1


def test_where_nobody_hears_anybody_no_site_is_accused_twice() -> None:
    """Two of three sites explain all that is dark; the third may be well."""
    world = mesh(3)
    world.lonely = {0, 1, 2}
    findings = world.located().findings
    assert [(one.kind, one.site) for one in findings] == [
        (FaultKind.UPLINK_DOWN, 0),
        (FaultKind.UPLINK_DOWN, 1),
    ]
