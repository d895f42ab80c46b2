"""A Prometheus-compatible query API: one question at one time, asked again where the server says when to.

Prometheus, Thanos, Mimir and VictoriaMetrics take the same question and answer in the same envelope. What differs is
said to them by headers (a tenant, a token) and by parameters (`partial_response`), and what they leave out they say by
`warnings` or `isPartial`.

Source: Prometheus documentation, "HTTP API", "Instant queries"; Retry-After: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver

from agent.runtime.wording import one_line

_TOO_MANY: Final = 429
_BUSY: Final = (_TOO_MANY, 503)
_LEAST_PAUSE_S: Final = 1.0

_SHOWN_WARNINGS: Final = 3


@dataclass(frozen=True, slots=True)
class Access:
    """How an API is asked.

    Attributes:
        headers: of every request; secrets are among them, and none of this is ever shown.
        parameters: of every query.
        shards: into how many questions that are asked at the same time one about all agents is divided.
        delay_ns: how old samples are to be before they are read, so that all of a scrape are there.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)
    shards: int = 1
    delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an API has answered.

    Attributes:
        result: of the query.
        missing: why something may be missing from it; empty where nothing is said to be.
    """

    result: Any
    missing: str = ""


class QueryApi:
    """Asks an API.

    Args:
        url: its base; the API is below it at /api/v1.
        access: how it is asked.
        timeout_s: after which it counts as not answering, all tries together.
        resolver: looks names up; None: the system does.
    """

    def __init__(
        self, url: str, access: Access, timeout_s: float, resolver: AbstractResolver | None = None
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._access = access
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            headers=dict(access.headers),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(resolver=resolver),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(self, query: str, at_ns: int) -> Answer:
        """The answer to a query at a time (Unix wall time).

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is none.
            ValueError: it is an error, or none of a query API.
        """
        data = {**self._access.parameters, "query": query, "time": f"{at_ns / 1e9:.3f}"}
        # Who would have us ask again after that has not answered in time.
        async with asyncio.timeout(self._timeout_s):
            while True:
                # A redirect would take the token to whoever it names.
                async with self._session.post(self._url, data=data, allow_redirects=False) as response:
                    text = await response.text(errors="replace")
                    pause_s = _retry_after_s(response)
                    if pause_s is None:
                        return answer_of(response.status, text)
                    if pause_s >= self._timeout_s:
                        raise ValueError(f"{_error_of(response.status, text)}; asks to wait {pause_s:.0f} s")
                await asyncio.sleep(pause_s)


def answer_of(status: int, text: str) -> Answer:
    """What an answer says.

    Raises:
        ValueError: it is an error, or none of a query API.
    """
    body = _parsed(text)
    if not 200 <= status < 300 or not isinstance(body, dict) or body.get("status") != "success":
        raise ValueError(_error_of(status, text))
    warnings = body.get("warnings") or ()
    if not isinstance(warnings, list | tuple):
        raise ValueError(f"not the answer of a query API: warnings {one_line(str(warnings))}")
    told = [one_line(str(one)) for one in warnings[:_SHOWN_WARNINGS]]
    if body.get("isPartial"):
        told.append("the answer is partial")
    data = body.get("data")
    if not isinstance(data, dict) or "result" not in data:
        raise ValueError("not the answer of a query API: it has no result")
    return Answer(data["result"], "; ".join(told))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _error_of(status: int, text: str) -> str:
    body = _parsed(text)
    if body is None and text.strip() != "null":
        return f"{status}: no query API answers there"
    error = body.get("error", "no query API") if isinstance(body, dict) else "no query API"
    return f"{status}: {one_line(str(error))}"


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """How long to wait before asking again; None: that is not what the server asks for."""
    told = response.headers.get("Retry-After", "").strip()
    if response.status not in _BUSY or (response.status != _TOO_MANY and not told):
        return None
    if told.isascii() and told.isdecimal() and len(told) < len("1000000"):
        return max(_LEAST_PAUSE_S, float(told))
    try:
        at, now = parsedate_to_datetime(told), parsedate_to_datetime(response.headers.get("Date", ""))
        return max(_LEAST_PAUSE_S, (at - now).total_seconds())
    except (ValueError, TypeError):
        return _LEAST_PAUSE_S
