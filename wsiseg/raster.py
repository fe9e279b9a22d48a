"""Polygons to label maps.

A pixel takes a shape's value where its centre lies inside, which is the exact inverse of tracing a mask
along its pixel edges. A centre exactly on an outline belongs to the side right of it or below it, as in
every half-open box of the program, so shapes that share an edge share no pixel and leave no gap.

Crossings of an outline with a row of pixel centres are computed in whole-slide coordinates, never
relative to a box: painting a box gives to the bit the same pixels as painting the slide and cropping it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.geometry import Box

Shape = tuple[Polygon | MultiPolygon, int]
"""An outline in grid coordinates, and the label (0-255) that its pixels get."""


Painter: TypeAlias = "ShapePainter | RowPainter"
"""What paints label maps box by box."""

_LONG_RUN = 24
_MOST_STRETCHES = 64
_STRETCH_PX = 8192
_KEPT_STRETCHES = 2
"""For each thread that asks: the row that it is in, and the next."""


class ShapePainter:
    """Paints a set of shapes into label maps, box by box.

    Made once for a slide; a box looks only at the shapes that reach it. Threads may share one.

    Args:
        shapes: Later shapes are painted over earlier ones. Holes stay as they were; empty shapes paint
            nothing; where a shape overlaps itself it is filled by the even-odd rule.
        background: Label of pixels in no shape.
    """

    def __init__(self, shapes: Sequence[Shape], background: int = 0) -> None:
        # Unlike np.array, fromiter does not ask each polygon whether it is a sequence.
        self._polygons = np.fromiter((polygon for polygon, _ in shapes), dtype=object, count=len(shapes))
        self._values = np.fromiter((value for _, value in shapes), dtype=np.uint8, count=len(shapes))
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
            if owner.size:
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


class RowPainter:
    """A ``ShapePainter`` for boxes in rows, such as tiles: each stretch of a row is painted once, then cut.

    An outline is then looked at once and not in every box that it reaches, which halves the work. Threads
    may share one.

    Args:
        painter: What paints.
        boxes_gr: The boxes that will be asked for, row by row; those with the same upper and lower edge
            that follow each other are painted together. Any other box is painted by itself.
        threads: How many go through them, each in rows of its own.
    """

    def __init__(self, painter: Painter, boxes_gr: Sequence[Box], threads: int = 2) -> None:
        self._painter = painter
        self._kept = _KEPT_STRETCHES * threads
        self._stretch_of = {
            box: stretch for stretch, boxes in _stretches(boxes_gr) for box in boxes if box != stretch
        }
        self._recent: OrderedDict[Box, _Stretch] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._painter)

    def paint(self, box_gr: Box) -> NDArray[np.uint8]:
        """As ``ShapePainter.paint``, to the bit."""
        whole = self._stretch_of.get(box_gr)
        if whole is None:
            return self._painter.paint(box_gr)
        with self._lock:
            stretch = self._recent.setdefault(whole, _Stretch())
            self._recent.move_to_end(whole)
            if len(self._recent) > self._kept:
                self._recent.popitem(last=False)
        with stretch.lock:
            if stretch.label is None:
                stretch.label = self._painter.paint(whole)
        return stretch.label[box_gr.slices((whole.x0, whole.y0))].copy()

    def touching(self, boxes_gr: Sequence[Box]) -> NDArray[np.bool_]:
        """As ``ShapePainter.touching``."""
        return self._painter.touching(boxes_gr)


@dataclass
class _Stretch:
    """The labels of a stretch of a row, once some thread has painted them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    label: NDArray[np.uint8] | None = None


def _stretches(boxes: Sequence[Box]) -> Iterator[tuple[Box, list[Box]]]:
    """Boxes of one row that follow each other, with the box around them, of limited width."""
    together: list[Box] = []
    for box in boxes:
        first = together[0] if together else box
        if (box.y0, box.y1) != (first.y0, first.y1) or not 0 <= box.x0 - first.x0 < _STRETCH_PX:
            yield _around(together), together
            together = []
        together.append(box)
    if together:
        yield _around(together), together


