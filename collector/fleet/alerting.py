"""Who is told of breaches, as the fleet file has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from agent.runtime.exceptions import UnreadError
from agent.runtime.settings import Settings
from agent.runtime.yaml_lines import Location
from collector.alerts.targets import file_problem
from collector.fleet.names import Identifier
from collector.urls import Url


class WebhookSettings(Settings):
    """Where breaches are announced.

    Attributes:
        url, url_file: the address, or a file that holds it where it is a secret; one of the two.
        secret_file: file with a Standard Webhooks secret (whsec_…) to sign with.
    """

    name: Identifier
    url: Url | None = None
    url_file: Path | None = None
    secret_file: Path | None = None


class AlertsSettings(Settings):
    """Who is told of breaches."""

    alertmanagers: tuple[Url, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()

    def problems(self) -> Iterator[tuple[Location, str]]:
        """Names that stand twice, and webhooks without an address or with two."""
        first: set[str] = set()
        for index, webhook in enumerate(self.webhooks):
            at: Location = ("webhooks", index)
            with contextlib.suppress(UnreadError):
                if webhook.name in first:
                    yield (*at, "name"), f"{webhook.name} names two webhooks"
                first.add(webhook.name)
            with contextlib.suppress(UnreadError):
                if (webhook.url is None) == (webhook.url_file is None):
                    yield at, "one of url and url_file is needed"

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """Files of secrets, named relative to a folder, that cannot be used."""
        for index, webhook in enumerate(self.webhooks):
            for key in ("url_file", "secret_file"):
                with contextlib.suppress(UnreadError):
                    problem = file_problem(webhook, key, folder)
                    if problem is not None:
                        yield ("webhooks", index, key), problem
