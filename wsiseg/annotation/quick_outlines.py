"""Polygons of well-formed GeoJSON features, many at a time.

Built one by one, a hundred thousand nuclei cost more calls than coordinates. Here a block of them becomes
one array of positions; whatever is not exactly as GeoJSON wants it is left to the careful path, which says
what was wrong with it.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from wsiseg.annotation.repair import MAX_COORDINATE

_PLAIN = {"type", "coordinates"}
FEWEST = 4
"""Positions of the smallest ring, the first one repeated."""


def quick_outlines(features: Sequence[Any], origin_l0: tuple[float, float]) -> list[Polygon | None]:
    """The outlines of those features that are plain, valid polygons; None for every other feature.

    Args:
        features: Parsed GeoJSON values of any kind.
        origin_l0: Added to every coordinate.

    Returns:
        As many as there are features.
    """
    taken = [(i, rings) for i, feature in enumerate(features) if (rings := _plain_rings(feature))]
    points = _positions([ring for _, rings in taken for ring in rings])
    if points is None:
        return [None] * len(features)
    lengths = np.array([len(ring) for _, rings in taken for ring in rings])
    owner = np.repeat([i for i, _ in taken], [len(rings) for _, rings in taken])
    return build_outlines(points, lengths, owner, len(features), origin_l0)


def build_outlines(
    points: NDArray[np.float64],
    lengths: NDArray[np.int64],
    owner: NDArray[np.int64],
    count: int,
    origin_l0: tuple[float, float],
) -> list[Polygon | None]:
    """Polygons of many rings at once; None where one would not be valid, or has no rings.

    Args:
        points: Positions of all rings, one after the other, ``(n, 2)``.
        lengths: Positions of each ring.
        owner: The polygon of each ring, ascending; its first ring is the shell.
        count: How many polygons there are.
        origin_l0: Added to every coordinate.
    """
    outlines: list[Polygon | None] = [None] * count
    good = np.zeros(count, dtype=bool)
    good[owner] = True
    good[owner[~_sound(points, lengths)]] = False
    kept = good[owner]
    ring_of = np.repeat(np.arange(len(lengths)), lengths)
    # The careful path adds the origin to each coordinate too, so both give the same bits.
    shifted = points if origin_l0 == (0, 0) else points + origin_l0
    chosen = kept[ring_of]
    rings = shapely.linearrings(shifted[chosen], indices=_renumbered(ring_of[chosen]))
    polygons = shapely.polygons(rings, indices=_renumbered(owner[kept]))
    valid = shapely.is_valid(polygons)
    for place, polygon, whole in zip(np.flatnonzero(good).tolist(), polygons, valid.tolist(), strict=True):
        if whole:
            outlines[place] = polygon
    return outlines


def _plain_rings(feature: Any) -> list[Any] | None:
    """The rings of a geometry that says nothing but ``Polygon`` and its coordinates."""
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.keys() != _PLAIN or geometry["type"] != "Polygon":
        return None
    rings = geometry["coordinates"]
    if not isinstance(rings, list) or not rings:
        return None
    return rings if all(isinstance(ring, list) and len(ring) >= FEWEST for ring in rings) else None


def _positions(rings: Sequence[list[Any]]) -> NDArray[np.float64] | None:
    """All positions as ``(n, 2)``; None where there are none or one is no pair of numbers."""
    positions = list(chain.from_iterable(rings))
    try:
        # A text of two digits would pass for a pair.
        if {*map(type, positions)} != {list} or {*map(len, positions)} != {2}:
            return None
        flat = np.fromiter(chain.from_iterable(positions), dtype=np.float64, count=2 * len(positions))
    except (TypeError, ValueError, OverflowError):
        return None
    return flat.reshape(-1, 2)


def _sound(points: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rings are closed, plain finite numbers and without repeated neighbours, bool ``(rings,)``."""
    stop = np.cumsum(lengths)
    start = stop - lengths
    closed = (points[start] == points[stop - 1]).all(axis=1)
    # A comparison with NaN is false, so this refuses NaN and infinity too.
    plain = np.logical_and.reduceat((np.abs(points) <= MAX_COORDINATE).all(axis=1), start)
    moves = np.ones(len(points), dtype=bool)
    moves[:-1] = (points[1:] != points[:-1]).any(axis=1)
    # The last position is compared with the next ring's first: that says nothing.
    moves[stop - 1] = True
    sound: NDArray[np.bool_] = closed & plain & np.logical_and.reduceat(moves, start)
    return sound


def _renumbered(sorted_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ascending ids without the gaps between them."""
    if not len(sorted_ids):
        return sorted_ids
    return np.concatenate(([0], np.cumsum(sorted_ids[1:] != sorted_ids[:-1])))
