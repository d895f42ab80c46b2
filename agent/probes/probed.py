"""What is probed: one path and where it stands, and who opens the sockets of its kind of probe."""

from __future__ import annotations

import socket
from collections.abc import Hashable
from typing import Any, Protocol

from agent.core.ledger import PathLedger
from agent.core.session_report import SessionReport
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.planned import PlannedOutlet
from agent.settings import PathSettings


class OutletKind(Protocol):
    """Opens the sockets of one kind of probe."""

    @property
    def one_way(self) -> bool:
        """Whether replies tell the times at which the target received and answered."""

    def group(self, settings: PathSettings) -> Hashable:
        """What paths of an address family that share an outlet have in common."""

    def __call__(
        self,
        family: socket.AddressFamily,
        settings: PathSettings,
        destinations: Destinations,
        clock: LocalClock,
    ) -> PlannedOutlet[Any]:
        """An outlet for paths of one address family and the group of these settings.

        Raises:
            PermissionError: this program may not open it; says what would mend that.
            OSError: it cannot be opened.
        """


class ProbedPath:
    """One path being probed: its settings, its counts, and where it stands.

    Attributes:
        resolved: whether its target's address is known.
        report: what its replies tell besides times.
        gone_ns: when the last of what was planned is over, of a path that is to be probed no more; monotonic time.
    """

    def __init__(self, settings: PathSettings, ledger: PathLedger) -> None:
        self.settings = settings
        self.ledger = ledger
        self.resolved = False
        self.report = SessionReport()
        self.gone_ns: int | None = None

    @property
    def timeout_ns(self) -> int:
        """After how long a probe without reply is lost."""
        return self.settings.timeout

    @property
    def interval_ns(self) -> int:
        """From probe to probe, in the mean."""
        return self.settings.interval
