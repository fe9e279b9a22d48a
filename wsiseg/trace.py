"""Masks to polygons, exactly along the edges of the pixels.

A pixel [row, column] covers ``[column, column + 1) x [row, row + 1)``, so an outline runs on the lattice
of pixel corners, its area is the number of pixels, and painting it back gives the mask without one pixel
of difference. Areas are 4-connected: pixels that touch at a corner only are two areas. Outlines are
valid in the sense of the Simple Features standard: an area that meets itself at a corner gets a hole
there, never a shell that touches itself.

How. On every lattice row the corners of outlines come in pairs, joined by a horizontal edge, and on
every lattice column in pairs joined by a vertical one. Whether a lattice point is a corner depends on
the four pixels around it, so corners are found a band of rows at a time with nothing but the last row
carried over, and what is kept grows with the outlines, not with the mask. Joining the pairs to rings is
done once, for all bands together, by pointer doubling: cutting a mask into bands cannot change the result.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]
Polygons = NDArray[np.object_]
"""shapely Polygons, one an area."""

_BLOCK_PIXELS = 1 << 20
"""Pixels looked at in one go: the temporaries of a block stay in the cache."""

_TL, _TR, _BL, _BR = 1, 2, 4, 8
"""Bits of a corner's code: which of the four pixels around it are set (top left ... bottom right)."""


def trace_mask(mask: Bools, *, min_area: float = 0.0, min_hole: float = 0.0) -> Polygons:
    """Trace a whole mask; see ``EdgeTracer``.

    Args:
        mask: bool ``(h, w)``.
        min_area: Areas of fewer pixels are left out.
        min_hole: Holes of fewer pixels are filled.

    Returns:
        Polygons in pixels of the mask, in the order of their topmost, then leftmost, corner.
    """
    tracer = EdgeTracer(mask.shape[1])
    tracer.add(mask)
    return tracer.polygons(min_area=min_area, min_hole=min_hole)


class EdgeTracer:
    """Traces a mask that comes from top to bottom, a band of rows at a time.

    Args:
        width: Columns of the mask.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = 0
        self._above = np.zeros(width, dtype=bool)
        self._corners: list[_Corners] = []

    def add(self, band: Bools) -> None:
        """Take the next rows.

        Args:
            band: bool ``(rows, width)``; any number of rows.
        """
        if band.ndim != 2 or band.shape[1] != self.width:
            raise ValueError(f"a band of {self.width} columns is wanted, not one of shape {band.shape}")
        step = max(1, _BLOCK_PIXELS // (self.width + 1))
        for start in range(0, len(band), step):
            self._add_block(band[start : start + step])

    def skip(self, rows: int) -> None:
        """Take ``rows`` empty rows; much quicker than adding them."""
        if rows > 0:
            self._add_block(np.zeros((1, self.width), dtype=bool))
            self.rows += rows - 1

    def polygons(self, *, min_area: float = 0.0, min_hole: float = 0.0) -> Polygons:
        """Close the mask below the last row and return all of its areas.

        Args:
            min_area: Areas that enclose fewer pixels, holes counted in, are left out.
            min_hole: Holes of fewer pixels are filled.

        Returns:
            Polygons in pixels, in the order of their topmost, then leftmost, corner; shells run with the
            area on their right as y points down, holes the other way.
        """
        if self._above.any():
            self._add_block(np.zeros((1, self.width), dtype=bool))
        corners = _concatenate(self._corners)
        self._corners = []
        if not len(corners.x):
            return np.zeros(0, dtype=object)
        return _assemble(_link(corners), min_area, min_hole)

    def _add_block(self, block: Bools) -> None:
        if self._above.any() or block.any():
            found = _find_corners(self._above, block, self.rows)
            if len(found.x):
                self._corners.append(found)
        self._above = block[-1].copy()
        self.rows += len(block)


@dataclass(frozen=True, slots=True)
class _Corners:
    """Corners of outlines on the pixel lattice, row by row, left to right.

    Where two areas meet at a point there are two corners, the one with an edge to its left first.

    Attributes:
        x: Lattice column, int32.
        y: Lattice row, int32.
        code: Which of the four pixels around it are set, uint8.
        entry: For a corner at which a hole may begin, the column where the run of set pixels to its left
            starts; elsewhere -1.
    """

    x: Ints
    y: Ints
    code: NDArray[np.uint8]
    entry: Ints


def _find_corners(above: Bools, block: Bools, row: int) -> _Corners:
    """Corners on the lattice rows at the upper edges of a block's rows, of which ``row`` is the first."""
    rows, width = block.shape
    padded = np.zeros((rows + 1, width + 2), dtype=bool)
    padded[0, 1:-1], padded[1:, 1:-1] = above, block
    upright = padded[:, :-1] ^ padded[:, 1:]
    level = padded[:-1] ^ padded[1:]
    left = level[:, :-1]
    is_corner = left ^ level[:, 1:]
    is_corner |= left & upright[:-1]
    flat = np.flatnonzero(is_corner)
    y, x = np.divmod(flat.astype(np.int32), np.int32(width + 1))
    code = np.zeros(len(flat), dtype=np.uint8)
    for bit, dy, dx in ((_TL, 0, 0), (_TR, 0, 1), (_BL, 1, 0), (_BR, 1, 1)):
        code[padded[y + dy, x + dx]] |= bit
    entry = np.full(len(flat), -1, dtype=np.int32)
    begins = (code & (_TR | _BL | _BR)) == (_TR | _BL)
    if begins.any():
        edges = np.flatnonzero(upright[1:])
        entry[begins] = edges[np.searchsorted(edges, flat[begins]) - 1] % (width + 1)
    return _split_meetings(_Corners(x, y + np.int32(row), code, entry))


