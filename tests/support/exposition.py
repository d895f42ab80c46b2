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
    outcomes: dict[tuple[Labels, str], float] = defaultdict(float)
    counted = [*by_name[metrics.PROBE_OUTCOMES].items(), *by_name[metrics.PROBE_UNDER_LOAD].items()]
    for labels, number in counted:
        named = dict(labels)
        direction, outcome = named.pop("direction"), named.pop("outcome")
        path = frozenset(named.items())
        outcomes[path, direction] += number
        if (direction, outcome) == ("forward", "lost"):
            outcomes[path, "lost on the way there"] += number
    assert by_name[metrics.PROBE_SENT], "no path in the exposition"
    for path, sent in by_name[metrics.PROBE_SENT].items():
        resolved = sent - by_name[metrics.PROBE_IN_FLIGHT][path]
        assert outcomes[path, "round_trip"] == resolved
        assert outcomes[path, "forward"] == resolved
        assert outcomes[path, "reverse"] == resolved - outcomes[path, "lost on the way there"]
