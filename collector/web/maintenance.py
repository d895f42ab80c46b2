"""Maintenance windows over the API: anybody may see them, who has the token may add and end them.

    GET  /api/v1/maintenance[?state=upcoming|running|over|cancelled]
    GET  /api/v1/maintenance/audit
    POST /api/v1/maintenance            {"by": …, "start": …, "end" or "duration": …, "category": …, "approver": …,
                                         "reason": …, "selector": {…}[, "id", "announced", "justification"]}
    POST /api/v1/maintenance/{id}/end   {"by": …[, "at", "justification"]}

What is sent is JSON with the words and forms of the fleet file; a start that is left out is now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import ValidationError

from agent.runtime.findings import findings
from agent.runtime.secret_files import bears
from agent.runtime.settings import Settings
from agent.runtime.wording import key_path
from agent.runtime.yaml_lines import Location
from collector.documents import Document, Names
from collector.maintenance import Maintenance, NewWindow, WindowEnd
from collector.sla.maintenance import MaintenanceWindow, WindowState
from collector.sla.selector import PathFacts
from collector.store.exceptions import UnknownWindow, WindowRefused
from collector.web.queries import selection
from collector.web.refusal import Refusal
from collector.window_documents import audit_document, window_document

_ORDER: Final = (WindowState.RUNNING, WindowState.UPCOMING, WindowState.OVER, WindowState.CANCELLED)

Body = TypeVar("Body", bound=Settings)


class MaintenanceApi:
    """Handlers of the windows.

    Args:
        maintenance: the windows.
        names: of sites and tiers.
        token: of who may write; None: nobody may.
        paths: all paths and lines of the fleet file.
    """

    def __init__(
        self, maintenance: Maintenance, names: Names, token: str | None, paths: Sequence[PathFacts]
    ) -> None:
        self._maintenance = maintenance
        self._names = names
        self._token = token
        self._paths = paths

    def routes(self) -> list[web.RouteDef]:
        """What to serve where."""
        return [
            web.get("/api/v1/maintenance", self.windows),
            web.post("/api/v1/maintenance", self.add),
            web.get("/api/v1/maintenance/audit", self.audit),
            web.post("/api/v1/maintenance/{id}/end", self.end),
        ]

    async def windows(self, request: web.Request) -> web.Response:
        """All windows, or those in some states: running ones first, then the next, then the last."""
        wanted = selection(request.query, {"state": [state.value for state in WindowState]}).get("state")
        now_ns = self._maintenance.now_ns()
        documents = [self._document(window, now_ns) for window in self._maintenance.calendar.windows]
        chosen = [one for one in documents if wanted is None or one["state"] in wanted]
        return _json({"windows": _ordered(chosen)})

    async def audit(self, request: web.Request) -> web.Response:
        """All changes of windows, the first one first."""
        selection(request.query, {})
        rows = await self._maintenance.audit()
        return _json({"changes": [audit_document(row, self._names) for row in rows]})

    async def add(self, request: web.Request) -> web.Response:
        """Add a window; the answer is the window, and how many paths it is for."""
        self._admit(request)
        now_ns = self._maintenance.now_ns()
        sent = _object(await request.read())
        asked = _read({"start": _exactly(now_ns), **sent}, NewWindow)
        _refuse_if_any((*asked.problems(), *asked.unknown(self._maintenance.names)))
        try:
            window = await self._maintenance.add(asked, now_ns)
        except WindowRefused as error:
            raise Refusal(409, str(error)) from error
        # names that are all known may yet have no path in common: who asks must not believe it to be covered
        selected = sum(map(window.selector.matches, self._paths))
        return _json({**self._document(window, now_ns), "selected_paths": selected}, status=201)

    async def end(self, request: web.Request) -> web.Response:
        """End a window early, or call it off; the answer is the window."""
        self._admit(request)
        now_ns = self._maintenance.now_ns()
        asked = _read(_object(await request.read()), WindowEnd)
        try:
            window = await self._maintenance.end(request.match_info["id"], asked, now_ns)
        except UnknownWindow as error:
            raise Refusal(404, str(error)) from error
        except WindowRefused as error:
            raise Refusal(409, str(error)) from error
        return _json(self._document(window, now_ns))

    def _admit(self, request: web.Request) -> None:
        if self._token is None:
            raise Refusal(403, "no api.token_file is configured in the fleet file: nobody may write")
        if not bears(request.headers.get("Authorization", ""), self._token):
            raise Refusal(401, "needs: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _document(self, window: MaintenanceWindow, now_ns: int) -> Document:
        return window_document(window, self._names, now_ns)


def _ordered(documents: list[Document]) -> list[Document]:
    """By state; what is yet to come the next first, what is over the last first."""
    found: list[Document] = []
    for state in _ORDER:
        of_state = [one for one in documents if one["state"] == state.value]
        is_past = state in (WindowState.OVER, WindowState.CANCELLED)
        found += sorted(of_state, key=lambda one: (one["occurrence"] or one)["start"], reverse=is_past)
    return found


def _object(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(sent, dict):
        raise Refusal(400, "the body must be a JSON object")
    return sent


def _read(sent: dict[str, Any], model: type[Body]) -> Body:
    """What was sent, as strictly as a file."""
    try:
        return model.model_validate_json(json.dumps(sent), strict=True)
    except ValidationError as error:
        _refuse_if_any(findings(error.errors(include_url=False), sent, model))
        raise


def _refuse_if_any(problems: Sequence[tuple[Location, str]]) -> None:
    def lines() -> Iterator[str]:
        for at, message in problems:
            yield ": ".join(part for part in (key_path(at), message) if part)

    if problems:
        raise Refusal(400, "\n".join(lines()))


def _exactly(now_ns: int) -> str:
    """A time that is read as the same nanosecond."""
    whole, rest = divmod(now_ns, 10**9)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def _json(document: Any, status: int = 200) -> web.Response:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return web.json_response(text=body, status=status)
