"""What an agent says it has counted, and whether the conservation law holds on it. Pure: an exposition in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from agent.core import metrics


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of all paths of one scrape, which are of one moment.

    Attributes:
        sent, in_flight: by target.
        outcomes: packets by (target, direction, outcome).
    """

    sent: dict[str, int]
    in_flight: dict[str, int]
    outcomes: dict[tuple[str, str, str], int]

    @classmethod
    def of(cls, exposition: str) -> Tally:
        """Read an agent's /metrics."""
        sent: dict[str, int] = {}
        in_flight: dict[str, int] = {}
        outcomes: dict[tuple[str, str, str], int] = {}
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == metrics.PROBE_SENT:
                    sent[labels["target"]] = int(sample.value)
                elif sample.name == metrics.PROBE_IN_FLIGHT:
                    in_flight[labels["target"]] = int(sample.value)
                elif sample.name == metrics.PROBE_OUTCOMES:
                    key = labels["target"], labels["direction"], labels["outcome"]
                    outcomes[key] = int(sample.value)
        return cls(sent, in_flight, outcomes)

    def broken_laws(self) -> list[str]:
        """The equations of the conservation law that do not hold, path by path."""
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for (target, direction, _), number in self.outcomes.items():
            sums[target, direction] += number
        broken = []
        for target, sent in self.sent.items():
            resolved = sent - self.in_flight[target]
            lost_on_the_way = self.outcomes.get((target, "forward", "lost"), 0)
            sides = {
                "round trips": sums[target, "round_trip"],
                "forward": sums[target, "forward"],
                "reverse + lost on the way there": sums[target, "reverse"] + lost_on_the_way,
            }
            broken += [
                f"{target}: sent - in flight is {resolved}, {what} {counted}"
                for what, counted in sides.items()
                if counted != resolved
            ]
        return broken
