"""Reading an exposition in a test: samples by name and labels, and the conservation law on them."""

from __future__ import annotations

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from agent.core import metrics

Labels = frozenset[tuple[str, str]]


def samples(text: str) -> dict[str, dict[Labels, float]]:
    """All samples of an exposition, by name and then by labels."""
    found: dict[str, dict[Labels, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][frozenset(sample.labels.items())] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    """The one sample of this name that has these labels among its own."""
    wanted = set(labels.items())
    matching = [number for having, number in samples(text)[name].items() if wanted <= having]
    assert len(matching) == 1, f"{len(matching)} samples of {name}{labels}"
    return matching[0]


def total(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels among their own."""
    wanted = set(labels.items())
    return sum(number for having, number in samples(text)[name].items() if wanted <= having)


def assert_law(text: str) -> None:
    """The conservation law holds for every path of an exposition."""
    by_name = samples(text)
    paths = list(by_name[metrics.PROBE_SENT])
    assert paths, "no path in the exposition"
    for path in paths:
        named = dict(path)
        sent = total(text, metrics.PROBE_SENT, **named)
        in_flight = total(text, metrics.PROBE_IN_FLIGHT, **named)
        resolved = sent - in_flight
        forward_lost = total(text, metrics.PROBE_OUTCOMES, direction="forward", outcome="lost", **named)
        assert total(text, metrics.PROBE_OUTCOMES, direction="round_trip", **named) == resolved
        assert total(text, metrics.PROBE_OUTCOMES, direction="forward", **named) == resolved
        assert total(text, metrics.PROBE_OUTCOMES, direction="reverse", **named) == resolved - forward_lost
