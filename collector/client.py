"""What the commands ask of a running collector: its API, over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

from agent.runtime.exceptions import IsochroneError

_TIMEOUT_S: Final = 10


class NotReachableError(IsochroneError):
    """No collector answers where one was asked."""


class RefusedError(IsochroneError):
    """The collector will not do what it was asked; the text is its own."""


class UsageError(IsochroneError):
    """What was asked for does not exist."""


def ask(base: str, path: str, body: Any = None, token: str | None = None) -> dict[str, Any]:
    """The document at a path; with a body, what comes of posting it.

    Args:
        base: `http://HOST:PORT`.
        path: what follows it.
        body: what is sent, as JSON; None: nothing, the document is only read.
        token: of who may write.

    Raises:
        UsageError: the base is no such address.
        NotReachableError: nobody answers there, or somebody who is no collector.
        RefusedError: the collector answers that it will not.
    """
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise UsageError(f"{base} is no address: http://HOST:PORT")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base.rstrip("/") + path, data)  # noqa: S310 - the scheme was looked at
    if data is not None:
        request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    # A proxy of the environment is for the world outside; a collector is never there.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=_TIMEOUT_S) as response:
            document: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, base) from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise NotReachableError(f"no collector answers at {base}: {error}") from error
    return document


def _refused(error: urllib.error.HTTPError, base: str) -> IsochroneError:
    """What the answer says; where it is not in the words of a collector, there is none."""
    try:
        return RefusedError(str(json.load(error)["error"]["message"]))
    except (OSError, ValueError, KeyError, TypeError):
        return NotReachableError(f"no collector answers at {base}: {error}")