def _around(boxes: Sequence[Box]) -> Box:
    return Box(boxes[0].x0, boxes[0].y0, max(box.x1 for box in boxes), boxes[0].y1)


def _rectangle(box: Box) -> Polygon:
    return shapely.box(box.x0, box.y0, box.x1, box.y1)


def _runs(polygons: NDArray[np.object_], box: Box) -> tuple[NDArray[np.int64], ...]:
    """Runs of pixels inside polygons, as (polygon, row, first column, end column), ordered by polygon.

    Scanline filling without a loop: every edge gives one crossing for each row of pixel centres that it
    spans; sorted by polygon, row and column, crossings pair up into runs.
    """
    x, y, centre, upper, lower, owner = _edges(polygons)
    first = np.clip(centre[upper] - box.y0, 0, box.height)
    count = np.clip(centre[lower] - box.y0, 0, box.height) - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) + np.repeat(first - np.cumsum(count) + count, count)
    x0, y0 = x[upper], y[upper]
    dx, dy = x[lower] - x0, y[lower] - y0
    crossing = x0[edge] + (row + (box.y0 + 0.5) - y0[edge]) * dx[edge] / dy[edge]
    column = np.clip(_first_centre(crossing) - box.x0, 0, box.width)
    # One integer that sorts as (polygon, row, column) is several times faster than np.lexsort.
    key = ((owner * box.height)[edge] + row) * (box.width + 1) + column
    key.sort()
    line, start = np.divmod(key[0::2], box.width + 1)
    stop = key[1::2] - line * (box.width + 1)
    some = stop > start
    polygon, row = np.divmod(line[some], box.height)
    return polygon, row, start[some], stop[some]


def _edges(polygons: NDArray[np.object_]) -> tuple[NDArray[Any], ...]:
    """The corners of all rings, and those edges between them that pass a row of pixel centres.

    Returns:
        Of each corner x, y (float64) and the first row of centres at or below it (int64); of each edge the
        indices of its upper and lower corner and of its polygon (int64). From top to bottom whichever way
        the ring runs, so that two polygons which share an edge compute the same crossings for it.
    """
    # get_rings passes over anything but single polygons, so multipolygons are taken apart first.
    parts, part_owner = shapely.get_parts(polygons, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    x, y = np.ascontiguousarray(points.T)
    centre = _first_centre(y)
    edge = np.flatnonzero((centre[1:] != centre[:-1]) & (ring[1:] == ring[:-1]))
    upward = centre[edge] > centre[edge + 1]
    return x, y, centre, edge + upward, edge + ~upward, part_owner[ring_part[ring[edge]]]


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
    pixels = label.reshape(-1)
    begin, length = row * label.shape[1] + start, stop - start
    changes = np.flatnonzero(value[1:] != value[:-1]) + 1
    if len(changes) > _MOST_STRETCHES:
        _scatter(pixels, begin, length, np.repeat(value, length))
        return
    # Within a stretch of one value the order is free; shapes come class by class, so stretches are few.
    for first, last in pairwise([0, *changes.tolist(), len(value)]):
        _fill_stretch(pixels, begin[first:last], length[first:last], value[first : first + 1])


def _fill_stretch(
    pixels: NDArray[np.uint8], begin: NDArray[np.int64], length: NDArray[np.int64], value: NDArray[np.uint8]
) -> None:
    """Write runs of one value: a long one is quicker alone, short ones are quicker together."""
    long = length >= _LONG_RUN
    for first, last in zip(begin[long].tolist(), (begin + length)[long].tolist(), strict=True):
        pixels[first:last] = value
    _scatter(pixels, begin[~long], length[~long], value)


def _scatter(
    pixels: NDArray[np.uint8], begin: NDArray[np.int64], length: NDArray[np.int64], value: NDArray[np.uint8]
) -> None:
    """Write values, one for all or one a pixel, to the pixels of runs."""
    before = np.cumsum(length) - length
    pixels[np.arange(int(length.sum())) + np.repeat(begin - before, length)] = value
