"""All verdicts of one evaluation: figures as arrays, and a whole `Judgement` of each that somebody looks at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import quantile_bounds_ns
from agent.core.outcome import Direction, Outcome
from collector.sla.availability import Counted, explain_availability
from collector.sla.budget import Burning, burn_rates_of, burns_of, explain_burn, windows_of
from collector.sla.fault_watch import Standing
from collector.sla.fault_words import describe
from collector.sla.faults import FaultKind
from collector.sla.judge import Evidence, Exact, Flags, Floats, Question, block_sums
from collector.sla.measure import SHARES, Measure
from collector.sla.names import duration_name
from collector.sla.objective import Target
from collector.sla.observation import DIRECTIONS, NOT_MEASURED, Observation
from collector.sla.promise import Promise
from collector.sla.reasons import AgentFacts, Figures, explain, explain_other_limit, unread
from collector.sla.throughput import Tested, explain_throughput
from collector.sla.verdict import BlockSums, Fault, Judgement, PathKey, Reason, Verdict
from collector.sla.window import Calendar

_MS_NS: Final = 1_000_000
_WORTH_SAYING: Final = 0.02
_ROUND_TRIP: Final = DIRECTIONS.index(Direction.ROUND_TRIP)
Facts = Callable[[PathKey], AgentFacts]
OtherLimits = Mapping[tuple[PathKey, Direction], Promise | None]
"""What is counted otherwise than against the promised limit, and against which; None: the agent does not say."""


class Shown(NamedTuple):
    """What is shown of a verdict among very many: as of `Judgement`, without what takes long to put together."""

    path: PathKey
    direction: Direction
    objective: str
    measure: Measure
    verdict: Verdict
    coverage: float
    bound_lower: float | None
    bound_upper: float | None
    budget_remaining: float | None
    burn_rates: Mapping[int, float]


class Answer:
    """The verdicts on one question.

    Args:
        question, observed, evidence: what was asked, seen, and found.
        facts: what else is known of a path's agent; without `round_trips`.
        other_limits: paths and directions that are counted against another limit than the promised one.
        remaining: the share of the error budget that is left (n,); None where there is none.
        standing: what is known to be broken.
        unread: of which of them the agent was not read when last asked (n,).
    """

    def __init__(
        self,
        question: Question,
        observed: Observation,
        evidence: Evidence,
        facts: Facts,
        other_limits: OtherLimits,
        remaining: Floats | None = None,
        standing: Standing | None = None,
        unread: Flags | None = None,
    ) -> None:
        self.question = question
        self.evidence = evidence
        self.remaining = remaining
        self.unread = np.zeros(len(question.targets), np.bool_) if unread is None else unread
        self._standing = standing or Standing()
        self._observed = observed
        self._facts = facts
        self._other_limits = other_limits

    def __len__(self) -> int:
        return len(self.question.targets)

    def shown(self) -> Iterator[Shown]:
        """All of them in short, from arrays."""
        objective, evidence = self.question.objective, self.evidence
        nothing = [None] * len(self)
        known = (evidence.trials > 0).tolist()
        columns = (
            self.question.targets,
            evidence.codes.tolist(),
            evidence.coverage.tolist(),
            known,
            evidence.lower().tolist(),
            evidence.upper().tolist(),
            nothing if self.remaining is None else self.remaining.tolist(),
        )
        for index, (target, code, coverage, told, lower, upper, left) in enumerate(
            zip(*columns, strict=True)
        ):
            yield Shown(
                target.path,
                target.direction,
                objective.id,
                objective.measure,
                Verdict(code),
                coverage,
                lower if told else None,
                upper if told else None,
                left,
                burn_rates_of(evidence, index),
            )

    def judgement(self, index: int) -> Judgement:
        """One of them, with all that belongs to it."""
        target = self.question.targets[index]
        objective, evidence, observed = target.objective, self.evidence, self._observed
        row, place = int(self.question.rows[index]), int(self.question.places[index])
        counts = tuple(observed.outcomes[row, place].tolist())
        trials = int(evidence.trials[index])
        length_ns = int(observed.end_ns[row] - observed.begin_ns[row])
        unavailable_ns = 0 if observed.unavailable_ms is None else int(observed.unavailable_ms[row]) * _MS_NS
        judged_ns = max(0, length_ns - int(observed.left_out_ms[row]) * _MS_NS - unavailable_ns)
        covered_ns = int(observed.covered_ms[row, place]) * _MS_NS
        if isinstance(evidence, Tested):
            covered_ns = round(float(evidence.coverage[index]) * judged_ns)
        unobserved_ns = max(0, judged_ns - covered_ns)
        figures = Figures(
            counts,
            trials,
            int(evidence.surely[index]),
            int(evidence.possibly[index]),
            float(evidence.least[index]),
            float(evidence.most[index]),
            float(evidence.coverage[index]),
            maintained=length_ns <= int(observed.left_out_ms[row]) * _MS_NS,
            unavailable=length_ns <= int(observed.left_out_ms[row]) * _MS_NS + unavailable_ns,
            exact=isinstance(evidence, Exact),
        )
        window = windows_of(objective.window)[-1] if isinstance(evidence, Burning) else objective.window
        of_variation = objective.measure is Measure.DELAY_VARIATION
        least_us = int(observed.minima_us[row, place])
        verdict = Verdict(int(evidence.codes[index]))
        fault = self._fault(row, verdict)
        delays = tuple(observed.delays[row, place].tolist())
        facts = self._facts(target.path)
        agent = facts._replace(round_trips=tuple(observed.delays[row, _ROUND_TRIP].tolist()))
        return Judgement(
            path=target.path,
            direction=target.direction,
            objective=objective.id,
            verdict=verdict,
            reason=_beside(
                self._reason(index, target, figures, agent, fault),
                unavailable_ns,
                unobserved_ns if self._matters(verdict, unobserved_ns, judged_ns) else 0,
            ),
            limit=target.limit,
            floor_ns=target.floor_ns,
            percentile=objective.percentile,
            window_start_ns=int(observed.begin_ns[row]),
            window_end_ns=int(observed.end_ns[row]),
            counts=dict(zip(Outcome, counts, strict=True)),
            violation_lower=figures.surely / trials if trials else None,
            violation_upper=figures.possibly / trials if trials else None,
            bound_lower=figures.lower if trials else None,
            bound_upper=figures.upper if trials else None,
            threshold=objective.threshold,
            coverage=figures.coverage,
            delay_p50_ns=quantile_bounds_ns(delays, 0.5),
            delay_p99_ns=quantile_bounds_ns(delays, 0.99),
            measure=objective.measure,
            trials=trials,
            effective=figures.effective if trials else None,
            effective_lower=figures.least if trials else None,
            effective_upper=figures.most if trials else None,
            blocks=self._blocks(index, figures),
            prior_design_effect=None if evidence.prior is None else float(evidence.prior[index]),
            min_coverage=objective.min_coverage,
            calendar=isinstance(window.span, Calendar),
            window_length_ns=window.length_ns(int(observed.begin_ns[row])),
            budget_window_ns=objective.window.longest_ns if isinstance(evidence, Burning) else None,
            delays=delays if of_variation else (),
            least_delay_ns=least_us * 1_000 if of_variation and least_us != NOT_MEASURED else None,
            variation=objective.variation,
            budget_remaining=None if self.remaining is None else float(self.remaining[index]),
            burn_rates=burn_rates_of(evidence, index),
            burns=burns_of(evidence, index),
            maintenance_ns=int(observed.left_out_ms[row]) * _MS_NS,
            maintenance_counts=dict(zip(Outcome, observed.left_out[row, place].tolist(), strict=True)),
            fault=fault,
            unavailable_ns=unavailable_ns,
            unobserved_ns=unobserved_ns,
            last_test=None if agent.line is None else agent.line.last.get(target.direction),
            planned=int(evidence.planned[index]) if isinstance(evidence, Tested) else None,
        )

    def _blocks(self, index: int, figures: Figures) -> tuple[BlockSums, ...] | None:
        """What the blocks tell of one of them."""
        objective = self.question.objective
        if objective.measure not in SHARES and objective.variation is None:
            return None
        told = any(0 < events < figures.trials for events in (figures.surely, figures.possibly))
        return block_sums(self.question, self._observed, index) if told else ()

    def _fault(self, row: int, verdict: Verdict) -> Fault | None:
        """What is broken of a path; not a clock that a proof has done without."""
        fault = self._standing.of(row)
        proven = verdict in (Verdict.PASS, Verdict.FAIL)
        return None if fault is None or (proven and fault.kind is FaultKind.CLOCK_BAD) else fault

    def _matters(self, verdict: Verdict, unobserved_ns: int, judged_ns: int) -> bool:
        """Whether a reason is to say how much was not observed: where it is more than the time between two readings,
        and the rule that decided does not say it already, or look at other windows."""
        told = verdict is Verdict.NO_DATA or isinstance(self.evidence, Exact)
        elsewhere = isinstance(self.evidence, Burning) and verdict is Verdict.FAIL
        return not told and not elsewhere and unobserved_ns > _WORTH_SAYING * judged_ns

    def _reason(
        self, index: int, target: Target, figures: Figures, agent: AgentFacts, fault: Fault | None
    ) -> Reason:
        verdict = Verdict(int(self.evidence.codes[index]))
        other = target.path, target.direction
        if verdict is Verdict.NO_DATA and other in self._other_limits:
            reason = explain_other_limit(target, self._other_limits[other])
        elif isinstance(self.evidence, Burning) and verdict is not Verdict.NO_DATA:
            reason = explain_burn(self.question, self.evidence, index)
        elif isinstance(self.evidence, Counted) and verdict is not Verdict.NO_DATA:
            reason = explain_availability(self.question, self.evidence, index)
        elif isinstance(self.evidence, Tested):
            reason = self._of_tests(self.evidence, index, target, figures, agent)
        else:
            reason = explain(target, verdict, figures, agent)
        if fault is None or verdict is Verdict.PASS:
            return reason
        known = describe(fault)
        return Reason(reason.code, f"{reason.zh}。故障：{known.zh}", f"{reason.en}. Fault: {known.en}")

    def _of_tests(
        self, tested: Tested, index: int, target: Target, figures: Figures, agent: AgentFacts
    ) -> Reason:
        no_data = Verdict(int(tested.codes[index])) is Verdict.NO_DATA
        if no_data and (reason := unread(figures, agent)) is not None:
            return reason
        return explain_throughput(target, tested, index, agent.line)


def _beside(reason: Reason, unavailable_ns: int, unobserved_ns: int) -> Reason:
    """A reason that says how much of the window is judged elsewhere, or not at all."""
    zh, en = reason.zh, reason.en
    if unavailable_ns:
        length = duration_name(unavailable_ns)
        zh += f"。另有 {length.zh} 不可用，由可用性目标判定"
        en += f". Another {length.en} were unavailable, which the availability objective judges"
    if unobserved_ns:
        length = duration_name(unobserved_ns)
        zh += f"。时间窗中有 {length.zh} 没有观测到，不计入"
        en += f". {length.en} of the window were not observed, and count neither way"
    return Reason(reason.code, zh, en)


class Verdicts(Sequence[Judgement]):
    """The verdicts on all questions, one after the other.

    Attributes:
        answers: to each question.
        codes: the `Verdict` of each (n,).
        unread: of which of them the agent was not read when last asked (n,): nothing new is known of them.
    """

    def __init__(self, answers: Sequence[Answer] = ()) -> None:
        self.answers = answers
        self.codes: NDArray[np.int8] = np.concatenate(
            [np.empty(0, np.int8), *(answer.evidence.codes for answer in answers)]
        )
        self.unread: Flags = np.concatenate([np.empty(0, np.bool_), *(answer.unread for answer in answers)])
        self._ends = list(accumulate(map(len, answers)))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> Judgement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Judgement]: ...
    def __getitem__(self, index: int | slice) -> Judgement | Sequence[Judgement]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        answer = bisect_right(self._ends, place)
        return self.answers[answer].judgement(place - (self._ends[answer - 1] if answer else 0))


def shown(judgements: Sequence[Judgement]) -> Iterator[Shown | Judgement]:
    """All of some judgements in short, in their order."""
    if not isinstance(judgements, Verdicts):
        yield from judgements
        return
    for answer in judgements.answers:
        yield from answer.shown()
