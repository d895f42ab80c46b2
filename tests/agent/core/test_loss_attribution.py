"""Losses of a session against a seeded fake network are counted where they happened, or nowhere."""

from __future__ import annotations

import pytest

from agent.core.ledger import PathLedger
from agent.core.outcome import Outcome
from agent.core.reflection import Reflection, ReflectorMode
from tests.support.network import FakeNetwork, Leg, one_bad_leg
from tests.support.session import MS


def counts(ledger: PathLedger) -> dict[str, list[int]]:
    """Outcomes by direction."""
    return {direction.value: counted.outcomes for direction, counted in ledger.directions()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_loss_is_attributed(seed: int, direction: str) -> None:
    """10 % loss in one direction is counted in that direction, packet for packet."""
    network = one_bad_leg(seed, direction, Leg(loss=0.1))
    network.run(2000)
    leg = getattr(network, direction)
    assert leg.lost > 100
    lost = counts(network.ledger)
    other = "reverse" if direction == "forward" else "forward"
    # the last losses of a run may have no reply after them that could prove anything
    unattributed = lost["forward"][Outcome.UNATTRIBUTED]
    assert unattributed <= 3
    assert lost[direction][Outcome.LOST] == leg.lost - unattributed
    assert lost[other][Outcome.LOST] == 0


def test_loss_in_both_directions_is_exact_in_sum() -> None:
    """With loss on both legs the totals per direction are those of the network."""
    network = FakeNetwork(11, Leg(loss=0.05), Leg(loss=0.1))
    network.run(3000)
    lost = counts(network.ledger)
    assert network.session.reflector_is_stateful
    unattributed = lost["forward"][Outcome.UNATTRIBUTED]
    assert unattributed <= 3
    assert abs(lost["forward"][Outcome.LOST] - network.forward.lost) <= unattributed
    assert abs(lost["reverse"][Outcome.LOST] - network.reverse.lost) <= unattributed


def test_stateless_reflector_proves_nothing() -> None:
    """Where the reflector copies the sender's numbers every loss is unattributed."""
    network = FakeNetwork(2, Leg(loss=0.1), Leg(loss=0.1), ReflectorMode.STATELESS)
    network.run(500)
    assert not network.session.reflector_is_stateful
    lost = counts(network.ledger)
    assert lost["round_trip"][Outcome.LOST] > 50
    assert lost["forward"][Outcome.LOST] == lost["reverse"][Outcome.LOST] == 0
    assert lost["forward"][Outcome.UNATTRIBUTED] == lost["round_trip"][Outcome.LOST]


def test_blackout_is_unattributed_until_a_reply_proves_more() -> None:
    """While nothing comes back the direction is not known; the law holds all the same."""
    network = FakeNetwork(3)
    network.run(50)
    network.reverse.loss = 1.0
    network.run(50)
    network.reverse.loss = 0.0
    network.run(50)
    lost = counts(network.ledger)
    assert lost["round_trip"][Outcome.LOST] == 50
    assert lost["forward"][Outcome.LOST] == lost["reverse"][Outcome.LOST] == 0
    assert lost["forward"][Outcome.UNATTRIBUTED] == 50


def test_short_outage_is_attributed() -> None:
    """An outage shorter than the timeout is proven by the reply after it: all of it was lost on the way there."""
    network = FakeNetwork(3)
    network.run(20)
    network.at(network.now_ns + 95 * MS, lambda: setattr(network.forward, "loss", 1.0))
    network.at(network.now_ns + 145 * MS, lambda: setattr(network.forward, "loss", 0.0))
    network.run(60)
    assert network.ledger.forward.outcomes[Outcome.LOST] == 5
    assert network.ledger.forward.outcomes[Outcome.UNATTRIBUTED] == 0


def test_outage_beyond_memory_is_unattributed() -> None:
    """After an outage longer than the remembered window no reply before it is left to compare with."""
    network = FakeNetwork(3)
    network.run(20)
    network.forward.loss = 1.0
    network.at(network.now_ns + 1005 * MS, lambda: setattr(network.forward, "loss", 0.0))
    network.run(110)
    assert network.ledger.forward.outcomes[Outcome.LOST] == 0
    assert network.ledger.forward.outcomes[Outcome.UNATTRIBUTED] == 101


def test_mixed_outage_is_not_guessed() -> None:
    """Where both directions failed in one outage, and some of it was given up unattributed, the rest is so too."""
    network = FakeNetwork(3)
    network.run(20)
    network.forward.loss = 1.0
    network.at(network.now_ns + 155 * MS, lambda: setattr(network.forward, "loss", 0.0))
    network.at(network.now_ns + 155 * MS, lambda: setattr(network.reverse, "loss", 1.0))
    network.at(network.now_ns + 185 * MS, lambda: setattr(network.reverse, "loss", 0.0))
    network.run(60)
    forward, reverse = network.ledger.forward.outcomes, network.ledger.reverse.outcomes
    assert forward[Outcome.LOST] == reverse[Outcome.LOST] == 0
    assert forward[Outcome.UNATTRIBUTED] == 19


def test_a_reflector_that_begins_to_copy_proves_nothing_from_then_on() -> None:
    """Once the one that counted is replaced by one that copies, what is lost on the way there is not said to be lost
    on the way back."""
    network = FakeNetwork(4)
    network.run(40)
    assert network.session.reflector_is_stateful
    network.reflector = Reflection(ReflectorMode.STATELESS)
    network.forward.loss = 0.1
    network.run(500)
    lost = counts(network.ledger)
    assert network.forward.lost > 20
    assert lost["forward"][Outcome.LOST] == lost["reverse"][Outcome.LOST] == 0
    assert lost["forward"][Outcome.UNATTRIBUTED] == network.forward.lost


def test_reflector_restart_proves_nothing_false() -> None:
    """After a restart the reflector counts from 0 again; a loss across that is unattributed, not invented."""
    network = FakeNetwork(4)
    network.run(40)
    network.reverse.loss = 1.0
    network.at(network.now_ns + 55 * MS, lambda: setattr(network.reverse, "loss", 0.0))
    network.at(network.now_ns + 54 * MS, lambda: setattr(network, "reflector", Reflection(network.mode)))
    network.run(60)
    lost = counts(network.ledger)
    assert lost["round_trip"][Outcome.LOST] == 6
    assert lost["forward"][Outcome.UNATTRIBUTED] == 6
