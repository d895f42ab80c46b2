"""The API under /api/v1: JSON, seconds and ratios, times in UTC."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from agent import __version__
from collector.documents import (
    breach_document,
    fault_document,
    judgement_document,
    limit_document,
    seconds,
    utc_time,
)
from collector.sla.breach import Breach
from collector.sla.promise import DIRECTION_LABELS, direction_label
from collector.sla.verdict import Judgement, Verdict
from collector.sla.verdicts import Shown, shown
from collector.web.discovery import ROLES
from collector.web.queries import ANYTHING, selection, whole_number
from collector.web.view import Fleet, SourceView, StateView

BREACH_STATES: Final = ("open", "closed", "all")

_MOST_VERDICTS: Final = 5_000
"""As many documents as are written in a twentieth of a second, which is how long nothing else is done meanwhile."""

_ATTENTION: Final = {Verdict.FAIL: 0, Verdict.INDETERMINATE: 1, Verdict.NO_DATA: 2, Verdict.PASS: 3}
_KEPT_ANSWERS = 16
_COMPRESS_FROM_OCTETS = 1400
"""What fits into one packet is not worth the work."""


class Api:
    """Handlers of the API; each reads the state as it is at that moment."""

    def __init__(self, fleet: Fleet, state: StateView) -> None:
        self._fleet = fleet
        self._names = fleet.names()
        self._state = state
        self._all_verdicts: tuple[int, bytes] = (-1, b"")
        self._writing = asyncio.Lock()
        self._written_breaches: tuple[Sequence[Breach], dict[str, bytes]] = ((), {})

    def routes(self) -> list[web.RouteDef]:
        """What to serve where."""
        return [
            web.get("/api/v1/verdicts", self.verdicts),
            web.get("/api/v1/breaches", self.breaches),
            web.get("/api/v1/faults", self.faults),
            web.get("/api/v1/fleet", self.fleet),
            web.get("/sd/prometheus", self.discovery),
        ]

    async def verdicts(self, request: web.Request) -> web.Response:
        """The judgements of the last evaluation, filtered by their labels.

        At most `limit` of them from place `offset` on (as if left out: 5000 from the first); `total` says how many
        there are. Where not all are given, those that need attention come first: FAIL, INDETERMINATE, NO_DATA, PASS.
        """
        wanted = selection(
            request.query,
            {
                "tier": ANYTHING,
                "source": ANYTHING,
                "target": ANYTHING,
                "direction": DIRECTION_LABELS,
                "verdict": [verdict.name for verdict in Verdict],
                "objective": ANYTHING,
                "limit": ANYTHING,
                "offset": ANYTHING,
            },
        )
        # Of very many paths it takes seconds: one at a time, and beside the event loop.
        async with self._writing:
            if wanted:
                return _json(request, await asyncio.to_thread(self._verdicts_body, wanted))
            # The page asks for this every few seconds: it is written once per evaluation.
            evaluations = self._state.evaluations
            if self._all_verdicts[0] != evaluations:
                self._all_verdicts = evaluations, await asyncio.to_thread(self._verdicts_body, {})
            return _json(request, self._all_verdicts[1])

    def _verdicts_body(self, wanted: dict[str, frozenset[str]]) -> bytes:
        judgements, evaluated_at = self._state.judgements, self._evaluated_at()
        limit = whole_number("limit", wanted.pop("limit", frozenset())) or _MOST_VERDICTS
        offset = whole_number("offset", wanted.pop("offset", frozenset()), least=0) or 0
        asked = [(_LABELS[name], values) for name, values in wanted.items()]
        found = [
            (_ATTENTION[one.verdict], place)
            for place, one in enumerate(shown(judgements))
            if all(label(one) in values for label, values in asked)
        ]
        if len(found) > limit:
            found.sort()
        chosen = [
            judgement_document(judgements[place], self._names) for _, place in found[offset : offset + limit]
        ]
        return _encoded({"evaluated_at": evaluated_at, "total": len(found), "verdicts": chosen})

    async def breaches(self, request: web.Request) -> web.Response:
        """Breaches, open ones first, then the latest; at most `limit` of them.

        `state` is open, closed or all (as if left out). The answer holds nothing but breaches, so it stays the same,
        and is not sent again, until one of them changes.
        """
        wanted = selection(
            request.query,
            {
                "state": BREACH_STATES,
                "tier": ANYTHING,
                "source": ANYTHING,
                "target": ANYTHING,
                "direction": DIRECTION_LABELS,
                "objective": ANYTHING,
                "limit": ANYTHING,
            },
        )
        if self._written_breaches[0] is not self._state.breaches:
            self._written_breaches = (self._state.breaches, {})
        written = self._written_breaches[1]
        if request.query_string not in written:
            body = self._breaches_body(wanted)
            if len(written) < _KEPT_ANSWERS:
                written[request.query_string] = body
            return _json(request, body)
        return _json(request, written[request.query_string])

    def _breaches_body(self, wanted: dict[str, frozenset[str]]) -> bytes:
        states = wanted.pop("state", frozenset(["all"]))
        limit = whole_number("limit", wanted.pop("limit", frozenset()))
        chosen = [
            breach
            for breach in self._state.breaches
            if ("all" in states or ("open" if breach.closed_ns is None else "closed") in states)
            and all(_label(breach.opening, name) in values for name, values in wanted.items())
        ]
        chosen.sort(key=_urgency)
        return _encoded({"breaches": [breach_document(breach, self._names) for breach in chosen[:limit]]})

    async def faults(self, request: web.Request) -> web.Response:
        """What is known to be broken now, the latest last."""
        selection(request.query, {})
        standing = self._state.standing.faults
        return _json(request, _encoded({"faults": [fault_document(one, self._names) for one in standing]}))

    async def fleet(self, request: web.Request) -> web.Response:
        """Sites with their agents' state, tiers and objectives."""
        selection(request.query, {})
        fleet = self._fleet
        body = {
            "version": __version__,
            "evaluation_interval_seconds": seconds(fleet.evaluation_interval_ns),
            "sites": [
                {
                    "id": site.id,
                    "name": site.name.document(),
                    "provider": site.provider,
                    "district": site.district,
                    "agent": _agent(self._state.sources.get(site.id)),
                }
                for site in fleet.sites
            ],
            "tiers": [
                {
                    "id": tier.id,
                    "name": tier.name.document(),
                    "limit": None if tier.limit is None else limit_document(tier.limit),
                    "direction": tier.direction,
                    "floors": {way: limit_document(floor) for way, floor in tier.floors.items()},
                }
                for tier in fleet.tiers
            ],
            "objectives": [
                {
                    "id": objective.id,
                    "measure": objective.measure,
                    "percentile": objective.percentile,
                    "threshold": objective.threshold,
                    "window": objective.window,
                    "window_seconds": seconds(objective.window_ns),
                    "min_coverage": objective.min_coverage,
                }
                for objective in fleet.objectives
            ],
        }
        return _json(request, _encoded(body))

    async def discovery(self, request: web.Request) -> web.Response:
        """Targets for Prometheus; `role` is agent (as if left out) or collector."""
        wanted = selection(request.query, {"role": tuple(ROLES)}).get("role", frozenset(["agent"]))
        groups = [
            group
            for role, list_targets in ROLES.items()
            if role in wanted
            for group in list_targets(self._fleet)
        ]
        return _json(request, _encoded(groups))

    def _evaluated_at(self) -> str | None:
        evaluated_ns = self._state.evaluated_ns
        return None if evaluated_ns is None else utc_time(evaluated_ns)


