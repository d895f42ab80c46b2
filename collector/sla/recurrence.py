"""Recurring times after RFC 5545 (iCalendar), section 3.3.10: `FREQ=WEEKLY;BYDAY=TU` in Asia/Shanghai.

The rule is expanded by python-dateutil. What the RFC allows and a maintenance window cannot mean is refused before:
several lines, rules that recur within an hour, and those that would never come to an end of their own expansion.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final

from dateutil.rrule import rrule, rrulestr

from collector.sla.time_zone import SHANGHAI

_SECOND_NS: Final = 1_000_000_000
_FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")
_PERIODS_NS: Final = {"DAILY": 86_400 * _SECOND_NS, "WEEKLY": 7 * 86_400 * _SECOND_NS}
_MAX_REPEATS: Final = 10_000
_MAX_LENGTH: Final = 500
_EXAMPLE: Final = "a rule of RFC 5545 such as FREQ=WEEKLY;BYDAY=TU is needed"


def rule_problem(text: str, first_ns: int) -> str | None:
    """What is wrong with a rule whose first time is `first_ns`; None where nothing is."""
    problem = _form_problem(text)
    if problem is not None:
        return problem
    try:
        first = next(iter(_rule(text, first_ns)), None)
    except (ValueError, TypeError) as error:
        return f"{error}; {_EXAMPLE}"
    if first is None:
        return "no time follows from it"
    if first != _local(first_ns):
        return f"the start must be the rule's first time, which is {first.isoformat()}"
    return None


def times(text: str, first_ns: int, from_ns: int, to_ns: int) -> Iterator[int]:
    """The times of a rule without problems, from `from_ns` until before `to_ns`, in order.

    Args:
        text: the rule.
        first_ns: its first time (DTSTART), Unix wall time.
        from_ns, to_ns: Unix wall time.
    """
    below_second = first_ns % _SECOND_NS
    for moment in _rule(text, _near(text, first_ns, from_ns)):
        time_ns = int(moment.timestamp()) * _SECOND_NS + below_second
        if time_ns >= to_ns:
            return
        if time_ns >= from_ns:
            yield time_ns


def _near(text: str, first_ns: int, from_ns: int) -> int:
    """A time from which the rule goes on just as from its first, but not long before `from_ns`.

    A rule in days or weeks is the same again after its interval, unless it counts its times; one in months or years has
    few of them. So a rule of many years costs no more than what is asked of it.
    """
    parts = _parts(text)
    period_ns = _PERIODS_NS.get(parts["FREQ"], 0) * int(parts.get("INTERVAL", "1"))
    if not period_ns or "COUNT" in parts or from_ns <= first_ns:
        return first_ns
    # One period earlier: in a week, its days before that of the first time belong to it too.
    return first_ns + max(0, (from_ns - first_ns) // period_ns - 1) * period_ns


def _parts(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.upper().split(";"))


def _form_problem(text: str) -> str | None:
    """What must be found out before the rule is expanded: that this does not go on forever, above all."""
    parts: dict[str, str] = {}
    for part in text.upper().split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value or ":" in part or any(one.isspace() for one in part):
            return _EXAMPLE
        if name in parts:
            return f"{name} stands in it twice"
        parts[name] = value
    if len(text) > _MAX_LENGTH:
        return f"longer than {_MAX_LENGTH} characters"
    if parts.get("FREQ") not in _FREQUENCIES:
        return f"FREQ must be one of {', '.join(_FREQUENCIES)}"
    for name in ("INTERVAL", "COUNT"):
        value = parts.get(name, "1")
        if not (value.isascii() and value.isdigit() and len(value) < 6 and 1 <= int(value) <= _MAX_REPEATS):
            return f"{name} must be a whole number from 1 to {_MAX_REPEATS}"
    for name in ("BYMINUTE", "BYSECOND"):
        if "," in parts.get(name, ""):
            return f"{name} takes one value: no window recurs within an hour"
    if "COUNT" in parts and "UNTIL" in parts:
        return "one of COUNT and UNTIL is enough"
    return None


@lru_cache(maxsize=256)
def _rule(text: str, first_ns: int) -> rrule:
    found = rrulestr(text.upper(), dtstart=_local(first_ns))
    assert isinstance(found, rrule)
    return found


def _local(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // _SECOND_NS, SHANGHAI)
