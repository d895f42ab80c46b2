"""Receivers as the fleet file names them, with the secrets that stand in files of their own.

A secret in a configuration file ends up in its repository; in a file of its own it can be owned by the service alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from agent.runtime.exceptions import ConfigError, Problem
from collector.alerts.signature import parse_secret
from collector.alerts.webhook import WebhookTarget

_MAX_FILE_OCTETS = 64 << 10


class WebhookSettings(Protocol):
    """A receiver in the fleet file; exactly one of `url` and `url_file` is given."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""

    @property
    def url(self) -> str | None:
        """Where to post."""

    @property
    def url_file(self) -> Path | None:
        """The file that holds the address, where the address is a secret."""

    @property
    def secret_file(self) -> Path | None:
        """The file that holds the secrets, one a line; several while one is being replaced."""


def webhook_targets(webhooks: Sequence[WebhookSettings], fleet_file: Path) -> tuple[WebhookTarget, ...]:
    """The receivers, their files read.

    Args:
        webhooks: as in the fleet file.
        fleet_file: paths of files are relative to its folder.

    Raises:
        ConfigError: every file that cannot be used; what is in the files is not shown.
    """
    problems: list[Problem] = []
    targets: list[WebhookTarget] = []
    for index, webhook in enumerate(webhooks):
        where = f"alerts.webhooks[{index}]"
        url = webhook.url or ""
        keys: tuple[bytes, ...] = ()
        try:
            key = f"{where}.url_file"
            if webhook.url_file is not None:
                url = check_url("".join(_lines_of(fleet_file.parent / webhook.url_file)))
            key = f"{where}.secret_file"
            if webhook.secret_file is not None:
                lines = _lines_of(fleet_file.parent / webhook.secret_file)
                keys = tuple(parse_secret(line) for line in lines)
        except OSError as error:
            problems.append(Problem(str(fleet_file), 0, key, f"cannot be read: {error.strerror}"))
        except ValueError as error:
            problems.append(Problem(str(fleet_file), 0, key, str(error)))
        else:
            targets.append(WebhookTarget(webhook.name, url, keys))
    if problems:
        raise ConfigError(problems)
    return tuple(targets)


def check_url(url: str) -> str:
    """The address, if something can be posted to it.

    Raises:
        ValueError: it cannot. The address is not part of the message: it may be a secret.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in url):
        raise ValueError("is no address to post to: http:// or https:// and a host are needed")
    return url


def _lines_of(path: Path) -> list[str]:
    """The lines of a small text file that say something.

    Raises:
        OSError: it cannot be read.
        ValueError: it is empty, too large or not text.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_OCTETS + 1)
    if len(content) > _MAX_FILE_OCTETS:
        raise ValueError("is larger than 64 KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # The error's own text would quote the content.
        raise ValueError("is not UTF-8 text") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("is empty")
    return lines
