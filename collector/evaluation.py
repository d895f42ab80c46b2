"""One evaluation: everything that is judged, as it is known now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from collector.fleet.plan import Plan
from collector.ledger.minutes import Integers
from collector.sla.availability import judge_availability
from collector.sla.breach import BreachKey
from collector.sla.budget import burn, remaining, share_counted, windows_of
from collector.sla.judge import Evidence, Flags, Question, judge
from collector.sla.line import LineSaid
from collector.sla.measure import SHARES, Measure
from collector.sla.observation import Observation
from collector.sla.reasons import AgentFacts
from collector.sla.throughput import judge_throughput
from collector.sla.verdict import PathKey, Verdict
from collector.sla.verdicts import Answer, OtherLimits, Verdicts
from collector.sla.window import HISTORY
from collector.state import NEVER_READ, CollectorState, SourceStatus
from collector.windows import Windows


class _Judged(NamedTuple):
    """What was found, and of what beside the observation."""

    history: Observation | None
    other_limit: Flags
    evidence: Evidence


async def evaluate(plan: Plan, windows: Windows, state: CollectorState, now_ns: int) -> Verdicts:
    """Judge all questions of the plan.

    Args:
        plan: what is judged.
        windows: what was counted.
        state: what the agents last said of themselves.
        now_ns: Unix wall time up to which the windows of silent agents reach.
    """
    ends_ns = _ends_ns(plan, state, now_ns)
    facts = _Facts(state.sources, frozenset(state.unresolved), frozenset(state.untold), state.lines)
    others = dict(state.other_limits)

    async def answer(question: Question) -> Answer:
        objective = question.objective
        # counts against another limit are left out of all but availability
        relevant: OtherLimits = {} if objective.availability is not None else others
        left = None
        evidence: Evidence
        # of a budget the longest window is that of the slowest burn
        spans = windows_of(objective.window) if objective.measure is Measure.BUDGET else [objective.window]
        # a delay is that of available time, which other objectives ask for; so is its budget
        of = objective.budget_of if objective.measure is Measure.BUDGET else objective.measure
        available = of in (Measure.DELAY, Measure.DELAY_VARIATION)
        # how much packets depend on each other is no matter of how fast a budget is spent
        blocks = objective.measure is not Measure.BUDGET
        over = {
            window: await windows.observe(window, ends_ns, now_ns, available=available, blocks=blocks)
            for window in spans
        }
        observed = over[spans[-1]]
        if objective.measure is Measure.BUDGET:
            evidence = await asyncio.to_thread(burn, question, over)
        elif objective.availability is not None:
            spent = await windows.outages.count(objective.window, objective.availability, observed, now_ns)
            evidence = judge_availability(question, observed, spent)
        elif objective.measure is Measure.THROUGHPUT:
            relevant = others
            planned = windows.planned(plan.slots, observed)
            otherwise = _counted_otherwise(plan, question, relevant)
            evidence = judge_throughput(question, observed, planned, otherwise)
        else:
            before = None
            if objective.window.longest_ns < HISTORY.longest_ns:
                before = await windows.observe(HISTORY, ends_ns, now_ns, available=available)
            # Of very many paths it takes a second: beside the event loop, so that the page need not wait.
            flagged = others if objective.measure is Measure.DELAY else {}
            otherwise = _counted_otherwise(plan, question, flagged)
            evidence = await asyncio.to_thread(_judged, question, observed, before, otherwise)
        if objective.measure in SHARES:
            left = remaining(evidence, question, share_counted(question, observed, now_ns))
        evidence, unread = _as_far_as_read(question, evidence, plan, state)
        return Answer(question, observed, evidence, facts, relevant, left, state.standing, unread)

    return Verdicts([await answer(question) for question in plan.questions])


_JUDGED: Final[WeakKeyDictionary[Observation, dict[Question, _Judged]]] = WeakKeyDictionary()
"""What was found of observations, which stay the same for many evaluations where their windows are long."""


def _judged(
    question: Question, observed: Observation, history: Observation | None, other_limit: Flags
) -> Evidence:
    """As of `judge`, which is asked where anything is not as it was."""
    known = _JUDGED.setdefault(observed, {}).get(question)
    if known is None or known.history is not history or not np.array_equal(known.other_limit, other_limit):
        known = _Judged(history, other_limit, judge(question, observed, history, other_limit))
        _JUDGED[observed][question] = known
    return known.evidence


def _ends_ns(plan: Plan, state: CollectorState, now_ns: int) -> Integers:
    """Where each path's window ends: with the last reading of an agent that answers."""
    ends = []
    for site in plan.sources:
        status = state.sources.get(site, NEVER_READ)
        ends.append(status.seen_ns if status.up and status.seen_ns is not None else now_ns)
    return np.array(ends, np.int64)[plan.source_of]


def _as_far_as_read(
    question: Question, evidence: Evidence, plan: Plan, state: CollectorState
) -> tuple[Evidence, Flags]:
    """Evidence of which no verdict has turned PASS or FAIL while its agent, or this path of it, was not read, and where
    that was so.

    The window goes on while nothing new is counted: good minutes leave it, or bad ones, and what is left might prove
    what nobody has seen. A verdict stays as it was then, or there is none.
    """
    up = np.array([state.sources.get(site, NEVER_READ).up for site in plan.sources], np.bool_)
    silent = ~up[plan.source_of]
    silent[[plan.rows[path] for path in state.untold]] = True
    unread = silent[question.rows]
    before = state.said.get(question.objective.id, np.full(len(unread), Verdict.NO_DATA, np.int8))
    turned = unread & (evidence.codes <= Verdict.FAIL) & (evidence.codes != before)
    codes = np.where(turned, np.int8(Verdict.NO_DATA), evidence.codes)
    state.said[question.objective.id] = codes
    return replace(evidence, codes=codes), unread


def _counted_otherwise(plan: Plan, question: Question, others: OtherLimits) -> NDArray[np.bool_]:
    """Of which targets the agent counts against another limit than the promised one."""
    found = np.zeros(len(question.targets), np.bool_)
    if others and question.targets:
        one = question.targets[0]
        first = plan.places[BreachKey(one.path, one.direction, question.objective.id)]
        asked = (BreachKey(path, direction, question.objective.id) for path, direction in others)
        found[[plan.places[key] - first for key in asked if key in plan.places]] = True
    return found


class _Facts:
    """What the agents say of themselves, as it was when the evaluation began."""

    def __init__(
        self,
        sources: Mapping[str, SourceStatus],
        unresolved: frozenset[PathKey],
        untold: frozenset[PathKey],
        lines: Mapping[PathKey, LineSaid],
    ) -> None:
        self._sources = dict(sources)
        self._unresolved = unresolved
        self._untold = untold
        self._lines = dict(lines)

    def __call__(self, path: PathKey) -> AgentFacts:
        status = self._sources.get(path.source, NEVER_READ)
        return AgentFacts(
            up=status.up,
            silence=status.reason,
            clock_bound_ns=status.clock_bound_ns,
            resolved=path not in self._unresolved,
            told=path not in self._untold,
            line=self._lines.get(path),
        )
