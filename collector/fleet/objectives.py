"""Objectives as the fleet file has them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from agent.runtime.quantities import DurationNs, LimitText, format_duration, parse_duration
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location
from collector.fleet.maintenance import SelectorSettings
from collector.fleet.names import Identifier
from collector.sla.confidence import clean_packets_needed
from collector.sla.measure import Measure
from collector.sla.objective import FEWEST_INTERVALS, AvailabilityRule, Objective
from collector.sla.window import Calendar, Window

_WINDOWS: Final = "a duration such as 5m or 30d, or day or month (of the calendar in Asia/Shanghai)"
_LONGEST_NS: Final = parse_duration("31d")
_NEEDED: Final = {
    Measure.DELAY: ("percentile",),
    Measure.LOSS: ("loss_ratio",),
    Measure.DELAY_VARIATION: ("percentile", "variation"),
    Measure.AVAILABILITY: ("availability",),
    Measure.THROUGHPUT: (),
}
_MAY_TAKE: Final = {
    Measure.AVAILABILITY: ("interval", "loss_threshold", "consecutive"),
    Measure.THROUGHPUT: ("missed_ratio",),
}
_OF_SOME: Final = (
    "percentile",
    "loss_ratio",
    "variation",
    "availability",
    "interval",
    "loss_threshold",
    "consecutive",
    "missed_ratio",
)
_MINUTE_NS: Final = parse_duration("1m")


def parse_window(value: Any) -> Window:
    """The window that a text tells.

    Raises:
        ValueError: it tells none, with what would be accepted.
    """
    if isinstance(value, Window):
        return value
    if value in tuple(Calendar):
        return Window(Calendar(value))
    try:
        duration_ns = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or day or month, of the calendar in Asia/Shanghai") from None
    if duration_ns > _LONGEST_NS:
        raise ValueError(f"{value} is longer than 31d: {_WINDOWS}")
    return Window(duration_ns)


def format_window(window: Window) -> str:
    """The text that `parse_window` reads as the same window."""
    return window.span.value if isinstance(window.span, Calendar) else format_duration(window.span)


def _rest(percent: float) -> float:
    """What is left of a whole, 0 to 1; of 99.9 a thousandth, and nothing beside it."""
    return float((100 - Decimal(str(percent))) / 100)


def _asked_measure(measure: Measure) -> Measure:
    """A measure that a fleet file can ask for: budgets follow from the others."""
    if measure not in _NEEDED:
        raise ValueError(
            f"{measure} is not asked for, it follows from other objectives: {', '.join(_NEEDED)}"
        )
    return measure


WindowText = Annotated[Window, BeforeValidator(parse_window), Accepts(_WINDOWS)]


class ObjectiveSettings(SelectorSettings):
    """What is asked of which paths, over which window; a selector that names nothing asks it of all.

    Attributes:
        measure: delay: a share of packets keeps the tier's limit; loss: no more than a share is lost; delay_variation:
            a share takes no longer than the quickest of the window and `variation` (PDV, RFC 5481); availability: round
            trips come back, but for a share of time; throughput: no more than a share of the tests of a line, one of
            `throughput.pilots`, may have missed its floor.
        percentile: the share that must keep it, in percent, such as 99.9.
        loss_ratio: the share that may be lost, 0 to 1.
        variation: such as `<= 500us`.
        availability: the share of time in percent, such as 99.95 (MEF 10.4: Â; ITU-T Y.1540: PIA).
        interval: of whole minutes, into which time is divided (Δt; T_av).
        loss_threshold: an interval that lost a larger share has high loss, 0 to 1 (C; c1).
        consecutive: so many such intervals in a row are unavailable time (n).
        missed_ratio: the share of tests that may have missed the floor, 0 to 1; default: 0.
        min_coverage: share of the window that must have been observed; of throughput, of its planned tests.
        open_after, close_after: consecutive evaluations of FAIL that open a breach, of PASS that close it.
    """

    id: Identifier
    measure: Annotated[Measure, AfterValidator(_asked_measure), Accepts(f"one of {', '.join(_NEEDED)}")] = (
        Measure.DELAY
    )
    percentile: Annotated[float, Field(ge=50, lt=100)] | None = None
    loss_ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    variation: LimitText | None = None
    availability: Annotated[float, Field(gt=0, lt=100)] | None = None
    interval: Annotated[DurationNs, Field(ge=_MINUTE_NS, le=60 * _MINUTE_NS)] | None = None
    loss_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    consecutive: Annotated[int, Field(ge=1, le=100)] | None = None
    missed_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    window: WindowText
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 0.5
    open_after: Annotated[int, Field(ge=1, le=1000)] = 1
    close_after: Annotated[int, Field(ge=1, le=1000)] = 3

    @property
    def threshold(self) -> float:
        """The share that may break the promise."""
        if self.loss_ratio is not None:
            return self.loss_ratio
        if self.availability is not None:
            return _rest(self.availability)
        return self.missed_ratio or 0.0 if self.percentile is None else _rest(self.percentile)

    @property
    def packets_needed(self) -> int:
        """How many packets it takes to pass, should none of them break the promise."""
        if self.measure in (Measure.AVAILABILITY, Measure.THROUGHPUT):
            return 0
        return clean_packets_needed(self.threshold)

    def objective(self) -> Objective:
        """The same, without what is not judged by."""
        return Objective(
            self.id,
            self.measure,
            self.window,
            self.threshold,
            self.min_coverage,
            percentile=self.percentile,
            variation=self.variation,
            availability=self._availability() if self.measure is Measure.AVAILABILITY else None,
        )

    def _availability(self) -> AvailabilityRule:
        """As ITU-T Y.1540 has it, where nothing else is said."""
        return AvailabilityRule(
            (self.interval or _MINUTE_NS) // _MINUTE_NS, self.loss_threshold or 0.2, self.consecutive or 1
        )

    def measure_problems(self) -> Iterator[tuple[Location, str]]:
        """What the measure needs, and what belongs to another one; locations are within the objective."""
        for name in _OF_SOME:
            given = getattr(self, name) is not None
            taken = (*_NEEDED[self.measure], *_MAY_TAKE.get(self.measure, ()))
            if given and name not in taken:
                yield (name,), f"measure {self.measure} takes no {name}"
            if not given and name in _NEEDED[self.measure]:
                yield (), f"measure {self.measure} needs {name}"
        if self.measure is Measure.AVAILABILITY:
            yield from self._interval_problems()

    def _interval_problems(self) -> Iterator[tuple[Location, str]]:
        interval = self.interval or _MINUTE_NS
        if 60 * _MINUTE_NS % interval or interval % _MINUTE_NS:
            yield (
                ("interval",),
                f"{format_duration(interval)} is no whole number of minutes that divides an hour",
            )
        if self.window.longest_ns < FEWEST_INTERVALS * interval:
            shortest = format_duration(FEWEST_INTERVALS * interval)
            yield (
                ("window",),
                f"{format_window(self.window)} is too short for availability: at least {shortest}",
            )
