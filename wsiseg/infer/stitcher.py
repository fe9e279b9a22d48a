"""Tile predictions put together to a label map, a band of tile rows at a time.

Array names: K classes, T side of a tile, H and W rows and columns of a band.

Tiles come in grid order. A band is finished with its tile row and depends on nothing but the tiles whose
read touches it, always added in grid order: so the result is the same, bit for bit, as that of the same
arithmetic on the whole slide at once, and what is held does not depend on the height of the slide.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.blend import summed_ramps, window
from wsiseg.geometry import Box, Tile, TileGrid

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Band:
    """A finished part of the slide, as wide as the slide.

    Attributes:
        box_gr: Where it lies.
        label_HW: Most probable class of each pixel, uint8; the lower index where two are level.
        confidence_HW: Its probability in steps of 1 / 255, uint8.
    """

    box_gr: Box
    label_HW: NDArray[np.uint8]
    confidence_HW: NDArray[np.uint8]


class Stitcher(Protocol):
    """Takes the tiles of a grid in order and gives a band for every tile row."""

    def first_row(self, row: int) -> int:
        """The first tile row that has to be added for the band of ``row`` to be right."""

    def add(self, tile: Tile, probabilities_KTT: Probabilities | None) -> None:
        """Take a tile; None stands for background without doubt."""

    def finish(self, row: int) -> Band:
        """The band of a tile row, all of whose tiles were added; rows are finished in order."""


class KeepStitcher:
    """One owner a pixel: each tile fills the box that it keeps, and nothing is averaged."""

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        rows = max(stop - start for start, stop in map(grid.y_axis.keep, range(grid.rows)))
        self._label = np.zeros((rows, grid.size_gr[0]), dtype=np.uint8)
        self._confidence = np.zeros_like(self._label)

    def first_row(self, row: int) -> int:
        """The row itself."""
        return row

    def add(self, tile: Tile, probabilities_KTT: Probabilities | None) -> None:
        """Decide the pixels that the tile keeps."""
        there = tile.keep.slices((0, tile.keep.y0))
        if probabilities_KTT is None:
            self._label[there], self._confidence[there] = 0, 255
            return
        kept = probabilities_KTT[(slice(None), *tile.keep.slices((tile.read.x0, tile.read.y0)))]
        label, best = decide(kept)
        self._label[there], self._confidence[there] = label, to_byte(best)

    def finish(self, row: int) -> Band:
        """The rows that the tiles of ``row`` keep."""
        start, stop = self._grid.y_axis.keep(row)
        rows = slice(0, stop - start)
        box = Box(0, start, self._grid.size_gr[0], stop)
        return Band(box, self._label[rows].copy(), self._confidence[rows].copy())


class WindowStitcher:
    """The mean of all tiles that read a pixel, weighted by how far from their edges it lies.

    The weighted sum is divided by the summed weights, so a constant comes back the same constant; a tile
    that was not predicted counts as background with full weight, and is never left out of the sum.

    Sums are held for the square of the tile at hand, which moves along the row, and for the rows below the
    band that the next row of tiles reads too. Columns of one stride are called blocks.

    Args:
        grid: The tiles.
        classes: Number of classes.
    """

    def __init__(self, grid: TileGrid, classes: int) -> None:
        self._grid = grid
        self._stride, self._side = grid.x_axis.stride, grid.tile_px
        self._weight_TT = window(grid.tile_px, grid.overlap_px)
        self._x_weight = summed_ramps(grid.size_gr[0], grid.tile_px, grid.overlap_px)
        self._y_weight = summed_ramps(grid.size_gr[1], grid.tile_px, grid.overlap_px)
        reach = (grid.columns - 1) * self._stride + self._side
        self._sum_KTT = np.zeros((classes, self._side, self._side), dtype=np.float32)
        self._below_KHW = np.zeros((classes, self._side - self._stride, reach), dtype=np.float32)
        self._label = np.zeros((min(self._side, grid.size_gr[1]), grid.size_gr[0]), dtype=np.uint8)
        self._confidence = np.zeros_like(self._label)
        # Blocks to which more than undoubted background was added, by this row of tiles and by those above.
        self._added = np.zeros(-(-reach // self._stride), dtype=bool)
        self._added_above = np.zeros_like(self._added)

    def first_row(self, row: int) -> int:
        """The first row of tiles that reach down to where the band of ``row`` begins."""
        start = self._grid.y_axis.read(row)[0]
        return self._grid.y_axis.reading(start, start + 1)[0]

    def add(self, tile: Tile, probabilities_KTT: Probabilities | None) -> None:
        """Add the weighted probabilities of all that the tile reads."""
        if tile.column == 0:
            self._take_up(tile.read.x0, self._side)
        if probabilities_KTT is None:
            self._sum_KTT[0] += self._weight_TT
        else:
            self._sum_KTT += self._weight_TT * probabilities_KTT
            self._added[tile.column : tile.column - (-self._side // self._stride)] = True
        last = tile.column == self._grid.columns - 1
        finished = self._side if last else self._stride
        self._decide(tile, finished)
        self._put_down(tile.read.x0, finished)
        if not last:
            self._take_up(tile.read.x0 + self._side, self._stride)

    def finish(self, row: int) -> Band:
        """The rows that no later tile reads."""
        self._added_above = self._added | (self._added_above & (self._side > 2 * self._stride))
        self._added = np.zeros_like(self._added)
        start, stop = self._span(row)
        rows = slice(0, stop - start)
        box = Box(0, start, self._grid.size_gr[0], stop)
        return Band(box, self._label[rows].copy(), self._confidence[rows].copy())

    def _span(self, row: int) -> tuple[int, int]:
        """Rows of the band of a tile row."""
        start = self._grid.y_axis.read(row)[0]
        return start, self._grid.size_gr[1] if row == self._grid.rows - 1 else start + self._stride

    def _take_up(self, x: int, columns: int) -> None:
        """Fill the last columns of the square with what tiles above left below them."""
        overlap = self._side - self._stride
        self._sum_KTT[:, :overlap, self._side - columns :] = self._below_KHW[:, :, x : x + columns]
        self._sum_KTT[:, overlap:, self._side - columns :] = 0

    def _put_down(self, x: int, columns: int) -> None:
        """Leave the first columns of the square, below the band, to the tiles below; move on."""
        self._below_KHW[:, :, x : x + columns] = self._sum_KTT[:, self._stride :, :columns]
        for plane in self._sum_KTT:
            plane[:, : self._side - columns] = plane[:, columns:]

    def _decide(self, tile: Tile, columns: int) -> None:
        """Classes of the part of the band that lies in the first columns of the square."""
        start, stop = self._span(tile.row)
        box = Box(tile.read.x0, 0, min(tile.read.x0 + columns, self._grid.size_gr[0]), stop - start)
        there = box.slices()
        blocks = slice(tile.column, tile.column - (-columns // self._stride))
        if not (self._added[blocks].any() or self._added_above[blocks].any()):
            self._label[there], self._confidence[there] = 0, 255
            return
        label, best = decide(self._sum_KTT[(slice(None), *box.slices((box.x0, 0)))])
        best /= self._y_weight[start:stop, None] * self._x_weight[box.x0 : box.x1]
        self._label[there], self._confidence[there] = label, to_byte(best)


def build_stitcher(method: str, grid: TileGrid, classes: int) -> Stitcher:
    """The stitcher that a configuration names: ``keep`` or ``window``."""
    return KeepStitcher(grid) if method == "keep" else WindowStitcher(grid, classes)


def decide(probabilities_KHW: Probabilities) -> tuple[NDArray[np.uint8], Probabilities]:
    """Most probable class (uint8) and its probability; the lower index where two are level.

    Class by class, several times faster than ``argmax`` over a first axis.
    """
    best = probabilities_KHW[0].copy()
    label = np.zeros(best.shape, dtype=np.uint8)
    for index in range(1, len(probabilities_KHW)):
        label[probabilities_KHW[index] > best] = index
        np.maximum(best, probabilities_KHW[index], out=best)
    return label, best


def to_byte(probability: Probabilities) -> NDArray[np.uint8]:
    """Probabilities in 0-1 as steps of 1 / 255, rounded to the nearest."""
    return (np.clip(probability, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
