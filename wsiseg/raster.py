"""Polygons to label maps.

A pixel takes a shape's value where its centre lies inside, which is the exact inverse of tracing a mask
along its pixel edges. A centre exactly on an outline belongs to the side right of it or below it, as in
every half-open box of the program, so shapes that share an edge share no pixel and leave no gap.

Crossings of an outline with a row of pixel centres are computed in whole-slide coordinates, never
relative to a box: painting a box gives to the bit the same pixels as painting the slide and cropping it.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.geometry import Box

Shape = tuple[Polygon | MultiPolygon, int]
"""An outline in grid coordinates, and the label (0-255) that its pixels get."""


class ShapePainter:
    """Paints a set of shapes into label maps, box by box.

    Made once for a slide; a box looks only at the shapes that reach it. Threads may share one.

    Args:
        shapes: Later shapes are painted over earlier ones. Holes stay as they were; empty shapes paint
            nothing; where a shape overlaps itself it is filled by the even-odd rule.
        background: Label of pixels in no shape.
    """

    def __init__(self, shapes: Sequence[Shape], background: int = 0) -> None:
        self._polygons = np.array([polygon for polygon, _ in shapes], dtype=object)
        self._values = np.array([value for _, value in shapes], dtype=np.uint8)
        self._background = background
        self._tree = shapely.STRtree(self._polygons)

    def __len__(self) -> int:
        return len(self._polygons)

    def paint(self, box_gr: Box) -> NDArray[np.uint8]:
        """Labels of a box.

        Args:
            box_gr: Any box that is not empty, reaching anywhere.

        Returns:
            uint8 ``(height, width)``.
        """
        label = np.full((box_gr.height, box_gr.width), self._background, dtype=np.uint8)
        near = np.sort(self._tree.query(_rectangle(box_gr)))
        if near.size:
            owner, row, start, stop = _runs(self._polygons[near], box_gr)
            _fill(label, row, start, stop, self._values[near][owner])
        return label

    def touching(self, boxes_gr: Sequence[Box]) -> NDArray[np.bool_]:
        """Which of these boxes some shape reaches into, bool ``(n,)``; a common edge is not enough."""
        found = np.zeros(len(boxes_gr), dtype=bool)
        if len(self) and boxes_gr:
            rectangles = np.array([_rectangle(box) for box in boxes_gr], dtype=object)
            box_ids, shape_ids = self._tree.query(rectangles, predicate="intersects")
            only_edge = shapely.touches(rectangles[box_ids], self._polygons[shape_ids])
            found[box_ids[~only_edge]] = True
        return found


def _rectangle(box: Box) -> Polygon:
    return shapely.box(box.x0, box.y0, box.x1, box.y1)


def _runs(polygons: NDArray[np.object_], box: Box) -> tuple[NDArray[np.int64], ...]:
    """Runs of pixels inside polygons, as (polygon, row, first column, end column), ordered by polygon.

    Scanline filling without a loop: every edge gives one crossing for each row of pixel centres that it
    spans; sorted by polygon, row and column, crossings pair up into runs.
    """
    upper, lower, owner = _edges(polygons)
    first = np.clip(_first_centre(upper[:, 1]) - box.y0, 0, box.height)
    count = np.clip(_first_centre(lower[:, 1]) - box.y0, 0, box.height) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
    crossing = x0 + (row + (box.y0 + 0.5) - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(_first_centre(crossing) - box.x0, 0, box.width)
    # One integer that sorts as (polygon, row, column) is several times faster than np.lexsort.
    key = (owner[edge] * box.height + row) * (box.width + 1) + column
    key.sort()
    line, start = np.divmod(key[0::2], box.width + 1)
    stop = key[1::2] % (box.width + 1)
    some = stop > start
    polygon, row = np.divmod(line[some], box.height)
    return polygon, row, start[some], stop[some]


def _edges(
    polygons: NDArray[np.object_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """All edges of all rings: upper end ``(n, 2)``, lower end ``(n, 2)``, index of the polygon ``(n,)``.

    Ordered from top to bottom whichever way the ring runs, so that two polygons which share an edge
    compute the same crossings for it.
    """
    # get_rings passes over anything but single polygons, so multipolygons are taken apart first.
    parts, part_owner = shapely.get_parts(polygons, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    ring_owner = part_owner[ring_part]
    points, ring = shapely.get_coordinates(rings, return_index=True)
    joined = ring[1:] == ring[:-1]
    begin, end = points[:-1][joined], points[1:][joined]
    downward = (begin[:, 1] <= end[:, 1])[:, None]
    return np.where(downward, begin, end), np.where(downward, end, begin), ring_owner[ring[:-1][joined]]


def _first_centre(position: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the first pixel whose centre is at or after a position."""
    return np.ceil(position - 0.5).astype(np.int64)


def _fill(
    label: NDArray[np.uint8],
    row: NDArray[np.int64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    value: NDArray[np.uint8],
) -> None:
    """Write runs of pixels in their order, so that the last value stays."""
    length = stop - start
    before = np.cumsum(length) - length
    pixels = np.arange(int(length.sum())) + np.repeat(row * label.shape[1] + start - before, length)
    label.reshape(-1)[pixels] = np.repeat(value, length)
