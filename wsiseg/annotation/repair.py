"""Outlines as found in files, made into valid polygons; and polygons made valid on a decimal grid.

Self-crossing outlines are mended by structure: every ring becomes valid by itself, shells are united and
holes taken away, so a loop that a shaky hand drew twice stays tissue and does not become a hole.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.annotation.model import Polygonal

Ring = NDArray[np.float64]
"""Positions ``(n, 2)`` in pixels."""

MAX_COORDINATE = 1e8
"""No slide is larger; beyond it a number is damage, and arithmetic on a 0.01 grid loses exactness."""

SPECK_PX2 = 1.0
"""What mending leaves beside or inside an outline below this area was a tremor, not tissue."""

SELF_CROSSING = "outline crosses itself"
UNCLOSED = "ring is not closed"
TOO_FEW = "fewer than three different points"
NOT_FINITE = "coordinates are not plain finite numbers"

_SNAP_ROUNDS = 4
_WIDE_STEPS = 10


class OutlineError(Exception):
    """Why an outline cannot be made into a polygon; never leaves the readers."""


def as_ring(positions: Any) -> Ring:
    """Positions of any kind as an open ring: two columns, no repeated neighbours, at least three points.

    Raises:
        OutlineError: Not numbers, not finite, or too few different points.
    """
    try:
        points = np.asarray(positions, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = _first_two(positions)
    if points.size == 0:
        raise OutlineError(TOO_FEW)
    if points.ndim != 2 or points.shape[1] < 2:
        raise OutlineError(NOT_FINITE)
    points = points[:, :2]
    # A comparison with NaN is false, so this refuses NaN and infinity too.
    if not np.abs(points).max() <= MAX_COORDINATE:
        raise OutlineError(NOT_FINITE)
    repeated = (points[1:] == points[:-1]).all(axis=1)
    if repeated.any():
        points = points[np.concatenate(([True], ~repeated))]
    if (points[0] == points[-1]).all():
        points = points[:-1]
    if len(points) < 3:
        raise OutlineError(TOO_FEW)
    return points


def _first_two(positions: Any) -> Ring:
    """Ragged positions, some with z: the first two numbers of each."""
    try:
        return np.array([(float(position[0]), float(position[1])) for position in positions])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise OutlineError(NOT_FINITE) from None


def is_closed(positions: Any) -> bool:
    """Whether the last position repeats the first, as GeoJSON demands."""
    try:
        return bool(positions[0][:2] == positions[-1][:2])
    except (TypeError, IndexError, KeyError):
        return False


def build(shell: Ring, holes: Sequence[Ring] = ()) -> Polygon:
    """The polygon of open rings, valid or not."""
    if not holes:
        return shapely.polygons(shapely.linearrings(shell))
    return shapely.polygons(shapely.linearrings(shell), [shapely.linearrings(hole) for hole in holes])


def mend(geometry: Any) -> Polygonal:
    """A valid outline in place of an invalid one.

    Where a line crosses itself within a pixel, mending leaves specks beside the outline and pinholes in it;
    parts and holes under ``SPECK_PX2`` go, unless nothing would be left.

    Raises:
        OutlineError: No area is left.
    """
    try:
        mended = polygonal(shapely.make_valid(geometry, method="structure", keep_collapsed=False))
    except shapely.GEOSException as err:
        raise OutlineError("outline cannot be mended") from err
    if mended is None:
        raise OutlineError("outline encloses no area")
    return without_specks(mended, SPECK_PX2) or max(parts_of(mended), key=lambda part: part.area)


def polygonal(geometry: Any) -> Polygonal | None:
    """The parts of a geometry that have an area; one part alone is a Polygon."""
    parts = [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]
    parts = [part for part in parts if part.area > 0]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def parts_of(polygon: Polygonal) -> list[Polygon]:
    """The single polygons of an outline."""
    return list(polygon.geoms) if isinstance(polygon, MultiPolygon) else [polygon]


def on_grid(polygon: Any, decimals: int, *, origin: tuple[float, float] = (0.0, 0.0)) -> Polygonal | None:
    """The outline moved by ``-origin``, rounded to so many decimals **first**, then made valid on that grid.

    QuPath 0.6 and later snap to 0.01 px and refuse what is invalid; a polygon that is valid before rounding
    may not be after it. Holes and parts that vanish on the grid are left out.

    Returns:
        A valid outline whose coordinates print exactly with ``decimals``, or None where nothing is left.
    """
    step = 10.0**-decimals
    rounded = shapely.transform(polygon, lambda points: np.round(points - origin, decimals) + 0.0)
    for _ in range(_SNAP_ROUNDS):
        if rounded.is_valid and not is_sliver(rounded, step):
            return polygonal(shapely.remove_repeated_points(rounded))
        mended = polygonal(shapely.make_valid(rounded, method="structure", keep_collapsed=False))
        if mended is None:
            return None
        # Mending puts new points off the grid; snapping puts them on it and keeps the result valid.
        snapped = polygonal(shapely.set_precision(mended, step))
        snapped = None if snapped is None else without_specks(snapped, step * step)
        if snapped is None:
            return None
        rounded = shapely.transform(snapped, lambda points: np.round(points, decimals) + 0.0)
        if rounded.is_valid:
            return polygonal(shapely.remove_repeated_points(rounded))
    return None


def all_on_grid(
    polygons: Sequence[Polygonal], decimals: int, *, origin: tuple[float, float] = (0.0, 0.0)
) -> list[Polygonal | None]:
    """``on_grid`` of many outlines at once, several times faster; shells run as RFC 7946 says.

    That is counter-clockwise with y upwards, and holes the other way.
    """
    step = 10.0**-decimals
    array = np.array(polygons, dtype=object)
    rounded = shapely.transform(array, lambda points: np.round(points - origin, decimals) + 0.0)
    # Wide enough to be sure that nothing of it vanishes on the grid.
    wide = shapely.area(rounded) > _WIDE_STEPS * step * shapely.length(rounded)
    good = wide & shapely.is_valid(rounded)
    # Only a valid ring is sure to keep three points.
    rounded[good] = shapely.orient_polygons(shapely.remove_repeated_points(rounded[good]))
    results: list[Polygonal | None] = list(rounded)
    for position in np.flatnonzero(~good):
        polygon = on_grid(rounded[position], decimals)
        results[position] = None if polygon is None else shapely.orient_polygons(polygon)
    return results


def is_sliver(polygon: Any, step: float) -> bool:
    """Whether a part or a hole may vanish when a viewer snaps to a grid of this step."""
    rings = shapely.get_rings(polygon)
    thin = shapely.area(shapely.polygons(rings)) < 2 * step * shapely.length(rings)
    return bool(thin.any())


def without_specks(polygon: Polygonal, speck: float) -> Polygonal | None:
    """The outline without parts and holes of less than ``speck`` px²; None where no part is left."""
    kept = [
        Polygon(part.exterior, [hole for hole in part.interiors if Polygon(hole).area >= speck])
        for part in parts_of(polygon)
        if Polygon(part.exterior).area >= speck
    ]
    return polygonal(MultiPolygon(kept)) if kept else None


def ellipse_ring(box: tuple[float, float, float, float], *, max_error: float = 0.05) -> Ring:
    """An ellipse from its envelope (x0, y0, x1, y1) as a ring within ``max_error`` px of it."""
    x0, y0, x1, y1 = box
    radius_x, radius_y = abs(x1 - x0) / 2, abs(y1 - y0) / 2
    largest = max(radius_x, radius_y, max_error)
    # A chord of a circle of radius r over the angle a lies r (1 - cos(a / 2)) inside it.
    steps = math.ceil(math.pi / math.acos(max(0.0, 1 - max_error / largest)))
    angles = np.linspace(0, 2 * np.pi, min(max(steps, 16), 2048), endpoint=False)
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    return np.column_stack([centre[0] + radius_x * np.cos(angles), centre[1] + radius_y * np.sin(angles)])
