"""Addresses of servers that the collector talks to."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

UNUSABLE: Final = (
    "is no address to post to: http:// or https://, a host, and a port from 1 to 65535 where one is given"
)


def split(url: str) -> SplitResult:
    """The parts of an address, if something can be asked or posted there.

    Raises:
        ValueError: it cannot. The address is not part of the message: it may be a secret.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in url):
        raise ValueError(UNUSABLE)
    return parts


def _without_secrets(url: str) -> str:
    if split(url).username is not None:
        raise ValueError(
            "holds a name or a password, which do not belong in a configuration file: a webhook takes url_file, a "
            "Prometheus bearer_token_file"
        )
    return url


Url = Annotated[str, AfterValidator(_without_secrets)]
"""An address that may stand in a configuration file: no secret is in it."""
