"""Distances and floors."""

from __future__ import annotations

import pytest

from agent.core.geo import fibre_floor_ns, great_circle_km


@pytest.mark.parametrize(
    ("lat", "lon", "km", "floor_ms"),
    [
        (35.73, 107.64, 843, 4.13),  # Qingyang
        (40.41, 115.52, 1097, 5.38),  # Zhangjiakou
        (37.51, 105.19, 1138, 5.58),  # Zhongwei
        (31.35, 118.43, 402, 1.97),  # Wuhu
    ],
)
def test_hubs_from_wuhan(lat: float, lon: float, km: int, floor_ms: float) -> None:
    """The published distances and floors of the hub clusters come out."""
    distance = great_circle_km(30.59, 114.31, lat, lon)
    assert distance == pytest.approx(km, abs=1.5)
    assert fibre_floor_ns(distance) / 1e6 == pytest.approx(floor_ms, abs=0.01)


def test_no_distance() -> None:
    """A site is no distance from itself, and antipodes are half the circumference apart."""
    assert great_circle_km(30.59, 114.31, 30.59, 114.31) == 0
    assert great_circle_km(0, 0, 0, 180) == pytest.approx(20_015, abs=1)
