"""How often may be probed and how long waited for: the bounds that both configuration files and the commands share.

They follow from what measures. Probes leave in bunches of a millisecond, and timers of a busy machine are good for some
hundred microseconds: below 1 ms an interval is none. A probe costs about 10 µs, so one core sends no
more than 100,000 a second. An agent that ends waits for the probes under way, and systemd waits for the agent, 90 s: a
reply is waited for no longer than 1 min. And what was sent is remembered for four timeouts, 34 octets a probe.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, NamedTuple

from pydantic import BeforeValidator

from agent.core.schedule import Schedule, most_within
from agent.runtime.quantities import duration_between, format_duration
from agent.runtime.wording import Accepts

MAX_PATHS: Final = 65_535
"""As many as there are session identifiers (RFC 8972, section 3)."""

MAX_REMEMBERED: Final = 65_536
"""Probes of one path that may be remembered: 2 MB."""

MAX_REMEMBERED_IN_ALL: Final = 4_194_304
"""Probes of all paths of one agent that may be remembered: 143 MB; 64 for each of 65,535 paths, which is what a
periodic path with a timeout of ten intervals needs."""

MAX_RATE: Final = 100_000
"""Probes a second of one agent."""

LONGEST_BEAT_NS: Final = 100_000_000
"""The probes of no longer time are planned at once."""

_REMEMBERED_TIMEOUTS: Final = 4
_REMEMBERED_BEATS: Final = 4
_SPARE: Final = 14
_LONGEST_TIMEOUT_MS: Final = 60_000
_SECOND_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000

parse_interval = duration_between("1ms", "1h")
parse_timeout = duration_between("1ms", "1m")

IntervalNs = Annotated[int, BeforeValidator(parse_interval), Accepts("a duration from 1ms to 1h")]
"""From probe to probe of a path, ns."""

TimeoutNs = Annotated[int, BeforeValidator(parse_timeout), Accepts("a duration from 1ms to 1m")]
"""After which a probe is lost, ns."""


class Pace(NamedTuple):
    """How often a path is probed, and how long a reply is waited for, ns."""

    interval_ns: int
    timeout_ns: int
    schedule: Schedule = Schedule.PERIODIC

    @property
    def window(self) -> int:
        """How many probes must be remembered: those of four timeouts, and those planned beforehand."""
        span_ns = _REMEMBERED_TIMEOUTS * self.timeout_ns + _REMEMBERED_BEATS * LONGEST_BEAT_NS
        return most_within(self.schedule, self.interval_ns, span_ns) + _SPARE

    @property
    def remembered(self) -> int:
        """For how many probes there is room: a power of two (`agent.core.probe_ring`)."""
        return 1 << (self.window - 1).bit_length()


def too_much_of_one(pace: Pace) -> str | None:
    """What is wrong with a path of which too much would have to be remembered; None where nothing is."""
    if pace.remembered <= MAX_REMEMBERED:
        return None
    longest_ms = bisect.bisect_right(
        range(1, _LONGEST_TIMEOUT_MS + 1),
        MAX_REMEMBERED,
        key=lambda timeout_ms: pace._replace(timeout_ns=timeout_ms * _MS_NS).window,
    )
    schedule = "" if pace.schedule is Schedule.PERIODIC else f", {pace.schedule}"
    chosen = f"{format_duration(pace.timeout_ns)} with interval {format_duration(pace.interval_ns)}{schedule}"
    return (
        f"{chosen} means to remember {pace.remembered} probes, at most {MAX_REMEMBERED}: "
        f"a timeout of at most {format_duration(longest_ms * _MS_NS)}"
    )


def too_much_in_all(paces: Iterable[Pace]) -> Iterator[str]:
    """What is wrong with all paths of one agent together."""
    each = list(paces)
    if len(each) > MAX_PATHS:
        yield f"{len(each)} paths of one agent: at most {MAX_PATHS}, divide them among several"
    rate = sum(_SECOND_NS / pace.interval_ns for pace in each)
    if rate > MAX_RATE:
        yield f"{rate:.0f} probes a second of one agent: at most {MAX_RATE}, lengthen intervals"
    probes = sum(pace.remembered for pace in each)
    if probes > MAX_REMEMBERED_IN_ALL:
        yield (
            f"{probes} probes of one agent to remember: at most {MAX_REMEMBERED_IN_ALL}, shorten timeouts or lengthen "
            "intervals"
        )
