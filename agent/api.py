"""The agent's API below /api/v1, for who has its token: exact statistics of the last minutes, and the packets.

    GET /api/v1/paths?interval=1m
    GET /api/v1/routes[?target=T…]
    GET /api/v1/throughput/turns[?target=T…]
    GET /api/v1/packets?target=T[&tier=…&provider=…&kind=…&dscp=…][&from=…&to=…][&format=json|csv]

What is proven of a packet's one-way delays (`forward_lower_ns` and so on) follows from its delays, its uncertainty and
the path's floors, those of now; `reflector_sequence` beside `sequence` is what proves in which direction one was lost.
A turn of a line is told with both its tests and all their windows: rates follow from these, and from them the result.

Times in answers are integer nanoseconds of Unix wall time (UTC), delays integer nanoseconds; what is not known is null,
or empty in CSV. Times in queries are RFC 3339 or integer nanoseconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from agent.core.flight import (
    NO_DELAY,
    NO_REFLECTED,
    NO_UNCERTAINTY,
    RECORD,
    FlightRecorder,
    Records,
    bounds_of,
    counted,
    delays_of,
    outcomes_of,
    summary,
    under_load,
)
from agent.core.ledger import PathLabels
from agent.core.measurement import NO_OUTCOME
from agent.core.metrics import PATH_LABELS
from agent.core.outcome import Direction, Outcome
from agent.core.route_history import RouteHistory
from agent.core.session_report import SessionReport
from agent.core.throughput.lease import LEASES
from agent.core.throughput.turn_history import TurnHistory
from agent.runtime.moments import parse_time
from agent.runtime.quantities import parse_duration
from agent.runtime.secret_files import bears

QUANTILES: Final = {"p50_ns": 0.5, "p95_ns": 0.95, "p99_ns": 0.99, "p99_9_ns": 0.999}
_FORMATS: Final = {"json": "application/json", "csv": "text/csv"}
_COLUMNS: Final = (
    "sent_ns",
    "sequence",
    "reflector_sequence",
    "forward_ns",
    "reverse_ns",
    "round_trip_ns",
    "uncertainty_ns",
    "forward_lower_ns",
    "forward_upper_ns",
    "reverse_lower_ns",
    "reverse_upper_ns",
    *(f"{direction.value}_outcome" for direction in Direction),
    "under_load",
)
_NOTHING_PROVEN: Final = (None,) * 4
_ROWS_PER_PIECE: Final = 2_000
_DEFAULT_INTERVAL: Final = "1m"


class RecordedPath(Protocol):
    """A path whose packets are recorded."""

    @property
    def number(self) -> int:
        """Under which the recorder knows it."""

    @property
    def labels(self) -> PathLabels:
        """Its name."""

    @property
    def one_way(self) -> bool:
        """Whether its replies tell one-way delays; else only the round trip means something."""

    @property
    def floors_ns(self) -> tuple[int, int]:
        """The least one-way delays that physics allows, forward and reverse."""

    @property
    def report(self) -> SessionReport:
        """What its replies tell besides times."""


class Evidence(Protocol):
    """What the API shows."""

    @property
    def recorder(self) -> FlightRecorder:
        """The packets."""

    @property
    def recorded(self) -> Sequence[RecordedPath]:
        """All paths."""

    @property
    def routes(self) -> Sequence[tuple[PathLabels, RouteHistory]]:
        """What is known of the ways of paths that are traced."""

    @property
    def turns(self) -> TurnHistory:
        """The latest turns of the lines that are tested."""


def add_api(app: web.Application, evidence: Evidence, token: str | None) -> None:
    """Serve /api/v1 for who has the token, or for nobody; throughput leases have a token of their own."""

    @web.middleware
    async def authorised(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/api/") and not request.path.startswith(LEASES):
            if token is None:
                return _refused(403, "no api.token_file is configured: nobody may read this")
            if not bears(request.headers.get("Authorization", ""), token):
                return _refused(401, "needs: Authorization: Bearer TOKEN")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def paths(request: web.Request) -> web.Response:
        try:
            interval_ns = parse_duration(request.query.get("interval", _DEFAULT_INTERVAL))
        except ValueError as error:
            return _refused(400, f"interval: {error}")
        now_ns = time.time_ns()
        found = evidence.recorder.between(now_ns - interval_ns, now_ns)
        document = await asyncio.to_thread(
            _overview, evidence.recorder, list(evidence.recorded), found, evidence.recorder.paths
        )
        document["interval_ns"] = interval_ns
        return web.json_response(document)

    async def packets(request: web.Request) -> web.StreamResponse:
        query = request.query
        try:
            path = _chosen(evidence.recorded, query)
            now_ns = time.time_ns()
            from_ns = parse_time(query["from"]) if "from" in query else now_ns - evidence.recorder.length_ns
            to_ns = parse_time(query["to"]) if "to" in query else now_ns
            kind = query.get("format", "json")
            if kind not in _FORMATS:
                raise ValueError(f"format: {kind!r} is none of {', '.join(_FORMATS)}")
        except ValueError as error:
            return _refused(400, str(error))
        records = evidence.recorder.between(from_ns, to_ns, path.number)
        response = web.StreamResponse(headers={"Content-Type": _FORMATS[kind]})
        await response.prepare(request)
        for piece in _csv(records, path) if kind == "csv" else _json(records, path):
            await response.write(piece.encode())
            await asyncio.sleep(0)
        return response

    async def turns(request: web.Request) -> web.Response:
        found = evidence.turns.of(_wanted(request.query))
        return web.json_response({"turns": [{**asdict(labels), **turn} for labels, turn in found]})

    async def routes(request: web.Request) -> web.Response:
        wanted = _wanted(request.query)
        found = [
            {**asdict(labels), **history.document()}
            for labels, history in evidence.routes
            if all(str(getattr(labels, name)) == value for name, value in wanted.items())
        ]
        return web.json_response({"routes": found})

    app.middlewares.append(authorised)
    app.router.add_get("/api/v1/paths", paths)
    app.router.add_get("/api/v1/packets", packets)
    app.router.add_get("/api/v1/routes", routes)
    app.router.add_get("/api/v1/throughput/turns", turns)


def _refused(status: int, why: str) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return web.json_response({"error": why}, status=status, headers=headers)


def _wanted(query: Mapping[str, str]) -> dict[str, str]:
    """The labels that are named."""
    return {name: query[name] for name in PATH_LABELS if name in query}


def _chosen(recorded: Sequence[RecordedPath], query: Mapping[str, str]) -> RecordedPath:
    """The one path that has all labels that are named."""
    wanted = _wanted(query)
    found = [
        path
        for path in recorded
        if all(str(getattr(path.labels, name)) == value for name, value in wanted.items())
    ]
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} paths have these labels, name one: {', '.join(PATH_LABELS)} as in /api/v1/paths"
        )
    return found[0]


def _overview(
    recorder: FlightRecorder,
    recorded: Sequence[RecordedPath],
    records: Records,
    remembered: NDArray[np.uint32],
) -> dict[str, Any]:
    """All paths with the exact statistics of some of their packets, and what the record of each takes.

    Args:
        recorder: for what is to be said of the whole.
        recorded: all paths.
        records: the packets that are summed up.
        remembered: whose each packet is that the recorder has.
    """
    kept = dict(zip(*(column.tolist() for column in np.unique(remembered, return_counts=True)), strict=True))
    by_path = records[records["path"].argsort(kind="stable")]
    numbers = by_path["path"]
    documents = []
    for path in recorded:
        first, stop = numbers.searchsorted([path.number, path.number + 1])
        own = by_path[first:stop]
        documents.append(
            {
                **asdict(path.labels),
                "packets": len(own),
                "recorded": {
                    "packets": kept.get(path.number, 0),
                    "octets": kept.get(path.number, 0) * RECORD.itemsize,
                },
                "directions": _directions(own, path.one_way),
                "session": path.report.document(),
            }
        )
    return {
        "recorder": {
            "packets": recorder.packets,
            "octets": recorder.octets,
            "since_ns": recorder.since_ns,
            "length_ns": recorder.length_ns,
        },
        "paths": documents,
    }


def _directions(records: Records, one_way: bool) -> dict[str, Any]:
    delays, outcomes = delays_of(records), counted(records)
    documents: dict[str, Any] = {}
    for index, direction in enumerate(Direction):
        found = None
        if one_way or direction is Direction.ROUND_TRIP:
            found = summary(delays[index], list(QUANTILES.values()))
        documents[direction.value] = {
            "outcomes": {outcome.label: count[index] for outcome, count in outcomes.items()},
            "delay": None
            if found is None
            else {
                "packets": found.packets,
                "min_ns": found.least_ns,
                **dict(zip(QUANTILES, found.quantiles_ns, strict=True)),
            },
        }
    return documents


def _rows(records: Records, path: RecordedPath) -> Iterator[list[Any]]:
    """Each packet in the order of `_COLUMNS`."""
    names = {int(outcome): outcome.label for outcome in Outcome} | {NO_OUTCOME: None}
    outcomes = outcomes_of(records).T.tolist()
    one_way = path.one_way
    lower_ns, upper_ns, _ = bounds_of(records, path.floors_ns)
    bounds = np.stack((lower_ns[0], upper_ns[0], lower_ns[1], upper_ns[1]), axis=1).tolist()
    loaded = under_load(records).astype(np.int64).tolist()
    for record, of_record, proven, load in zip(records.tolist(), outcomes, bounds, loaded, strict=True):
        sent_ns, forward_ns, reverse_ns, uncertainty_ns, _, sequence, reflected, _ = record
        answered = forward_ns != NO_DELAY
        yield [
            sent_ns,
            sequence,
            reflected if answered and one_way and reflected != NO_REFLECTED else None,
            forward_ns if answered and one_way else None,
            reverse_ns if answered and one_way else None,
            forward_ns + reverse_ns if answered else None,
            None if uncertainty_ns == NO_UNCERTAINTY else uncertainty_ns,
            *(proven if answered else _NOTHING_PROVEN),
            *(names[outcome] for outcome in of_record),
            load,
        ]


def _pieces(records: Records) -> Iterator[Records]:
    for start in range(0, len(records), _ROWS_PER_PIECE):
        yield records[start : start + _ROWS_PER_PIECE]


def _csv(records: Records, path: RecordedPath) -> Iterator[str]:
    yield ",".join(_COLUMNS) + "\n"
    for piece in _pieces(records):
        yield "".join(
            ",".join("" if value is None else str(value) for value in row) + "\n"
            for row in _rows(piece, path)
        )


def _json(records: Records, path: RecordedPath) -> Iterator[str]:
    labels = json.dumps(asdict(path.labels))
    floors = json.dumps(dict(zip(("forward", "reverse"), path.floors_ns, strict=True)))
    columns = json.dumps(_COLUMNS)
    yield f'{{"path": {labels}, "floors_ns": {floors}, "columns": {columns}, "packets": ['
    separator = ""
    for piece in _pieces(records):
        yield separator + ",\n".join(json.dumps(row) for row in _rows(piece, path))
        separator = ",\n"
    yield "\n]}\n"
