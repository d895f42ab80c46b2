"""What the reader chooses at the top of a dashboard."""

from __future__ import annotations

from typing import Final

from agent.core import metrics
from grafana.sheet import Sheet
from grafana.words import Words

TIER: Final = Words("层级", "Tier")
PROVIDER: Final = Words("服务商", "Provider")
SOURCE: Final = Words("源站点", "Source site")
TARGET: Final = Words("目标站点", "Target site")


def choose_judged(sheet: Sheet) -> None:
    """Paths and objectives, any number of each; every choice narrows those after it."""
    chosen = _choose_many(sheet, metrics.PROBE_IN_FLIGHT)
    sheet.choose(
        "objective", Words("目标", "Objective"), f"label_values({metrics.SLA_VERDICT}{{{chosen}}}, objective)"
    )


def choose_lines(sheet: Sheet) -> None:
    """Lines that are tested, any number of each; every choice narrows those after it."""
    _choose_many(sheet, metrics.THROUGHPUT_FLOOR)


def _choose_many(sheet: Sheet, known: str) -> str:
    """Tier, provider and both sites among these series; what narrows by the first two."""
    sheet.choose("tier", TIER, f"label_values({known}, tier)")
    sheet.choose("provider", PROVIDER, f'label_values({known}{{tier=~"$tier"}}, provider)')
    chosen = 'tier=~"$tier",provider=~"$provider"'
    sheet.choose("source", SOURCE, f"label_values({known}{{{chosen}}}, source)")
    sheet.choose("target", TARGET, f'label_values({known}{{{chosen},source=~"$source"}}, target)')
    return chosen


def choose_path(sheet: Sheet) -> None:
    """Exactly one path: every choice offers what exists with those before it."""
    labels = {
        "source": SOURCE,
        "target": TARGET,
        "tier": TIER,
        "provider": PROVIDER,
        "kind": Words("探测方式", "Kind"),
        "dscp": Words("DSCP", "DSCP"),
    }
    chosen: list[str] = []
    for label, words in labels.items():
        query = f"label_values({metrics.PROBE_IN_FLIGHT}{{{','.join(chosen)}}}, {label})"
        sheet.choose(label, words, query, many=False)
        chosen.append(f'{label}="${label}"')


def choose_agents(sheet: Sheet) -> None:
    """Sites by their own provider, and tiers of what is sent from them."""
    known = metrics.CLOCK_SYNCHRONIZED
    sheet.choose("provider", PROVIDER, f"label_values({known}, site_provider)")
    sheet.choose("site", Words("站点", "Site"), f'label_values({known}{{site_provider=~"$provider"}}, site)')
    sheet.choose("tier", TIER, f'label_values({metrics.PROBE_IN_FLIGHT}{{site=~"$site"}}, tier)')
