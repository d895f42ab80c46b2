"""Recurring times after RFC 5545 (iCalendar), section 3.3.10: `FREQ=WEEKLY;BYDAY=TU` in Asia/Shanghai.

The rule is expanded by python-dateutil. What the RFC allows and a maintenance window cannot mean is refused before:
several lines, rules that recur within a day, and those that would never come to an end of their own expansion.
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
    for moment in _rule(text, first_ns):
        time_ns = int(moment.timestamp()) * _SECOND_NS + below_second
        if time_ns >= to_ns:
            return
        if time_ns >= from_ns:
            yield time_ns


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
