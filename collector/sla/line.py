"""What an agent says of a line that it tests, beside its counts: the latest rates, and why slots brought no test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.outcome import Direction
from agent.core.throughput.cause import Cause
from agent.core.throughput.rates import Layer


@dataclass(frozen=True, slots=True)
class LastTest:
    """What a way was last measured to carry; a failed test leaves it as it was.

    Attributes:
        rates: by layer, bit/s.
        cause: what bounded them; None: not known.
        ended_ns: when the test ended, Unix wall time by the agent's clock; None: not known.
    """

    rates: Mapping[Layer, float]
    cause: Cause | None = None
    ended_ns: int | None = None


@dataclass(frozen=True, slots=True)
class LineSaid:
    """What an agent says of a line.

    Attributes:
        last: of each way that was ever measured.
        errors: turns that were no test of the line, by way and reason, since the agent's start; those that have
            happened. `spoiled` are those in which a host was in the way.
        untested: slots that have passed without a test, by reason, likewise.
    """

    last: Mapping[Direction, LastTest] = field(default_factory=dict)
    errors: Mapping[Direction, Mapping[str, int]] = field(default_factory=dict)
    untested: Mapping[str, int] = field(default_factory=dict)
