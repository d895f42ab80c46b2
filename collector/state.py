"""What the collector knows at this moment: written by the program, read by the page, the API and the alerts."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from collector.sla.breach import Breach, BreachKey, Watch
from collector.sla.counts import Block, Reading
from collector.sla.verdict import Judgement, PathKey
from collector.sources.samples import AgentReading


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One agent, as it was last read.

    Attributes:
        up: whether the last reading succeeded.
        reason: why it did not; empty where it did.
        seen_ns: when a reading last succeeded (Unix wall time); None: never.
        clock_source, clock_bound_ns: what is known of its clock, from the last reading that succeeded.
    """

    up: bool
    reason: str
    seen_ns: int | None
    clock_source: str | None
    clock_bound_ns: int | None

    def after(self, reading: AgentReading) -> SourceStatus:
        """The status once this reading is known."""
        if not reading.up:
            return SourceStatus(False, reading.reason, self.seen_ns, self.clock_source, self.clock_bound_ns)
        return SourceStatus(True, "", reading.taken_ns, reading.clock_source, reading.clock_bound_ns)


NEVER_READ = SourceStatus(False, "not read yet", None, None, None)


@dataclass(slots=True)
class CollectorState:
    """The state.

    Attributes:
        judgements: of the last evaluation.
        watches: open breaches and the runs that lead to the next change.
        breaches: all that are open, and those that closed lately.
        sources: agents by site.
        latest: each path's last reading, for what its agent says of itself; empty after a start.
        evaluated_ns: when the last evaluation ended (Unix wall time); None: none has.
        evaluations, evaluation_seconds: how many there were, and how long they took in sum.
    """

    judgements: Sequence[Judgement] = ()
    watches: dict[BreachKey, Watch] = field(default_factory=dict)
    breaches: Sequence[Breach] = ()
    sources: dict[str, SourceStatus] = field(default_factory=dict)
    latest: dict[PathKey, Reading] = field(default_factory=dict)
    evaluated_ns: int | None = None
    evaluations: int = 0
    evaluation_seconds: float = 0.0


class RecentBlocks:
    """The blocks of each path within the longest window, in the order of their ends."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._blocks: dict[PathKey, deque[Block]] = defaultdict(deque)
        self.add(blocks)

    def add(self, blocks: Iterable[Block]) -> None:
        """Take in newer blocks."""
        for block in blocks:
            self._blocks[block.path].append(block)

    def forget(self, before_ns: int) -> None:
        """Let go of blocks that ended before this time."""
        for kept in self._blocks.values():
            while kept and kept[0].end_ns < before_ns:
                kept.popleft()

    def of(self, path: PathKey) -> Iterable[Block]:
        """The blocks of a path."""
        return self._blocks.get(path, ())
