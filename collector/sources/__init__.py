"""Where the counters come from: the agents themselves, or a Prometheus that scraped them. One interface for both.

What cannot be read is said to be unread; nothing is made up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collector.sources.samples import AgentReading


class Source(Protocol):
    """Something that can be asked for all agents' counters."""

    async def read(self) -> Sequence[AgentReading]:
        """One reading of every agent of the fleet; an agent that could not be read is among them, with the reason."""

    async def close(self) -> None:
        """Let go of connections."""
