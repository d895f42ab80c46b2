"""The names that leave the process."""

from __future__ import annotations

import pytest

from agent.core import metrics

NAMES = {
    constant: name
    for constant, name in vars(metrics).items()
    if constant.isupper()
    and isinstance(name, str)
    and constant not in ("PROCESS_START", "REFLECTED", "LINE_KIND")
}


def test_names_are_distinct_and_ours() -> None:
    """Each constant names a metric of its own, and all carry the project's prefix."""
    assert len(set(NAMES.values())) == len(NAMES) > 20
    assert all(name.startswith("isochrone_") for name in NAMES.values())


@pytest.mark.parametrize("name", NAMES.values())
def test_names_say_their_unit(name: str) -> None:
    """Times are in seconds and say so, shares are ratios and say so; no name counts milliseconds or percent."""
    words = name.split("_")
    assert not {"ms", "ns", "us", "milliseconds", "percent"} & set(words)
    if {"delay", "lag", "duration", "bound"} & set(words):
        assert words[-1] == "seconds"
