"""Points in time as they are written: RFC 3339 with its offset, to the nanosecond."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from agent.runtime.wording import Accepts, quoted

_NS_PER_SECOND: Final = 1_000_000_000
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)
_MOMENTS: Final = "a time with its offset such as 2026-12-01T01:00:00+08:00"


def parse_time(text: str) -> int:
    """Unix wall time in ns, of RFC 3339 text or of integer nanoseconds.

    Raises:
        ValueError: it is neither.
    """
    if text.isascii() and text.isdecimal() and len(text) < 20:
        return int(text)
    parts = _RFC3339.match(text)
    if parts is None:
        raise ValueError(f"{text!r} is no time: integer nanoseconds, or as 2026-11-23T10:00:00.000000001Z")
    whole, fraction, zone = parts.groups()
    moment = datetime.fromisoformat(f"{whole}{'+00:00' if zone in 'Zz' else zone}")
    return int(moment.timestamp()) * _NS_PER_SECOND + int((fraction or "0").ljust(9, "0"))


def _written(value: Any) -> int:
    """What a person or a program writes down for others to read is never a bare number."""
    if not isinstance(value, str) or not _RFC3339.match(value):
        raise ValueError(f"{quoted(value)} is no time: {_MOMENTS}")
    try:
        return parse_time(value)
    except ValueError as error:
        raise ValueError(f"{quoted(value)} is no time: {error}") from None


TimeNs = Annotated[int, BeforeValidator(_written), Accepts(_MOMENTS)]
"""A point in time in ns (Unix wall time), written after RFC 3339."""