_LABELS: Mapping[str, Callable[[Judgement | Shown], str]] = {
    "tier": lambda judgement: judgement.path.tier,
    "source": lambda judgement: judgement.path.source,
    "target": lambda judgement: judgement.path.target,
    "direction": lambda judgement: direction_label(judgement.path.kind, judgement.direction),
    "verdict": lambda judgement: judgement.verdict.name,
    "objective": lambda judgement: judgement.objective,
}


def _label(judgement: Judgement, name: str) -> str:
    return _LABELS[name](judgement)


def _urgency(breach: Breach) -> tuple[bool, int]:
    """Open ones before closed ones, the latest first."""
    return breach.closed_ns is not None, -(breach.closed_ns or breach.opened_ns)


def _agent(source: SourceView | None) -> dict[str, Any] | None:
    if source is None:
        return None
    bound_ns = source.clock_bound_ns
    return {
        "up": source.up,
        "reason": source.reason,
        "seen_at": None if source.seen_ns is None else utc_time(source.seen_ns),
        "clock": None
        if source.clock_source is None
        else {
            "source": source.clock_source,
            "error_bound_seconds": None if bound_ns is None else seconds(bound_ns),
        },
    }


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _json(request: web.Request, body: bytes) -> web.Response:
    """A JSON answer that is not sent again while it is the same."""
    tag = hashlib.blake2b(body, digest_size=12).hexdigest()
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if any(asked.value in (tag, "*") for asked in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    response = web.Response(body=body, content_type="application/json", charset="utf-8", headers=headers)
    if len(body) >= _COMPRESS_FROM_OCTETS:
        response.enable_compression()
    return response
