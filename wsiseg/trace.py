"""Masks to polygons, exactly along the edges of the pixels.

A pixel [row, column] covers ``[column, column + 1) x [row, row + 1)``, so an outline runs on the lattice
of pixel corners, its area is the number of pixels, and painting it back gives the mask without one pixel
of difference. Areas are 4-connected: pixels that touch at a corner only are two areas. Outlines are
valid in the sense of the Simple Features standard: an area that meets itself at a corner gets a hole
there, never a shell that touches itself.

How. On every lattice row the corners of outlines come in pairs, joined by a horizontal edge, and on
every lattice column in pairs joined by a vertical one. Whether a lattice point is a corner depends on
the four pixels around it, so corners are found a band of rows at a time with nothing but the last row
carried over. Pairs are joined to rings by pointer doubling, for many corners at once: those of areas that
have ended can be taken out between bands, those of areas that still go on wait, so that what is held grows
with neither the mask nor its outlines. Cutting a mask into bands cannot change the result.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsiseg.corners import (
    BL,
    BR,
    TL,
    Bools,
    Corners,
    Ints,
    find_corners,
    is_meeting,
)

Polygons = NDArray[np.object_]
"""shapely Polygons, one an area."""

BLOCK_PIXELS = 1 << 20
"""Pixels looked at in one go: the temporaries of a block stay in the cache."""

_WORTH_TAKING = 1 << 17
"""Corners from which joining those of finished areas pays; some 100 bytes of temporaries each."""


def trace_mask(mask: Bools, *, min_area: float = 0.0, min_hole: float = 0.0) -> Polygons:
    """Trace a whole mask; see ``EdgeTracer``.

    Args:
        mask: bool ``(h, w)``.
        min_area: Areas of fewer pixels are left out.
        min_hole: Holes of fewer pixels are filled.

    Returns:
        Polygons in pixels of the mask, in the order of their topmost, then leftmost, corner.
    """
    tracer = EdgeTracer(mask.shape[1], min_area=min_area, min_hole=min_hole)
    tracer.add(mask)
    return tracer.polygons()


class EdgeTracer:
    """Traces a mask that comes from top to bottom, a band of rows at a time.

    Polygons are in pixels; shells run with the area on their right as y points down, holes the other way.

    Args:
        width: Columns of the mask.
        min_area: Areas that enclose fewer pixels, holes counted in, are left out.
        min_hole: Holes of fewer pixels are filled.
    """

    def __init__(self, width: int, *, min_area: float = 0.0, min_hole: float = 0.0) -> None:
        self.width = width
        self.rows = 0
        self._limits = (min_area, min_hole)
        self._above = np.zeros(width, dtype=bool)
        self._corners: list[Corners] = []
        self._count = 0
        self._worth_taking = _WORTH_TAKING

    def add(self, band: Bools) -> None:
        """Take the next rows.

        Args:
            band: bool ``(rows, width)``; any number of rows.
        """
        if band.ndim != 2 or band.shape[1] != self.width:
            raise ValueError(f"a band of {self.width} columns is wanted, not one of shape {band.shape}")
        step = max(1, BLOCK_PIXELS // (self.width + 1))
        for start in range(0, len(band), step):
            self._add_block(band[start : start + step])

    def skip(self, rows: int) -> None:
        """Take ``rows`` empty rows; much quicker than adding them."""
        if rows > 0:
            self._add_block(np.zeros((1, self.width), dtype=bool))
            self.rows += rows - 1

    def finished(self) -> Polygons:
        """Areas that ended above the last row, each given once; call it between bands.

        None come as long as so few corners have gathered that looking for them does not pay. Each call's
        are in the order of their topmost, then leftmost, corner; what ends later may begin higher up.
        """
        if self._count < self._worth_taking:
            return _no_polygons()
        below = find_corners(self._above, np.zeros((1, self.width), dtype=bool), self.rows)
        # As if the mask ended here: only areas that reach down to the last row look other than they are.
        rings = _link(Corners.joined([*self._corners, below]))
        areas = _areas(rings)
        waiting = _reaching(rings, areas, self._count)
        waits = waiting[areas.number[rings.ring]].repeat(2)[: self._count]
        held = rings.corners.at(np.flatnonzero(waits))
        self._corners, self._count = [held], len(held)
        self._worth_taking = max(_WORTH_TAKING, 2 * self._count)
        return _build(rings, areas, ~waiting, *self._limits)

    def polygons(self) -> Polygons:
        """Close the mask below the last row and return the areas that ``finished`` has not given.

        In the order of their topmost, then leftmost, corner.
        """
        if self._above.any():
            self._add_block(np.zeros((1, self.width), dtype=bool))
        corners = Corners.joined(self._corners)
        self._corners, self._count = [], 0
        if not len(corners):
            return _no_polygons()
        rings = _link(corners)
        areas = _areas(rings)
        return _build(rings, areas, np.ones(len(areas.names), dtype=bool), *self._limits)

    def _add_block(self, block: Bools) -> None:
        if self._above.any() or block.any():
            found = find_corners(self._above, block, self.rows)
            if len(found):
                self._corners.append(found)
                self._count += len(found)
        self._above = block[-1].copy()
        self.rows += len(block)


@dataclass(frozen=True, slots=True)
class _Rings:
    """Closed rings of corners. A ring is named by its first corner pair; edges are pairs of corners.

    Attributes:
        corners: All corners; 2k and 2k + 1 are the ends of horizontal edge k.
        ring: Ring of each horizontal edge, int32: the smallest edge in it.
        rank: Steps from that smallest edge, int32.
        begin: The corner at which each edge begins, as the ring runs, int32.
        uprights: Upper ends of the vertical edges, by column and then row, int32 indices of corners.
        meetings: The first corner of each point at which two areas, or one and itself, meet, int32.
    """

    corners: Corners
    ring: Ints
    rank: Ints
    begin: Ints
    uprights: Ints
    meetings: Ints


def _link(corners: Corners) -> _Rings:
    """Join the corners to rings."""
    count = len(corners)
    index = np.arange(count, dtype=np.int32)
    second = _is_second(corners.code)
    first = np.zeros(count, dtype=bool)
    first[:-1] = second[1:]
    to_left = np.where(first | second, first, _differ(corners.code, TL, BL))
    begins = np.where(to_left, corners.code & TL, corners.code & BR).astype(bool)
    begin = index[begins]
    order = _column_order(corners, first, second)
    ring, rank = _rings_of(_following(order, begin))
    meetings = np.flatnonzero(first).astype(np.int32)
    joined = meetings[ring[meetings >> 1] == ring[(meetings + 1) >> 1]]
    if len(joined):
        # The two pixels belong to one area: what looks like its shell touching itself is a hole of it.
        place = np.empty(count, dtype=np.int32)
        place[order] = index
        order[place[joined]], order[place[joined + 1]] = joined + 1, joined
        ring, rank = _rings_of(_following(order, begin))
    return _Rings(corners, ring, rank, begin, order[0::2], meetings)


def _is_second(code: NDArray[np.uint8]) -> Bools:
    """Which corners are the second of two at one point; such corners always come two by two."""
    meets = is_meeting(code)
    nth = np.cumsum(meets, dtype=np.int32)
    return np.asarray(meets & (nth % 2 == 0))


def _differ(code: NDArray[np.uint8], one: int, other: int) -> Bools:
    return np.asarray(((code & one) != 0) != ((code & other) != 0))


def _column_order(corners: Corners, first: Bools, second: Bools) -> Ints:
    """Corners by column and then row, so that 2k and 2k + 1 of the result are the ends of a vertical edge.

    Of two corners at one point, the one whose vertical edge ends there comes before the one whose edge
    begins there.
    """
    falling = corners.code == (TL | BR)
    later = np.where(falling, second, first)
    key = corners.x.astype(np.int64)
    key *= 2 * (int(corners.y[-1]) + 1)
    key += 2 * corners.y.astype(np.int64)
    key += later & (first | second)
    return np.argsort(key).astype(np.int32)


def _following(order: Ints, begin: Ints) -> Ints:
    """The horizontal edge that follows each horizontal edge: down or up the vertical edge at its end."""
    across = np.empty(len(order), dtype=np.int32)
    across[order[0::2]], across[order[1::2]] = order[1::2], order[0::2]
    return np.asarray(across[begin ^ 1] >> 1, dtype=np.int32)


def _rings_of(following: Ints) -> tuple[Ints, Ints]:
    """Cycles of a permutation: the smallest member of each one's cycle, and the steps from it.

    Pointer doubling: after n rounds every member knows 2 ** n of those that follow it.
    """
    smallest = np.arange(len(following), dtype=np.int32)
    ahead = following
    while True:
        smallest = np.minimum(smallest, smallest[ahead])
        if np.array_equal(smallest, smallest[following]):
            break
        ahead = ahead[ahead]
    ends = smallest == np.arange(len(following), dtype=np.int32)
    left = (~ends).astype(np.int32)
    ahead = np.where(ends, np.arange(len(following), dtype=np.int32), following)
    while True:
        more = left[ahead]
        if not more.any():
            break
        left += more
        ahead = ahead[ahead]
    length = np.bincount(smallest, minlength=len(following)).astype(np.int32)
    return smallest, np.where(ends, np.int32(0), length[smallest] - left)


@dataclass(frozen=True, slots=True)
class _Areas:
    """Which rings there are, and whose they are.

    Attributes:
        names: The name of each ring, ascending, int64.
        number: Position of a name among them, at every name, int32.
        length: Horizontal edges of each ring, int64.
        is_shell: Whether each is a shell.
        owner: Position of the shell of the area that each ring bounds, int64; a shell owns itself.
    """

    names: NDArray[np.int64]
    number: Ints
    length: NDArray[np.int64]
    is_shell: Bools
    owner: NDArray[np.int64]


def _areas(rings: _Rings) -> _Areas:
    names = np.flatnonzero(rings.rank == 0)
    number = np.empty(len(rings.ring), dtype=np.int32)
    number[names] = np.arange(len(names), dtype=np.int32)
    is_shell = (rings.corners.code[2 * names] & BR) != 0
    owner = _owners(rings, names, number, is_shell)
    return _Areas(names, number, np.bincount(rings.ring)[names], is_shell, owner)


def _reaching(rings: _Rings, areas: _Areas, below: int) -> Bools:
    """Rings of areas that have a corner from number ``below`` on, or meet such an area at a point.

    Areas that meet stay together, since the two corners of a point are told apart by their order.
    """
    size = len(areas.names)

    def area_of(corner: NDArray[np.integer]) -> NDArray[np.int64]:
        owners: NDArray[np.int64] = areas.owner[areas.number[rings.ring[corner >> 1]]]
        return owners

    pairs = (area_of(rings.meetings), area_of(rings.meetings + 1))
    graph = coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(size, size))
    count, group = connected_components(graph, directed=False)
    reaches = np.zeros(count, dtype=bool)
    reaches[group[area_of(np.arange(below, len(rings.corners)))]] = True
    return np.asarray(reaches[group[areas.owner]])


def _build(rings: _Rings, areas: _Areas, wanted: Bools, min_area: float, min_hole: float) -> Polygons:
    """Polygons of the rings wanted: each hole goes to the shell of its area."""
    offsets = np.concatenate([[0], np.cumsum(areas.length)])
    points = _points(rings, offsets[areas.number[rings.ring]] + rings.rank)
    area = np.abs(np.add.reduceat(_under_edges(points), offsets[:-1]))
    kept = wanted & np.where(areas.is_shell, area >= min_area, area >= min_hole)
    kept &= kept[areas.owner]
    vertices = np.repeat(kept, 2 * areas.length)
    of_ring = np.repeat(np.arange(kept.sum()), 2 * areas.length[kept])
    # A shell begins before its holes do, so sorting by owner puts it first.
    owner = areas.owner[kept]
    order = np.argsort(owner, kind="stable")
    shells, of_area = np.unique(owner[order], return_inverse=True)
    if not len(shells):
        return _no_polygons()
    outlines = shapely.linearrings(points[vertices].astype(np.float64), indices=of_ring)
    return np.asarray(shapely.polygons(outlines[order], indices=of_area), dtype=object).reshape(-1)


def _no_polygons() -> Polygons:
    return np.zeros(0, dtype=object)


def _points(rings: _Rings, place: NDArray[np.integer]) -> Ints:
    """Corners ``(n, 2)`` as (x, y), ring after ring."""
    points = np.empty((len(place), 2, 2), dtype=np.int32)
    for end, corner in enumerate((rings.begin, rings.begin ^ 1)):
        points[place, end, 0] = rings.corners.x[corner]
        points[place, end, 1] = rings.corners.y[corner]
    return points.reshape(-1, 2)


def _under_edges(points: Ints) -> NDArray[np.int64]:
    """Signed area between each horizontal edge and lattice row 0; summed over a ring, its area."""
    return (points[1::2, 0].astype(np.int64) - points[0::2, 0]) * points[0::2, 1]


def _owners(rings: _Rings, names: NDArray[np.int64], numbers: Ints, is_shell: Bools) -> NDArray[np.int64]:
    """The shell of the area that each ring bounds, as an index into ``names``; a shell owns itself.

    Left of the topmost corner of a hole lies a run of the area's own pixels; the vertical edge at which
    it starts belongs to the shell or to another hole of the same area, one that begins higher up or
    further left. Following that leads to the shell.
    """
    corners = rings.corners
    owner = np.arange(len(names), dtype=np.int64)
    holes = np.flatnonzero(~is_shell)
    if not len(holes):
        return owner
    start = 2 * names[holes]
    height = int(corners.y[-1]) + 1
    tops = corners.x[rings.uprights].astype(np.int64) * height + corners.y[rings.uprights]
    wanted = corners.entry[start].astype(np.int64) * height + corners.y[start]
    upright = rings.uprights[np.searchsorted(tops, wanted, side="right") - 1]
    owner[holes] = numbers[rings.ring[upright >> 1]]
    while not is_shell[owner].all():
        owner = owner[owner]
    return owner
