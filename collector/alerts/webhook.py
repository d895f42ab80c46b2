"""The generic webhook: a signed JSON body by POST; any 2xx means taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from agent import __version__
from collector.alerts import failure, signature
from collector.alerts.outbox import Notification

TIMEOUT_S: Final = 20.0
"""The specification asks for 15 to 30 s."""

_LONGEST_RETRY_AFTER_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """A receiver.

    Attributes:
        name: as in the fleet file; it may be shown.
        url: where to post; its path and query may be a secret, so it is never shown.
        keys: the secrets that sign; none: messages are not signed.
    """

    name: str
    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def channel(self) -> str:
        """What logs and metrics call it."""
        return f"webhook:{self.name}"

    @property
    def shown(self) -> str:
        """Name and host: what a log may say of it."""
        return f"{self.channel} ({urlsplit(self.url).hostname})"


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver does not have it, and may take it later.

    Attributes:
        reason: for the log and the outbox; holds no secret.
        retry_after_s: what the receiver asked for, at most a day; 0 where it asked for nothing.
    """

    reason: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Gone:
    """The receiver wants no more messages, ever (410)."""


Answer = Taken | Refused | Gone


class WebhookChannel:
    """Posts to one receiver.

    Args:
        session: shared by all channels.
        now_ns: Unix wall time, for `webhook-timestamp`.
        timeout_s: for one whole try.
    """

    def __init__(
        self,
        target: WebhookTarget,
        session: aiohttp.ClientSession,
        now_ns: Callable[[], int],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.target = target
        self._session = session
        self._now_ns = now_ns
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def deliver(self, notification: Notification) -> Answer:
        """Try once. A redirect is not followed: the operator named the receiver, nobody else does."""
        body = notification.payload.encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"isochrone/{__version__}",
            **signature.headers(
                self.target.keys, notification.message_id, self._now_ns() // 1_000_000_000, body
            ),
        }
        try:
            async with self._session.post(
                self.target.url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                return _answer(response.status, response.headers.getall("Retry-After", []))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Refused(failure.describe(error))


def _answer(status: int, retry_after: Sequence[str]) -> Answer:
    if 200 <= status < 300:
        return Taken()
    if status == 410:
        return Gone()
    wait = retry_after[0].strip() if retry_after else ""
    # The other form of the header, a date, is rare, and the schedule serves as well.
    asked = float(wait) if wait.isascii() and wait.isdigit() and len(wait) <= 9 else 0.0
    return Refused(f"answered {status}", min(asked, _LONGEST_RETRY_AFTER_S))
