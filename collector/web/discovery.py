"""Whom Prometheus scrapes, for its `http_sd_configs`.

The labels become labels of every series of the target, and Prometheus renames a series' own label that clashes with one
of them. `provider` is such a label of the agents' series (that of the path), so the site's own is `site_provider`.

Source: Prometheus documentation, "Writing HTTP service discovery".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from collector.web.view import Fleet


def agents(fleet: Fleet) -> list[dict[str, Any]]:
    """Every agent that has an HTTP server."""
    return [
        {
            "targets": [site.agent],
            "labels": {"site": site.id, "site_provider": site.provider, "district": site.district},
        }
        for site in fleet.sites
        if site.agent is not None
    ]


def collectors(fleet: Fleet) -> list[dict[str, Any]]:
    """The collector itself."""
    return [{"targets": [fleet.address], "labels": {}}]


ROLES: Final[Mapping[str, Callable[[Fleet], list[dict[str, Any]]]]] = {
    "agent": agents,
    "collector": collectors,
}
