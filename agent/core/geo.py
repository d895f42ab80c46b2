"""Distance and the speed of light in fibre: the least delay that physics allows."""

from __future__ import annotations

import math
from typing import Final

FIBRE_NS_PER_KM: Final = 4_900
"""One kilometre of fibre, group index 1.468: 4.9 µs."""

_EARTH_RADIUS_KM: Final = 6371.0088


def great_circle_km(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Great-circle distance (km) of two points in degrees, by the haversine formula on the mean Earth radius."""
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    half_lat = (phi_b - phi_a) / 2
    half_lon = math.radians(lon_b - lon_a) / 2
    h = math.sin(half_lat) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_lon) ** 2
    return 2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def fibre_floor_ns(km: float) -> int:
    """The least one-way delay (ns, rounded down) over a fibre of this length."""
    return int(km * FIBRE_NS_PER_KM)
