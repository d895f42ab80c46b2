"""The control channel as who asks for a test has it: a lease asked for, looked after and given back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from agent.core.exceptions import WireError
from agent.core.throughput.lease import LEASES, LeaseRequest, LeaseState
from agent.core.throughput.report import ServerReport
from agent.core.throughput.result import ErrorReason
from agent.runtime.apart import apart
from agent.runtime.hosts import addresses_of
from agent.runtime.quantities import Endpoint
from agent.throughput_documents import Grant, parse_grant, parse_state, serialise_request

_ANSWERS_S: Final = 5.0
_MOST_OCTETS: Final = 1 << 20
_SHOWN: Final = 200


class NoTest(Exception):
    """There is no test, or none any more.

    Attributes:
        reason: why not.
        detail: the same in words.
        retry_after_s: when it may be worth asking again; None: nobody says.
    """

    def __init__(self, reason: ErrorReason, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s


class ControlClient:
    """One server's control channel; to be used as a context.

    Args:
        target: the agent's HTTP server.
        token: with which it grants tests.

    Attributes:
        address: that the target's name stands for: data sockets go to the same.
    """

    def __init__(self, target: Endpoint, token: str) -> None:
        self._target = target
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self.address = target.host

    async def __aenter__(self) -> Self:
        """Look up the target.

        Raises:
            NoTest: its name is unknown.
        """
        try:
            async with asyncio.timeout(_ANSWERS_S):
                self.address, *_ = await apart(addresses_of, self._target.host)
        except (OSError, TimeoutError) as error:
            raise NoTest(ErrorReason.UNREACHABLE, f"{self._target.host}: {_said(error)}") from None
        self._session = aiohttp.ClientSession(
            f"http://{Endpoint(self.address, self._target.port)}",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=_ANSWERS_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: LeaseRequest) -> Grant:
        """Have a lease.

        Raises:
            NoTest: there is none; says why.
        """
        status, headers, body = await self._exchange("POST", LEASES, serialise_request(request))
        if status == 201:
            try:
                return parse_grant(body)
            except WireError as error:
                raise NoTest(ErrorReason.MALFORMED, f"the grant cannot be read: {error}") from None
        raise _refusal(status, headers, body)

    async def look(self, grant: Grant) -> tuple[LeaseState, ServerReport]:
        """How far a lease is, and the server's half of the results.

        Raises:
            NoTest: it does not say.
        """
        status, headers, body = await self._exchange("GET", f"{LEASES}/{grant.id.hex()}")
        if status != 200:
            raise _refusal(status, headers, body)
        try:
            return parse_state(body)
        except WireError as error:
            raise NoTest(ErrorReason.MALFORMED, f"the server's report cannot be read: {error}") from None

    async def give_back(self, grant: Grant) -> None:
        """End a lease, where the server can still be told."""
        with contextlib.suppress(NoTest):
            await self._exchange("DELETE", f"{LEASES}/{grant.id.hex()}")

    async def _exchange(self, method: str, path: str, data: bytes | None = None) -> tuple[int, Any, bytes]:
        assert self._session is not None
        try:
            async with self._session.request(method, path, data=data, allow_redirects=False) as response:
                body = await response.content.read(_MOST_OCTETS)
                return response.status, response.headers, body
        except (aiohttp.ClientConnectionError, TimeoutError, OSError) as error:
            raise NoTest(ErrorReason.UNREACHABLE, f"{self._target}: {_said(error)}") from None
        except aiohttp.ClientError as error:
            raise NoTest(ErrorReason.MALFORMED, f"{self._target} speaks no HTTP: {_said(error)}") from None


def _refusal(status: int, headers: Any, body: bytes) -> NoTest:
    """What a server that grants nothing says."""
    said: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict):
            said = document
    detail = str(said.get("error") or f"HTTP status {status}")[:_SHOWN]
    after = headers.get("Retry-After", "")
    retry_after_s = float(after) if after.isdecimal() else None
    if status in (401, 403):
        never = said.get("reason") in (None, "not_allowed")
        return NoTest(ErrorReason.UNAUTHORISED if never else ErrorReason.REFUSED, detail)
    if status in (409, 429, 503):
        return NoTest(ErrorReason.REFUSED, detail, retry_after_s)
    if status == 404:
        return NoTest(ErrorReason.REFUSED, f"grants no throughput tests: {detail}")
    return NoTest(ErrorReason.MALFORMED, detail)


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer"
    cause = getattr(error, "os_error", error)
    return str(getattr(cause, "strerror", None) or cause)[:_SHOWN]
