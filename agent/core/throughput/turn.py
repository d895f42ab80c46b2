"""A line's turn: a test, where it says too little a second one at once, and what both come to.

A single test below the floor is not yet a violation: the second one has to find the same, and of the last M turns N.
Until then such a turn is `unconfirmed`: neither good nor bad. What is no test at all is an error, with its reason; it
has no rate, and leaves the latest one as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from agent.core.throughput.lease import Way
from agent.core.throughput.result import ErrorReason, Floor, Outcome, Verdict

_WORTH_ANOTHER: Final = frozenset((ErrorReason.BROKEN_OFF, ErrorReason.EMPTY, ErrorReason.INTERNAL))
"""Failures that may not come a second time; whoever refuses will refuse again."""


class Attempt(Protocol):
    """What a test has come to.

    Attributes:
        outcomes: of each way.
        began_ns, ended_ns: when data flowed, Unix wall time; None: none has.
        retry_after_s: when it may be worth asking again, where the test was refused; None: not soon.
    """

    @property
    def outcomes(self) -> Mapping[Way, Outcome]: ...
    @property
    def began_ns(self) -> int | None: ...
    @property
    def ended_ns(self) -> int | None: ...
    @property
    def retry_after_s(self) -> float | None: ...


class Result(StrEnum):
    """As what a turn counts, one way: each turn once.

    PASS, INCONCLUSIVE, ERROR: as of `Verdict`. UNCONFIRMED: both tests found the floor missed, and not enough of the
    turns before. FAIL: enough of them too. SPOILED: a host kept each test below the floor, which says nothing of the
    line. MEASURED: there is no floor.
    """

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNCONFIRMED = "unconfirmed"
    INCONCLUSIVE = "inconclusive"
    SPOILED = "spoiled"
    ERROR = "error"
    MEASURED = "measured"


class Untested(StrEnum):
    """Why a slot has passed without a test.

    USERS_TRAFFIC: users needed the line until the slot was over. LATE: the agent came too late to it, for the test of
    another line lasted longer, or it did not run.
    """

    USERS_TRAFFIC = "users_traffic"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How many of how many turns must have missed the floor before one counts as a violation.

    Raises:
        ValueError: more than there are, or none.
    """

    missed: int = 2
    of: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.missed <= self.of:
            raise ValueError(f"{self.missed} of {self.of} turns cannot have missed: 1 to {self.of}")


def is_worth_another(outcomes: Mapping[Way, Outcome]) -> bool:
    """Whether a line is to be tested again at once: something has not passed, and a second test may say more."""
    return any(
        outcome.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) or outcome.error in _WORTH_ANOTHER
        for outcome in outcomes.values()
    )


def settled(attempts: Sequence[Outcome]) -> Outcome:
    """What one or two attempts come to: a line that has passed once can; one that fails has failed each time.

    What has left the floor open says more than what a host has spoiled.
    """
    passed = next((one for one in attempts if one.verdict is Verdict.PASS), None)
    if passed is not None:
        return passed
    failed = [one for one in attempts if one.verdict is Verdict.FAIL]
    if failed and len(failed) < len(attempts):
        return replace(failed[-1], verdict=Verdict.INCONCLUSIVE)
    last = attempts[-1]
    return next((one for one in attempts if not one.spoiled), last) if last.spoiled else last


@dataclass(frozen=True, slots=True)
class Latest:
    """What a way was last measured to carry, and when that ended (Unix wall time)."""

    outcome: Outcome
    ended_ns: int


class LineRecord:
    """All turns of a line.

    Args:
        floors: of the ways that are tested; None: nothing is promised.
        confirmation: how many turns make a violation.

    Attributes:
        counts: turns of each way by result.
        errors: turns of each way that were no test, by reason.
        untested: slots that have passed without a test, by reason.
        latest: what each way was last measured to carry; a failed test changes nothing of it.
        said: what the last turn came to, each way.
    """

    def __init__(self, floors: Mapping[Way, Floor | None], confirmation: Confirmation) -> None:
        self.floors = floors
        self.counts: dict[tuple[Way, Result], int] = {(way, result): 0 for way in floors for result in Result}
        self.errors: dict[tuple[Way, ErrorReason], int] = {
            (way, reason): 0 for way in floors for reason in ErrorReason
        }
        self.untested: dict[Untested, int] = dict.fromkeys(Untested, 0)
        self.latest: dict[Way, Latest] = {}
        self.said: dict[Way, Outcome] = {}
        self._confirmation = confirmation
        self._missed: dict[Way, deque[bool]] = {way: deque(maxlen=confirmation.of) for way in floors}

    def take(self, attempts: Sequence[Attempt], now_ns: int) -> Mapping[Way, Result]:
        """Note a turn.

        Args:
            attempts: one test or two.
            now_ns: Unix wall time, of tests that do not know when they ended.
        """
        found = {}
        for way in self.floors:
            outcomes = [one.outcomes[way] for one in attempts if way in one.outcomes]
            if not outcomes:
                continue
            outcome = self.said[way] = settled(outcomes)
            result = found[way] = self._result(way, outcome)
            self.counts[way, result] += 1
            if outcome.error is not None:
                self.errors[way, outcome.error] += 1
            if outcome.ip_layer is not None:
                ended = [
                    one.ended_ns for one in attempts if one.outcomes.get(way) is not None and one.ended_ns
                ]
                self.latest[way] = Latest(outcome, ended[-1] if ended else now_ns)
        return found

    def skip(self, why: Untested) -> None:
        """Note that a slot has passed without a test."""
        self.untested[why] += 1

    def _result(self, way: Way, outcome: Outcome) -> Result:
        if outcome.verdict is None:
            return Result.MEASURED
        if outcome.verdict is Verdict.ERROR:
            return Result.ERROR
        if outcome.verdict is Verdict.INCONCLUSIVE:
            # it proves nothing of the line, so it must neither confirm nor clear anything
            return Result.SPOILED if outcome.spoiled else Result.INCONCLUSIVE
        missed = self._missed[way]
        missed.append(outcome.verdict is Verdict.FAIL)
        if outcome.verdict is Verdict.PASS:
            return Result.PASS
        return Result.FAIL if sum(missed) >= self._confirmation.missed else Result.UNCONFIRMED
