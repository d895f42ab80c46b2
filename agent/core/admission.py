"""Which requests the reflector answers: the one decision between the open internet and a reply.

In this order: a source must be on the list or have proven that it holds a key; its packet must be one that can be
answered without amplifying; and there must be a token for it, of the source's own bucket and of everyone's.

A bucket is kept as the time at which it will be full again (the virtual scheduling of ITU-T I.371): one that is full
is as good as none, so that forgetting it forgets nothing, and nobody is ever admitted more than his burst and his
rate times the time.

Everyone's bucket is shared fairly: its last quarter is a reserve for sources that have been coming for a second and
ask for no more than half of what is theirs. Whoever sends as fast as he can asks for more, and whoever makes up his
address has not been here: neither takes a token from the modest, unless these alone use up the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags
from agent.core.networks import IPV6_OCTETS, SUBSCRIBER_OCTETS_IPV6, Network, Networks, subscriber_of
from agent.core.remembered import Remembered
from agent.core.stamp import BASE_OCTETS, DEFAULT_PORT
from agent.core.timestamps import SECOND_NS
from agent.core.twamp_light import REQUEST_OCTETS

_ACQUAINTANCE_NS: Final = SECOND_NS
"""For how long a source must have been coming to draw on the reserve."""


class Verdict(StrEnum):
    """What is decided of a request.

    REFLECTOR came from a port where reflectors listen: it is a reply, or made up to look like one. Two reflectors that
    answered each other would never end. NOT_AUTHENTIC claims to be signed, and no valid key has signed it.
    """

    ADMITTED = "admitted"
    NOT_ALLOWED = "not_allowed"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    RATE_LIMITED = "rate_limited"
    OVER_BUDGET = "over_budget"
    REFLECTOR = "reflector"
    NOT_AUTHENTIC = "not_authentic"


VERDICTS: Final = tuple(Verdict)
"""The verdicts in the order of the numbers that stand for them in columns."""
_ADMITTED, _NOT_ALLOWED, _TOO_SHORT, _TOO_LONG, _RATE_LIMITED, _OVER_BUDGET, _REFLECTOR, _NOT_AUTHENTIC = (
    range(len(VERDICTS))
)


@dataclass(frozen=True, slots=True)
class PacketRate:
    """A token bucket's measures.

    Attributes:
        per_second: packets, 1 or more.
        burst: packets at once after a rest, 2 or more.
    """

    per_second: int
    burst: int

    @property
    def token_ns(self) -> int:
        """How long a token takes to come, rounded up: the rate is never exceeded."""
        return -(-SECOND_NS // self.per_second)


USUAL_PER_SOURCE: Final = PacketRate(2_000, 400)
USUAL_OVERALL: Final = PacketRate(60_000, 6_000)


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """Who is answered, and how often.

    Attributes:
        allow: networks whose requests are answered without proof of a key.
        twamp_light: networks whose short requests are answered with longer replies.
        per_source: for each IPv4 address and each IPv6 /64.
        overall: for all sources together.
        max_sources: how many sources are remembered.
        longest: octets of the longest request that can be answered.
        reflector_ports: where reflectors listen, this one among them; nothing that comes from there is answered.
    """

    allow: Sequence[Network]
    twamp_light: Sequence[Network] = ()
    per_source: PacketRate = USUAL_PER_SOURCE
    overall: PacketRate = USUAL_OVERALL
    max_sources: int = 16_384
    longest: int = 2_048
    reflector_ports: frozenset[int] = frozenset((DEFAULT_PORT,))


class _Source:
    """What is remembered of a source, in ns.

    Attributes:
        full_ns: when its bucket will be full again.
        calm_ns: when all that it has asked for, admitted or not, will be forgotten.
        since_ns: since when it has been coming.
    """

    __slots__ = ("calm_ns", "full_ns", "since_ns")

    def __init__(self, full_ns: int, since_ns: int) -> None:
        self.full_ns = full_ns
        self.calm_ns = since_ns
        self.since_ns = since_ns


class Admission:
    """Decides of requests, each time at a monotonic time (ns) that never falls.

    Args:
        rules: who is answered, and how often.
    """

    def __init__(self, rules: AdmissionRules) -> None:
        self._allowed = Networks(rules.allow)
        self._twamp_light = Networks(rules.twamp_light)
        self._longest = rules.longest
        self._reflector_ports = rules.reflector_ports
        self._reflector_port_list = np.array(sorted(rules.reflector_ports))
        self._burst = rules.per_source.burst
        self._token_ns = rules.per_source.token_ns
        # What is asked for drains at half the rate. Half a burst of it is modest, and no more than a whole one is held
        # against anybody: a flood stays above the half, and is forgiven as soon as that has drained.
        self._ask_ns = 2 * self._token_ns
        self._modest_ns = self._burst * self._token_ns
        self._overall_token_ns = rules.overall.token_ns
        self._overall_depth_ns = rules.overall.burst * rules.overall.token_ns
        self._reserve_ns = self._overall_depth_ns // 4
        self._overall_full_ns = 0
        self._now_ns = 0
        self._sources: Remembered[bytes, _Source] = Remembered(rules.max_sources, self._is_full)

    @property
    def sources(self) -> int:
        """How many sources are remembered."""
        return len(self._sources)

    def is_allowed(self, address: bytes) -> bool:
        """Whether a source needs no proof of a key; its address in 4 or 16 octets."""
        return self._allowed.contain(address)

    def are_allowed(self, addresses: NDArray[np.uint8]) -> Flags:
        """The same of many, (n, 4) or (n, 16) octets: (n,)."""
        return self._allowed.contain_all(addresses)

    def remembers(self, address: bytes) -> bool:
        """Whether a source has been admitted and is not forgotten."""
        return self._sources.find(subscriber_of(address)) is not None

    def remember_all(self, addresses: NDArray[np.uint8]) -> Flags:
        """The same of many, (n, 4) or (n, 16) octets: (n,)."""
        keys = _column_of(addresses).tolist()
        known = {key for key in set(keys) if self._sources.find(key) is not None}
        return np.array([key in known for key in keys], np.bool_)

    def is_twamp_light(self, address: bytes) -> bool:
        """Whether a source is a peer of TWAMP Light."""
        return self._twamp_light.contain(address)

    def are_twamp_light(self, addresses: NDArray[np.uint8]) -> Flags | None:
        """The same of many; None where there is no such peer at all."""
        return self._twamp_light.contain_all(addresses) if self._twamp_light else None

    def decide(
        self,
        address: bytes,
        octets: int,
        now_ns: int,
        *,
        port: int = 0,
        authentic: bool = False,
        pressed: bool = False,
    ) -> Verdict:
        """Decide of one request, and take its tokens if it is admitted.

        Args:
            address: the source's, 4 or 16 octets.
            octets: how long the request is.
            port: the source's.
            authentic: a valid key has signed it.
            pressed: there is CPU time for none but those whom the reserve is for.
        """
        if not (authentic or self._allowed.contain(address)):
            return Verdict.NOT_ALLOWED
        if port in self._reflector_ports:
            return Verdict.REFLECTOR
        if octets < BASE_OCTETS and (octets < REQUEST_OCTETS or not self._twamp_light.contain(address)):
            return Verdict.TOO_SHORT
        if octets > self._longest:
            return Verdict.TOO_LONG
        self._now_ns = now_ns
        taken, refusal = self._take(subscriber_of(address), 1, pressed=pressed)
        return Verdict.ADMITTED if taken else VERDICTS[refusal]

    def decide_request(self, address: bytes, now_ns: int) -> Verdict:
        """Decide of a request that came over a connection, where nothing is amplified: by its source and rate alone."""
        return self.decide(address, BASE_OCTETS, now_ns)

    def decide_all(
        self,
        addresses: NDArray[np.uint8],
        octets: NDArray[Any],
        now_ns: int,
        *,
        ports: NDArray[Any] | None = None,
        authentic: Flags | None = None,
        made: NDArray[np.uint8] | None = None,
        pressed: bool = False,
    ) -> NDArray[np.uint8]:
        """Decide of a batch as `decide` does of one after the other, but source by source, who comes first first.

        Args:
            addresses: (n, 4) or (n, 16) octets.
            octets, ports, authentic: (n,) each; none authentic by default.
            made: (n,), verdicts as they are returned; those that are made already stand and take nobody's tokens.

        Returns:
            (n,), an index into `VERDICTS` each.
        """
        allowed = self._allowed.contain_all(addresses)
        if authentic is not None:
            allowed |= authentic
        verdicts = np.full(len(octets), _ADMITTED, np.uint8)
        short = octets < BASE_OCTETS
        if short.any():
            light = self.are_twamp_light(addresses)
            if light is not None:
                short &= (octets < REQUEST_OCTETS) | ~light
            verdicts[short] = _TOO_SHORT
        verdicts[octets > self._longest] = _TOO_LONG
        if ports is not None:
            verdicts[np.isin(ports, self._reflector_port_list)] = _REFLECTOR
        verdicts[~allowed] = _NOT_ALLOWED
        if made is not None:
            verdicts = np.where(made == _ADMITTED, verdicts, made)
        self._now_ns = now_ns
        self._ration(addresses, verdicts, pressed=pressed)
        return verdicts

    def _ration(self, addresses: NDArray[np.uint8], verdicts: NDArray[np.uint8], *, pressed: bool) -> None:
        """Give out tokens among what is admitted so far; of each source's packets, to the first."""
        (asking,) = np.nonzero(verdicts == _ADMITTED)
        if not len(asking):
            return
        if addresses.shape[1] == IPV6_OCTETS:
            addresses = addresses[:, :SUBSCRIBER_OCTETS_IPV6]
        octets = addresses.shape[1]
        if len(asking) < len(addresses):
            addresses = addresses[asking]
        keys = np.ascontiguousarray(addresses).view(f">u{octets}")[:, 0]
        if (keys == keys[0]).all():
            taken, refusal = self._take(keys[:1].tobytes(), len(asking), pressed=pressed)
            verdicts[asking[taken:]] = refusal
            return
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        stops = [*starts[1:].tolist(), len(ordered)]
        places = asking[order]
        # the first come first: what is left of everyone's tokens goes to the batch in its order, source by source
        first_come = np.argsort(order[starts]).tolist()
        names = ordered[starts].astype(f">u{octets}").view(f"V{octets}").tolist()
        first = starts.tolist()
        for group in first_come:
            start, stop = first[group], stops[group]
            taken, refusal = self._take(names[group], stop - start, pressed=pressed)
            verdicts[places[start + taken : stop]] = refusal

    def _take(self, key: bytes, asked: int, *, pressed: bool) -> tuple[int, int]:
        """Take tokens for so many packets of one source.

        Returns:
            For how many there were, and the verdict on the rest.
        """
        now_ns, token_ns = self._now_ns, self._token_ns
        source = self._sources.find(key)
        if source is None:
            debt_ns = modest = 0
        else:
            debt_ns = max(0, source.full_ns - now_ns)
            modest = self._modest(source, asked)
        own = min(asked, self._burst - -(-debt_ns // token_ns))
        preferred = min(own, modest)
        taken = self._take_overall(preferred, 0)
        if taken == preferred and not pressed:
            taken += self._take_overall(own - preferred, self._reserve_ns)
        full_ns = now_ns + debt_ns + taken * token_ns
        if source is not None:
            source.full_ns = full_ns
        elif taken:
            source = _Source(full_ns, now_ns)
            if not self._sources.add(key, source):
                self._overall_full_ns -= taken * self._overall_token_ns
                return 0, _RATE_LIMITED
            self._modest(source, asked)
        return taken, _OVER_BUDGET if pressed and taken < own else _RATE_LIMITED

    def _modest(self, source: _Source, asked: int) -> int:
        """How many of the packets that a source asks for now may draw on the reserve."""
        level_ns = max(0, source.calm_ns - self._now_ns)
        source.calm_ns = self._now_ns + min(2 * self._modest_ns, level_ns + asked * self._ask_ns)
        if self._now_ns - source.since_ns < _ACQUAINTANCE_NS:
            return 0
        return max(0, self._modest_ns - level_ns) // self._ask_ns

    def _take_overall(self, count: int, reserve_ns: int) -> int:
        """Take tokens of everyone's bucket but for the reserve, and say how many there were."""
        full_ns = max(self._overall_full_ns, self._now_ns)
        room_ns = self._overall_depth_ns - reserve_ns - (full_ns - self._now_ns)
        taken = max(0, min(count, room_ns // self._overall_token_ns))
        self._overall_full_ns = full_ns + taken * self._overall_token_ns
        return taken

    def _is_full(self, source: _Source) -> bool:
        return source.full_ns <= self._now_ns


def _column_of(addresses: NDArray[np.uint8]) -> NDArray[Any]:
    """The sources of many addresses, each as `subscriber_of` gives it."""
    if addresses.shape[1] == IPV6_OCTETS:
        addresses = addresses[:, :SUBSCRIBER_OCTETS_IPV6]
    return np.ascontiguousarray(addresses).view(f"V{addresses.shape[1]}")[:, 0]
