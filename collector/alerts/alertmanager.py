"""Tells an Alertmanager cluster which breaches stand open, again and again, and which are over.

Alertmanager keeps no alert for longer than it is told of it, and its replicas do not pass alerts on to each other: so
every replica is told by itself, every minute, as Prometheus does it. Each alert says until when to believe it, so that
nothing depends on the `resolve_timeout` of that Alertmanager; should the collector die, its alerts fade by themselves.
Grouping, silences and routes are Alertmanager's: one alert per breach is what it is given.

Source: the Alertmanager API, version 2, `POST /api/v2/alerts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from collector.alerts import failure
from collector.alerts.counts import NotificationCounts, Result
from collector.alerts.outbox import breach_url
from collector.documents import Names, breach_summary, utc_time
from collector.sla.breach import Breach
from collector.sla.budget import budget_owner
from collector.sla.fault_words import describe
from collector.sla.measure import Measure
from collector.sla.promise import direction_label

log = logging.getLogger(__name__)

ALERT_NAME: Final = "IsochroneBreach"
BUDGET_ALERT_NAME: Final = "IsochroneBudgetBurn"
REPEAT_S: Final = 60.0
RESOLVED_RETENTION_NS: Final = 15 * 60 * 1_000_000_000
"""A closed breach is told of for so long, for a replica that was away when it closed."""

TIMEOUT_S: Final = 10.0
_BELIEVED_PERIODS: Final = 4
_BATCH: Final = 256
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 30.0


def alert(breach: Breach, names: Names, page_url: str, believed_until_ns: int) -> dict[str, Any]:
    """One breach as an alert.

    Args:
        believed_until_ns: Unix wall time; when an open breach is taken for over if it is not told of again.
    """
    path = breach.key.path
    last = breach.closing or breach.opening
    summary = breach_summary(breach, names)
    budget = breach.opening.measure is Measure.BUDGET
    labels = {
        "alertname": BUDGET_ALERT_NAME if budget else ALERT_NAME,
        "source": path.source,
        "target": path.target,
        "tier": path.tier,
        "provider": path.provider,
        "kind": path.kind,
        "dscp": str(path.dscp),
        "direction": direction_label(path.kind, breach.key.direction),
        "objective": budget_owner(breach.key.objective),
        "breach": breach.id,
    }
    if budget:
        # of a breach the rate at which the budget burns says how urgent it is
        labels["severity"] = "warning"
    annotations = {
        "summary_zh": summary.zh,
        "summary_en": summary.en,
        "reason_zh": last.reason.zh,
        "reason_en": last.reason.en,
    }
    if breach.fault is not None:
        # all breaches of one fault are one incident: what groups by this label tells them together
        labels["fault"] = breach.fault.id
        known = describe(breach.fault, names.site)
        annotations |= {"fault_zh": known.zh, "fault_en": known.en}
    ends_ns = believed_until_ns if breach.closed_ns is None else breach.closed_ns
    return {
        "labels": labels,
        "annotations": annotations,
        "startsAt": utc_time(breach.opened_ns),
        "endsAt": utc_time(ends_ns),
        "generatorURL": breach_url(page_url, breach.id),
    }


def worth_telling(breaches: Iterable[Breach], now_ns: int) -> list[Breach]:
    """The breaches that are open, or were a moment ago."""
    return [
        breach
        for breach in breaches
        if breach.closed_ns is None or now_ns - breach.closed_ns < RESOLVED_RETENTION_NS
    ]


class Replica:
    """The one task that tells one Alertmanager.

    Args:
        url: of the Alertmanager, with its path prefix where it has one.
        breaches: reads the breaches as they stand.
        now_ns: Unix wall time.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        breaches: Callable[[], Iterable[Breach]],
        names: Names,
        page_url: str,
        counts: NotificationCounts,
        now_ns: Callable[[], int],
        rng: random.Random,
        *,
        repeat_s: float = REPEAT_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        parts = urlsplit(url)
        self.channel = (
            f"alertmanager:{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        )
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._session = session
        self._breaches = breaches
        self._names = names
        self._page_url = page_url
        self._counts = counts
        self._now_ns = now_ns
        self._rng = rng
        self._repeat_s = repeat_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._woken = asyncio.Event()
        self._failures = 0
        counts.add_channel(self.channel)

    def wake(self) -> None:
        """A breach may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            self._woken.clear()
            try:
                told = await self.tell()
            except Exception:
                # Whatever is wrong with one alert, the task must live: a dead one is a silent one.
                log.exception("%s: alerts cannot be written", self.channel)
                self._failures += 1
                told = False
            if told:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._repeat_s)
            else:
                # Not cut short by a change: what keeps failing is left alone for its moment.
                longest = min(_FIRST_RETRY_S * 2 ** min(self._failures - 1, 10), _LONGEST_RETRY_S)
                await asyncio.sleep(longest * self._rng.uniform(0.5, 1))

    async def tell(self) -> bool:
        """Send everything that is worth telling, once; whether it was all taken."""
        now_ns = self._now_ns()
        until_ns = now_ns + int(_BELIEVED_PERIODS * self._repeat_s * 1e9)
        told = worth_telling(self._breaches(), now_ns)
        for start in range(0, len(told), _BATCH):
            batch = [
                alert(breach, self._names, self._page_url, until_ns)
                for breach in told[start : start + _BATCH]
            ]
            refusal = await self._post(batch)
            if refusal:
                self._failures += 1
                self._counts.count(self.channel, Result.FAILED)
                if self._failures == 1 or self._failures % 100 == 0:
                    log.warning("%s: %d alerts not taken: %s", self.channel, len(batch), refusal)
                return False
            self._counts.count(self.channel, Result.DELIVERED)
        if told and self._failures:
            log.info("%s: takes alerts again", self.channel)
        self._failures = 0
        return True

    async def _post(self, alerts: Sequence[dict[str, Any]]) -> str:
        """Post alerts; why they were not taken, empty where they were."""
        try:
            async with self._session.post(
                self._url, json=alerts, timeout=self._timeout, allow_redirects=False
            ) as response:
                return "" if response.status == 200 else f"answered {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return failure.describe(error)
