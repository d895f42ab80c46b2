"""Receivers as the fleet file names them, with the secrets that stand in files of their own.

A secret in a configuration file ends up in its repository; in a file of its own it can be owned by the service alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from agent.runtime.exceptions import IsochroneError
from collector.alerts.signature import parse_secret
from collector.alerts.webhook import WebhookTarget
from collector.urls import split

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


class UnusableFile(IsochroneError):
    """A file that a receiver needs is no good.

    Attributes:
        key: which of the receiver's keys names it.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def webhook_target(webhook: WebhookSettings, folder: Path) -> WebhookTarget:
    """A receiver, its files read.

    Args:
        webhook: as in the fleet file.
        folder: what the paths of its files are relative to.

    Raises:
        UnusableFile: one of its files cannot be used; what is in it is not shown.
    """
    return WebhookTarget(webhook.name, _url_of(webhook, folder), _keys_of(webhook, folder))


def file_problem(webhook: WebhookSettings, key: str, folder: Path) -> str | None:
    """What is wrong with the file that a receiver names by `url_file` or `secret_file`; None where nothing is."""
    if getattr(webhook, key) is None:
        return None
    try:
        {"url_file": _url_of, "secret_file": _keys_of}[key](webhook, folder)
    except UnusableFile as error:
        return str(error)
    return None


def _url_of(webhook: WebhookSettings, folder: Path) -> str:
    if webhook.url_file is None:
        return webhook.url or ""
    with _naming("url_file"):
        url = "".join(_lines_of(folder / webhook.url_file))
        split(url)
        return url


def _keys_of(webhook: WebhookSettings, folder: Path) -> tuple[bytes, ...]:
    if webhook.secret_file is None:
        return ()
    with _naming("secret_file"):
        return tuple(parse_secret(line) for line in _lines_of(folder / webhook.secret_file))


@contextlib.contextmanager
def _naming(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnusableFile(key, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnusableFile(key, str(error)) from error


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
