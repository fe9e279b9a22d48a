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

    Args:
        grid: The tiles.
        classes: Number of classes.
    """

    def __init__(self, grid: TileGrid, classes: int) -> None:
        self._grid = grid
        self._weight_TT = window(grid.tile_px, grid.overlap_px)
        self._sum_KHW = np.zeros((classes, grid.tile_px, grid.size_gr[0]), dtype=np.float32)
        self._x_weight = summed_ramps(grid.size_gr[0], grid.tile_px, grid.overlap_px)
        self._y_weight = summed_ramps(grid.size_gr[1], grid.tile_px, grid.overlap_px)

    def first_row(self, row: int) -> int:
        """The first row of tiles that reach down to where the band of ``row`` begins."""
        return self._grid.y_axis.reading(self._start(row), self._start(row) + 1)[0]

    def add(self, tile: Tile, probabilities_KTT: Probabilities | None) -> None:
        """Add the weighted probabilities of all that the tile reads."""
        inside = tile.read.intersection(Box(0, 0, *self._grid.size_gr))
        weight = self._weight_TT[inside.slices((tile.read.x0, tile.read.y0))]
        target = self._sum_KHW[(slice(None), *inside.slices((0, tile.read.y0)))]
        if probabilities_KTT is None:
            target[0] += weight
        else:
            target += weight * probabilities_KTT[(slice(None), *inside.slices((tile.read.x0, tile.read.y0)))]

    def finish(self, row: int) -> Band:
        """The rows that no later tile reads; what reaches further down is carried over."""
        start, stop = self._start(row), self._start(row + 1)
        if row == self._grid.rows - 1:
            stop = self._grid.size_gr[1]
        label, best = decide(self._sum_KHW[:, : stop - start])
        best /= self._y_weight[start:stop, None] * self._x_weight
        self._carry_over(stop - start)
        return Band(Box(0, start, self._grid.size_gr[0], stop), label, to_byte(best))

    def _start(self, row: int) -> int:
        return self._grid.y_axis.read(row)[0]

    def _carry_over(self, finished: int) -> None:
        for sum_HW in self._sum_KHW:
            sum_HW[:-finished] = sum_HW[finished:]
            sum_HW[-finished:] = 0


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