def _split_meetings(corners: _Corners) -> _Corners:
    """Make two corners of every point at which two areas meet; a hole can begin only at the second."""
    meets = _is_meeting(corners.code)
    if not meets.any():
        return corners
    times = 1 + meets.astype(np.int8)
    return _Corners(
        np.repeat(corners.x, times),
        np.repeat(corners.y, times),
        np.repeat(corners.code, times),
        np.repeat(corners.entry, times),
    )


def _is_meeting(code: NDArray[np.uint8]) -> Bools:
    return np.asarray((code == (_TL | _BR)) | (code == (_TR | _BL)))


def _concatenate(parts: list[_Corners]) -> _Corners:
    if not parts:
        nothing = np.zeros(0, dtype=np.int32)
        return _Corners(nothing, nothing, nothing.astype(np.uint8), nothing)
    return _Corners(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.code for part in parts]),
        np.concatenate([part.entry for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class _Rings:
    """Closed rings of corners. A ring is named by its first corner pair; edges are pairs of corners.

    Attributes:
        corners: All corners; 2k and 2k + 1 are the ends of horizontal edge k.
        ring: Ring of each horizontal edge, int32: the smallest edge in it.
        rank: Steps from that smallest edge, int32.
        begin: The corner at which each edge begins, as the ring runs, int32.
        uprights: Upper ends of the vertical edges, by column and then row, int32 indices of corners.
    """

    corners: _Corners
    ring: Ints
    rank: Ints
    begin: Ints
    uprights: Ints


def _link(corners: _Corners) -> _Rings:
    """Join the corners to rings."""
    count = len(corners.x)
    index = np.arange(count, dtype=np.int32)
    second = _is_second(corners.code)
    first = np.zeros(count, dtype=bool)
    first[:-1] = second[1:]
    to_left = np.where(first | second, first, _differ(corners.code, _TL, _BL))
    begins = np.where(to_left, corners.code & _TL, corners.code & _BR).astype(bool)
    begin = index[begins]
    order = _column_order(corners, first, second)
    ring, rank = _rings_of(_following(order, begin))
    joined = np.flatnonzero(first)
    joined = joined[ring[joined >> 1] == ring[(joined + 1) >> 1]]
    if len(joined):
        # The two pixels belong to one area: what looks like its shell touching itself is a hole of it.
        place = np.empty(count, dtype=np.int32)
        place[order] = index
        order[place[joined]], order[place[joined + 1]] = joined + 1, joined
        ring, rank = _rings_of(_following(order, begin))
    return _Rings(corners, ring, rank, begin, order[0::2])


def _is_second(code: NDArray[np.uint8]) -> Bools:
    """Which corners are the second of two at one point; such corners always come two by two."""
    meets = _is_meeting(code)
    nth = np.cumsum(meets, dtype=np.int32)
    return np.asarray(meets & (nth % 2 == 0))


def _differ(code: NDArray[np.uint8], one: int, other: int) -> Bools:
    return np.asarray(((code & one) != 0) != ((code & other) != 0))


def _column_order(corners: _Corners, first: Bools, second: Bools) -> Ints:
    """Corners by column and then row, so that 2k and 2k + 1 of the result are the ends of a vertical edge.

    Of two corners at one point, the one whose vertical edge ends there comes before the one whose edge
    begins there.
    """
    falling = corners.code == (_TL | _BR)
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


def _assemble(rings: _Rings, min_area: float, min_hole: float) -> Polygons:
    """Polygons of rings: each hole goes to the shell of its area."""
    names = np.flatnonzero(rings.rank == 0)
    length = np.bincount(rings.ring)[names]
    offsets = np.concatenate([[0], np.cumsum(length)])
    numbers = np.empty(len(rings.ring), dtype=np.int32)
    numbers[names] = np.arange(len(names), dtype=np.int32)
    place = offsets[numbers[rings.ring]] + rings.rank
    points = _points(rings, place)
    is_shell = (rings.corners.code[2 * names] & _BR) != 0
    owner = _owners(rings, names, numbers, is_shell)
    area = np.abs(np.add.reduceat(_under_edges(points), offsets[:-1]))
    kept = np.where(is_shell, area >= min_area, area >= min_hole)
    kept &= kept[owner]
    vertices = np.repeat(kept, 2 * length)
    of_ring = np.repeat(np.arange(kept.sum()), 2 * length[kept])
    outlines = shapely.linearrings(points[vertices].astype(np.float64), indices=of_ring)
    # A shell begins before its holes do, so sorting by owner puts it first.
    owner = owner[kept]
    order = np.argsort(owner, kind="stable")
    areas, of_area = np.unique(owner[order], return_inverse=True)
    if not len(areas):
        return np.zeros(0, dtype=object)
    return np.asarray(shapely.polygons(outlines[order], indices=of_area), dtype=object).reshape(-1)


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
