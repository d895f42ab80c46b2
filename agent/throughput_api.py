"""The control channel of throughput tests, for peers on the list that have its token:

    POST   /api/v1/throughput/leases        201 a lease, 403 never, 409 not now, 429 too often or too much today
    GET    /api/v1/throughput/leases/{id}   200 how far it is, and the server's half of the results
    DELETE /api/v1/throughput/leases/{id}   204 the test is over

A lease is for the address that asks, and only it can see and end it. 409 and 429 say with Retry-After when to come
again, in seconds.

Both tokens go in the clear, as all else on this server does: whoever can listen on the way between the two could test
in the peer's name, from its address. Where that is to be feared, the HTTP server belongs on a management network.

A request is looked at in the order of what that costs: the address and how often it comes, then the token, then the
body, of at most 4 KiB and within 2 s. Who is turned away before is not read to the end, and his connection is closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from agent.core.admission import Admission, AdmissionRules, Verdict
from agent.core.exceptions import WireError
from agent.core.throughput.lease import LEASES, Admittance, LeaseState, Refusal, RefusalReason
from agent.core.timestamps import SECOND_NS
from agent.reflector.leases import LeaseDesk
from agent.runtime.secret_files import bears
from agent.throughput_documents import (
    MOST_OCTETS,
    parse_id,
    parse_request,
    serialise_grant,
    serialise_state,
)

_BODY_S: Final = 2.0
_TOO_OFTEN_S: Final = 1
_EARLY: Final = ("unauthorised", "too_often", "no_address", "malformed")
_RESULTS: Final = ("granted", *(reason.value for reason in RefusalReason), *_EARLY)
_STATUS: Final = {
    RefusalReason.NOT_ALLOWED: 403,
    RefusalReason.OVER_LIMIT: 403,
    RefusalReason.BUSY: 409,
    RefusalReason.OVER_BUDGET: 409,
    RefusalReason.OVER_CAP: 429,
    RefusalReason.FULL: 429,
}


class ThroughputControl:
    """The control channel's state: who comes how often, and what has come of it.

    Args:
        desk: grants leases.
        admission: whose requests are looked at, and how often.
        token: that they need.
        ports: of the data sockets by IP version; where there is none of a version, nothing is granted.

    Attributes:
        desk: grants leases.
    """

    def __init__(
        self, desk: LeaseDesk, admission: AdmissionRules, token: str, ports: Mapping[int, int]
    ) -> None:
        self.desk = desk
        self._refused: Counter[str] = Counter()
        self._ports = ports
        self.update(admission, token)

    def update(self, admission: AdmissionRules, token: str) -> None:
        """Go on with another list, rate and token."""
        self._admission = Admission(admission)
        self._token = token

    def serve(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_post(LEASES, self._ask)
        app.router.add_get(f"{LEASES}/{{id}}", self._look)
        app.router.add_delete(f"{LEASES}/{{id}}", self._end)

    @property
    def requests(self) -> dict[str, int]:
        """Requests for leases, by result; those that were turned away before they were understood too."""
        counted = self.desk.requests
        return {result: self._refused[result] + counted[result] for result in _RESULTS}

    @property
    def sockets(self) -> dict[str, int]:
        """Data sockets, by what was decided of them."""
        return {decided.value: self.desk.sockets[decided] for decided in Admittance}

    @property
    def ended(self) -> dict[str, int]:
        """Leases that are over, by how they ended."""
        return {state.value: self.desk.ended[state] for state in LeaseState if state.ended}

    @property
    def running(self) -> int:
        """Leases that hold a slot."""
        return self.desk.slots_taken

    async def _ask(self, request: web.Request) -> web.Response:
        peer = self._admitted(request)
        if isinstance(peer, web.Response):
            return peer
        port = self._ports.get(4 if len(peer) == 4 else 6)
        if port is None:
            return self._turned_away("no_address", 403, "no data address of this IP version")
        body = await _body(request)
        if isinstance(body, web.Response):
            self._refused["malformed"] += 1
            return body
        try:
            answer = self.desk.ask(parse_request(body, peer))
        except WireError as error:
            return self._turned_away("malformed", 400, str(error))
        if isinstance(answer, Refusal):
            return _refusal(answer)
        return web.Response(
            body=serialise_grant(answer, port, answer.granted_ns),
            status=201,
            content_type="application/json",
            headers={"Location": f"{LEASES}/{answer.id.hex()}", "Cache-Control": "no-store"},
        )

    async def _look(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if isinstance(found, web.Response):
            return found
        lease, state = found
        return web.Response(
            body=serialise_state(state, self.desk.report(lease.id)), content_type="application/json"
        )

    async def _end(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if isinstance(found, web.Response):
            return found
        lease, _ = found
        await self.desk.end(lease.id)
        return web.Response(status=204)

    def _found(self, request: web.Request) -> Any:
        """The lease of a URL and how far it is, or why who asks may not know."""
        peer = self._admitted(request)
        if isinstance(peer, web.Response):
            return peer
        lease = parse_id(request.match_info["id"])
        found = None if lease is None else self.desk.find(lease, peer)
        return found or _answer(404, "no such lease of this address")

    def _admitted(self, request: web.Request) -> bytes | web.Response:
        """Who asks, 4 or 16 octets, or why he is not listened to."""
        peer = _peer_of(request)
        if peer is None:
            return self._turned_away("not_allowed", 403, "this address may not test here")
        verdict = self._admission.decide_request(peer, time.monotonic_ns())
        if verdict is Verdict.NOT_ALLOWED:
            return self._turned_away("not_allowed", 403, "this address may not test here")
        if verdict is not Verdict.ADMITTED:
            return self._turned_away("too_often", 429, "too many requests", _TOO_OFTEN_S)
        if not bears(request.headers.get("Authorization", ""), self._token):
            return self._turned_away("unauthorised", 401, "needs: Authorization: Bearer TOKEN")
        return peer

    def _turned_away(
        self, reason: str, status: int, why: str, retry_after_s: int | None = None
    ) -> web.Response:
        self._refused[reason] += 1
        response = _answer(status, why, retry_after_s)
        # what it has not read of the request is not worth waiting for
        response.force_close()
        return response


async def _body(request: web.Request) -> bytes | web.Response:
    """The whole body, or why it is not read to its end."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MOST_OCTETS:
                    return _closing(413, f"a request has at most {MOST_OCTETS} octets")
    except TimeoutError:
        return _closing(408, f"a request takes at most {_BODY_S:g} s")
    return bytes(body)


def _refusal(refusal: Refusal) -> web.Response:
    """No lease, with the reason as a word too, for a program."""
    after_ns = refusal.retry_after_ns
    return _answer(
        _STATUS[refusal.reason],
        refusal.detail,
        None if after_ns is None else -(-after_ns // SECOND_NS),
        refusal.reason.value,
    )


def _answer(
    status: int, why: str, retry_after_s: int | None = None, reason: str | None = None
) -> web.Response:
    document = {"error": why} if reason is None else {"error": why, "reason": reason}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return web.json_response(document, status=status, headers=headers)


def _closing(status: int, why: str) -> web.Response:
    response = _answer(status, why)
    response.force_close()
    return response


def _peer_of(request: web.Request) -> bytes | None:
    """The address of the connection, an IPv4 one as such where a socket of both versions has accepted it."""
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).packed
