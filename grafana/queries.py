"""PromQL: one place for the selectors, so that no panel forgets a variable, and for what several panels ask.

Every metric of a path is narrowed by tier, provider, source and target, every metric of an agent by its site and the
site's provider (labels that the collector's service discovery gives to the agent's series).
"""

from __future__ import annotations

from typing import Final

from agent.core import metrics
from agent.core.histogram import EDGES_SECONDS, LE_LABELS

RATE: Final = "[$__rate_interval]"
ONE_PATH: Final = tuple(f'{label}="${label}"' for label in metrics.PATH_LABELS)
"""Narrows to the one path that is looked at."""

MANY_PATHS: Final = tuple(f'{label}=~"${label}"' for label in ("tier", "provider", "source", "target"))
ONE_WAY: Final = 'direction=~"forward|reverse"'


def paths(metric: str, *more: str) -> str:
    """Series of the chosen paths.

    Args:
        metric: its name.
        more: further matchers, such as `direction="forward"`.
    """
    return _selected(metric, *MANY_PATHS, *more)


def judged(metric: str, *more: str) -> str:
    """Series of the collector about the chosen paths and objectives."""
    return paths(metric, 'objective=~"$objective"', *more)


def path(metric: str, *more: str) -> str:
    """Series of the one path."""
    return _selected(metric, *ONE_PATH, *more)


def agents(metric: str, *more: str) -> str:
    """Series of the chosen sites' agents about themselves."""
    return _selected(metric, 'site=~"$site"', 'site_provider=~"$provider"', *more)


def sent_from(metric: str, *more: str) -> str:
    """Series of the paths that start at the chosen sites."""
    return _selected(metric, 'tier=~"$tier"', 'site=~"$site"', 'site_provider=~"$provider"', *more)


def rate(series: str) -> str:
    """Per second, over a range that always holds enough samples."""
    return f"rate({series}{RATE})"


def increase(series: str) -> str:
    """How much it rose over a range that always holds enough samples."""
    return f"increase({series}{RATE})"


def worst_verdict(by: str, *more: str) -> str:
    """The worst verdict of each group: what surely fails, then what is not known at all, then what is not proven.

    The numbers of the verdicts are no order, so their maximum says nothing.

    Args:
        by: labels of a group, separated by commas.
        more: further matchers.
    """
    verdict = judged(metrics.SLA_VERDICT, *more)
    return " or ".join(f"max by ({by}) ({verdict} == {number})" for number in (1, 3, 2, 0))


def share(part: str, whole: str, by: str) -> str:
    """The share of one rate in another, by labels."""
    return f"sum by ({by}) ({rate(part)}) / sum by ({by}) ({rate(whole)})"


def quantile(of: float, histogram: str) -> str:
    """A percentile of a histogram, interpolated: good to look at, never good to judge by."""
    return f"histogram_quantile({of}, sum by (le) ({rate(histogram)}))"


def mean(summary: str) -> str:
    """The mean of a histogram or summary whose selector is given with a `%s` for the suffix."""
    return f"sum({rate(summary % '_sum')}) / sum({rate(summary % '_count')})"


_EDGES: Final = " or ".join(
    f'label_replace(vector({edge!r}), "le", "{le}", "", "")'
    for edge, le in zip(EDGES_SECONDS, LE_LABELS[:-1], strict=True)
)


def mark(name: str, of: str) -> str:
    """A point on a heatmap: the last bucket edge at or below a delay, with the `le` of the heatmap's row.

    The limits of the plan are edges. PromQL cannot compare a label's number, so all edges are written out.

    Args:
        name: what is marked; becomes the label `mark`.
        of: an expression of one series, in seconds.
    """
    return f'label_replace(topk(1, ({_EDGES}) <= scalar({of})), "mark", "{name}", "", "")'


def _selected(metric: str, *matchers: str) -> str:
    return f"{metric}{{{','.join(matchers)}}}"
