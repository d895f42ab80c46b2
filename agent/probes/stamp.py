"""STAMP probes: plain sessions together, extended ones packet by packet."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Final

from agent.core.authentication import KeyRing, Keys
from agent.core.peer import PeerTraits
from agent.core.route import AnswerKind
from agent.net.icmp_errors import sender_of
from agent.net.local_clock import LocalClock
from agent.net.protocols import IPV4, IPV6
from agent.probes.destinations import Destinations
from agent.probes.extended_stamp import ExtendedStampOutlet
from agent.probes.plain_stamp import PlainStampOutlet
from agent.settings import PathSettings

_EXTENDED: Final = -1


class StampProbes:
    """Opens the outlets of STAMP senders.

    Args:
        keys: sign and verify authenticated sessions.
        describe: learn what peers are like.

    ICMP errors are heard of; one proves nothing of when or where a probe was lost, for anybody can send one, so it
    changes no outcome.
    """

    one_way: Final = True

    def __init__(self, keys: KeyRing | None = None, *, describe: bool = False) -> None:
        self._keys = keys
        self._describe = describe
        self._plain: list[PlainStampOutlet] = []
        self._extended: list[ExtendedStampOutlet] = []

    def group(self, settings: PathSettings) -> int:
        """The code point of plain sessions; extended ones share a socket whatever their marking."""
        return _EXTENDED if settings.extended else settings.dscp

    def __call__(
        self,
        family: socket.AddressFamily,
        settings: PathSettings,
        destinations: Destinations,
        clock: LocalClock,
    ) -> PlainStampOutlet | ExtendedStampOutlet:
        """An outlet for sessions like these."""
        if settings.extended:
            extended = ExtendedStampOutlet(
                family, destinations, clock, self._keys_of, describe=self._describe
            )
            self._extended.append(extended)
            return extended
        plain = PlainStampOutlet(family, settings.dscp, destinations, clock, describe=self._describe)
        self._plain.append(plain)
        return plain

    def renew_keys(self, keys: KeyRing | None) -> None:
        """Sign and verify with other keys from now on."""
        self._keys = keys
        for outlet in self._extended:
            outlet.renew_keys()

    def _keys_of(self, ssid: int) -> Keys:
        return () if self._keys is None else self._keys.keys(ssid)

    def traits(self) -> list[PeerTraits]:
        """What the peer's replies have in common, of each outlet that was opened."""
        return [outlet.traits for outlet in (*self._plain, *self._extended) if outlet.traits is not None]

    def icmp_answers(self) -> Counter[tuple[str, str]]:
        """How often which ICMP error came from whom: (what it says, address; empty where it is not known)."""
        found: Counter[tuple[str, str]] = Counter()
        for outlet in (*self._plain, *self._extended):
            ipv6 = outlet.socket.family == socket.AF_INET6
            for answer, count in outlet.socket.icmp_answers.items():
                said = AnswerKind.of_icmp(6 if ipv6 else 4, answer.kind, answer.code)
                words = f"type {answer.kind}, code {answer.code}" if said is None else said.value
                found[words, sender_of(answer.sender, IPV6 if ipv6 else IPV4)] += count
        return found
