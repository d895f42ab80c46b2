"""Throughput: whether lines carry what is promised, told by the tests that their agents make at planned slots.

A turn of a line is a test, with a retest where it found the floor missed, and counts once in each way:

    within      it proved the floor
    over        it refuted it, and enough of the turns before did too (the agent's N of M): a violation
    uncertain   it refuted it, and that is not confirmed; or it did neither

A turn that was no test of the line, for an error, for users' traffic or because a host spoiled it, is no outcome and
least of all a rate of 0: it is a slot without one. Who measures badly proves nothing, neither for the line nor against
it; but the share of planned slots that brought an outcome is how much of a window was covered, so that whose hosts are
always in the way has NO_DATA in the end.

There is no error budget of throughput: a line has a few turns a day, and no rate at which so few burn tells what comes.

Each turn is a proof by itself, with a confidence from its own windows of half a second; the turns of a window are no
sample of it but all there are. Their shares are taken as they are:

    PASS            no larger a share than may has, or may have, missed the floor
    FAIL            a larger share surely has
    INDETERMINATE   neither
    NO_DATA         too few of the planned slots brought an outcome, or none
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.core.outcome import Direction, Outcome
from agent.core.throughput.result import Floor
from collector.sla.judge import Exact, Flags, Question
from collector.sla.line import LastTest, LineSaid
from collector.sla.names import Name, percent
from collector.sla.objective import Target
from collector.sla.observation import Integers, Observation
from collector.sla.promise import CAUSE_NAMES, LAYER_NAMES, rate_text
from collector.sla.verdict import Reason, Verdict

_ROUNDING: Final = 1e-9
_MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class LineSlots:
    """When a line is tested: at each offset after each whole `every_ns` of UTC.

    Attributes:
        settled_ns: how long after the begin of its slot a turn is over at the latest, and was read.
    """

    every_ns: int
    offsets_ns: tuple[int, ...]
    settled_ns: int


class SlotTable:
    """The planned slots of all lines, as columns.

    Args:
        lines: those of each row that is a line.
    """

    def __init__(self, lines: Mapping[int, LineSlots]) -> None:
        flat = [
            (row, one.every_ns, offset, one.settled_ns)
            for row, one in lines.items()
            for offset in one.offsets_ns
        ]
        columns = np.array(flat, np.int64).reshape(-1, 4).T
        self._row, self._every_ns, self._offset_ns, self._settled_ns = columns

    def count(
        self,
        begin_ns: Integers,
        end_ns: Integers,
        left_out: Mapping[int, Iterable[tuple[int, int]]],
    ) -> Integers:
        """How many slots of windows are over (n,).

        Args:
            begin_ns, end_ns: of each row's window (n,), Unix wall time.
            left_out: minutes, [from, to), that are in no window, by row.
        """
        found = self._within(begin_ns, end_ns)
        for row, spans in left_out.items():
            for first, stop in spans:
                begun = np.maximum(begin_ns, first * _MINUTE_NS)
                ended = np.minimum(end_ns, stop * _MINUTE_NS)
                found[row] -= self._within(begun, np.maximum(begun, ended))[row]
        return np.maximum(found, 0)

    def _within(self, begin_ns: Integers, end_ns: Integers) -> Integers:
        begun = self._before(begin_ns[self._row])
        ended = self._before(end_ns[self._row] - self._settled_ns)
        counts = np.bincount(self._row, np.maximum(ended - begun, 0), minlength=len(begin_ns))
        slots: Integers = counts.astype(np.int64)
        return slots

    def _before(self, at_ns: Integers) -> Integers:
        """Slots that have begun before a time, from some beginning on."""
        before: Integers = -((self._offset_ns - at_ns) // self._every_ns)
        return before


@dataclass(frozen=True, slots=True, eq=False)
class Tested(Exact):
    """Turns of a window: `trials`, of which `surely` missed the floor, and `possibly` these or not proven.

    Attributes:
        planned: slots of the window (n,).
    """

    planned: Integers


def judge_throughput(
    question: Question, observed: Observation, planned: Integers, other_floor: Flags
) -> Tested:
    """Judge all targets of a throughput objective.

    Args:
        question: the objective and its targets.
        observed: all paths over its window.
        planned: slots of each path in that window.
        other_floor: of which targets the agent tests against another floor than the promised one (n,).
    """
    rows = question.rows
    outcomes = observed.outcomes[rows, question.places]
    trials = outcomes.sum(axis=1)
    surely = outcomes[:, Outcome.OVER]
    possibly = surely + outcomes[:, Outcome.UNCERTAIN]
    slots = planned[rows]
    coverage = np.minimum(1.0, trials / np.maximum(slots, 1))
    allowed = np.floor(question.objective.threshold * trials + _ROUNDING)
    codes = np.full(len(rows), Verdict.INDETERMINATE, np.int8)
    codes[possibly <= allowed] = Verdict.PASS
    codes[surely > allowed] = Verdict.FAIL
    codes[(coverage < question.objective.min_coverage) | (trials == 0) | other_floor] = Verdict.NO_DATA
    whole = trials.astype(np.float64)
    return Tested(trials, surely, possibly, whole, whole, coverage, codes, slots)


def explain_throughput(target: Target, tested: Tested, index: int, said: LineSaid | None) -> Reason:
    """Why a line carries what was promised, or not, or why that is not known.

    Args:
        target: what was judged.
        tested: all verdicts of its objective.
        index: its own.
        said: what else the agent says of the line; None: nothing.
    """
    trials, surely, possibly, planned = (
        int(one[index]) for one in (tested.trials, tested.surely, tested.possibly, tested.planned)
    )
    allowed, why = _allowed(target.objective.threshold), _untested(target.direction, said)
    absent = _absent(planned - trials, planned, why)
    last = _last(target, None if said is None else said.last.get(target.direction))
    match Verdict(int(tested.codes[index])):
        case Verdict.NO_DATA:
            return Reason(
                "too_few_tests" if trials else "no_tests",
                f"计划的 {planned} 次测试中 {trials} 次有结果，至少需要 {target.objective.min_coverage:.0%}{why.zh}",
                f"{trials} of {planned} planned tests have brought a result, at least "
                f"{target.objective.min_coverage:.0%} is needed{why.en}",
            )
        case Verdict.PASS:
            return Reason(
                "floor_met",
                f"{trials} 次测试中 {trials - possibly} 次证明达到下限，{allowed.zh}{absent.zh}{last.zh}",
                f"{trials - possibly} of {trials} tests have proven the floor, {allowed.en}{absent.en}{last.en}",
            )
        case Verdict.FAIL:
            return Reason(
                "floor_missed",
                f"{trials} 次测试中 {surely} 次未达到下限并已确认，{allowed.zh}{absent.zh}{last.zh}",
                f"{surely} of {trials} tests have missed the floor, which is confirmed, {allowed.en}{absent.en}"
                f"{last.en}",
            )
        case _:
            open_ = possibly - surely
            return Reason(
                "floor_unproven",
                f"{trials} 次测试中 {open_} 次未能证明：未达到下限但尚未确认，或正反都不足以证明，"
                f"{allowed.zh}{absent.zh}{last.zh}",
                f"{open_} of {trials} tests have proven nothing: the floor was missed and that is not confirmed, or it "
                f"was neither proven nor refuted; {allowed.en}{absent.en}{last.en}",
            )


def _allowed(threshold: float) -> Name:
    """What share of tests may miss the floor."""
    if not threshold:
        return Name("一次都不允许未达到", "none may miss it")
    return Name(f"允许 {percent(threshold)} 未达到", f"{percent(threshold)} may miss it")


def _absent(missing: int, planned: int, why: Name) -> Name:
    """How many slots have brought no result, which no verdict is to hide: whoever measures badly proves less."""
    if missing <= 0:
        return Name("", "")
    return Name(
        f"；计划的 {planned} 次测试中 {missing} 次没有结果{why.zh}",
        f"; {missing} of {planned} planned tests have brought no result{why.en}",
    )


def _last(target: Target, last: LastTest | None) -> Name:
    """What the last test has measured, at the layer of the floor, and what bounded it where that was too little."""
    assert isinstance(target.limit, Floor)
    rate = None if last is None else last.rates.get(target.limit.layer)
    if last is None or rate is None:
        return Name("", "")
    layer = LAYER_NAMES[target.limit.layer]
    zh = f"；最近一次 {rate_text(rate)}（{layer.zh}）"
    en = f"; the last one carried {rate_text(rate)} ({layer.en})"
    if last.cause is None or rate >= target.limit.rate * (1 - target.limit.tolerance):
        return Name(zh, en)
    cause = CAUSE_NAMES[last.cause]
    return Name(f"{zh}，受限于{cause.zh}（{last.cause}）", f"{en}, bounded by {cause.en} ({last.cause})")


def _untested(direction: Direction, said: LineSaid | None) -> Name:
    """Why slots have brought no result, since the agent's start."""
    if said is None:
        return Name("", "")
    reasons = [*said.errors.get(direction, {}).items(), *said.untested.items()]
    if not reasons:
        return Name("", "")
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons)
    return Name(f"；代理启动以来没有结果的：{counted}", f"; without one since the agent's start: {counted}")
