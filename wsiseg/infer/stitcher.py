"""Tile predictions put together to a label map, a block at a time.

Array names: C planes of a prediction, K classes, T side of a tile, H and W rows and columns of a part.

A predictor answers a tile with the probabilities of K classes, one plane each; a further plane, where
there is one, is how right the discriminator thinks the answer is. Every plane is put together alike.

Tiles come in grid order. A part is finished with its tile and depends on nothing but the tiles whose read
touches it, always added in grid order: so the result is the same, bit for bit, as that of the same
arithmetic on the whole slide at once, and what is held depends on neither width nor height of the slide.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.blend import summed_ramps, window
from wsiseg.geometry import Box, Tile, TileGrid
from wsiseg.infer.shelf import Shelf

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part of the slide. Probabilities are in steps of 1 / 255.

    Attributes:
        box_gr: Where it lies.
        label_HW: Most probable class of each pixel; the lower index where two are level.
        probability_HW: Its probability.
        probabilities_KHW: Those of all classes, where they are wanted.
        confidence_HW: How right the discriminator thinks it is, where it was asked.
    """

    box_gr: Box
    label_HW: Bytes
    probability_HW: Bytes
    probabilities_KHW: Bytes | None = None
    confidence_HW: Bytes | None = None


@dataclass(frozen=True)
class Planes:
    """What a predictor answers, and what of it is wanted.

    Attributes:
        classes: Number of classes, K.
        confidence: Whether one more plane tells the discriminator's confidence.
        probabilities: Whether the probabilities of all classes are wanted in the end.
    """

    classes: int
    confidence: bool = False
    probabilities: bool = False

    def __len__(self) -> int:
        return self.classes + self.confidence

    def part(self, box_gr: Box, planes_CHW: Floats, weight_HW: Floats | None = None) -> Part:
        """Decide pixels.

        Args:
            box_gr: Where they lie.
            planes_CHW: The planes, or their weighted sums.
            weight_HW: The summed weights.
        """
        label, best = decide(planes_CHW[: self.classes])
        if weight_HW is not None:
            best /= weight_HW
        return Part(
            box_gr,
            label,
            to_byte(best),
            _mean_bytes(planes_CHW[: self.classes], weight_HW) if self.probabilities else None,
            _mean_bytes(planes_CHW[self.classes], weight_HW) if self.confidence else None,
        )

    def background(self, box_gr: Box) -> Part:
        """Pixels of background without doubt."""
        shape = (box_gr.height, box_gr.width)
        sure = np.full(shape, 255, dtype=np.uint8)
        probabilities = None
        if self.probabilities:
            probabilities = np.zeros((self.classes, *shape), dtype=np.uint8)
            probabilities[0] = 255
        return Part(
            box_gr, np.zeros(shape, np.uint8), sure, probabilities, sure.copy() if self.confidence else None
        )


class Stitcher(Protocol):
    """Takes the tiles of a grid in order and gives the parts that each one finishes, left to right.

    All parts that come out of a row of tiles lie in the same rows of pixels: a band.
    """

    def first_row(self, row: int) -> int:
        """The first tile row that has to be added for the band of ``row`` to be right."""

    def add(self, tile: Tile, planes_CTT: Floats | None) -> list[Part]:
        """Take a tile; None stands for background without doubt."""

    def close(self) -> None:
        """Let go of what is held on disk."""


class KeepStitcher:
    """One owner a pixel: each tile fills the box that it keeps, and nothing is averaged.

    Args:
        planes: What the predictor answers.
    """

    def __init__(self, planes: Planes) -> None:
        self._planes = planes

    def first_row(self, row: int) -> int:
        """The row itself."""
        return row

    def add(self, tile: Tile, planes_CTT: Floats | None) -> list[Part]:
        """The pixels that the tile keeps."""
        if planes_CTT is None:
            return [self._planes.background(tile.keep)]
        kept = tile.keep.slices((tile.read.x0, tile.read.y0))
        return [self._planes.part(tile.keep, planes_CTT[(slice(None), *kept)])]

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class _Block:
    """Weighted sums of one stride of columns, in the rows that a row of tiles reads.

    Attributes:
        sums_CTS: As high as a tile, as wide as a stride.
        above: Whether rows of tiles above added more than undoubted background.
        added: Whether this row did.
    """

    sums_CTS: Floats
    above: bool
    added: bool = False


class WindowStitcher:
    """The mean of all tiles that read a pixel, weighted by how far from their edges it lies.

    The weighted sum is divided by the summed weights, so a constant comes back the same constant; a tile
    that was not predicted counts as background with full weight, and is never left out of the sum.

    Sums are held for the blocks under the tile at hand, a block being one stride of columns. What the next
    row of tiles reads too waits on disk, block by block.

    Args:
        grid: The tiles.
        planes: What the predictor answers.
        folder: Where the sums wait.
    """

    def __init__(self, grid: TileGrid, planes: Planes, folder: Path) -> None:
        self._grid, self._planes = grid, planes
        self._stride, self._side = grid.x_axis.stride, grid.tile_px
        self._overlap = self._side - self._stride
        self._across = -(-self._side // self._stride)
        self._weight_TT = window(grid.tile_px, grid.overlap_px)
        self._x_weight = summed_ramps(grid.size_gr[0], grid.tile_px, grid.overlap_px)
        self._y_weight = summed_ramps(grid.size_gr[1], grid.tile_px, grid.overlap_px)
        self._shelf = Shelf((len(planes), self._overlap, self._stride), folder)
        self._touched = np.zeros(grid.columns - 1 + self._across, dtype=bool)
        self._blocks: deque[_Block] = deque()

    def first_row(self, row: int) -> int:
        """The first row of tiles that reach down to where the band of ``row`` begins."""
        start = self._grid.y_axis.read(row)[0]
        return self._grid.y_axis.reading(start, start + 1)[0]

    def add(self, tile: Tile, planes_CTT: Floats | None) -> list[Part]:
        """Add the weighted planes of all that the tile reads; give what no later tile reads."""
        if tile.column == 0:
            self._blocks = deque(self._take_up(number) for number in range(self._across))
        for number, block in enumerate(self._blocks):
            self._add_to(block, number * self._stride, planes_CTT)
        last = tile.column == self._grid.columns - 1
        finished = range(tile.column, tile.column + (self._across if last else 1))
        parts = [self._finish(self._blocks.popleft(), tile.row, number) for number in finished]
        if not last:
            self._blocks.append(self._take_up(tile.column + self._across))
        return [part for part in parts if not part.box_gr.is_empty]

    def close(self) -> None:
        """Drop the sums that wait."""
        self._shelf.close()

    def _add_to(self, block: _Block, start: int, planes_CTT: Floats | None) -> None:
        """Add the columns of a tile from ``start`` on to the block under them."""
        columns = slice(start, min(start + self._stride, self._side))
        sums, weight = block.sums_CTS[:, :, : columns.stop - start], self._weight_TT[:, columns]
        if planes_CTT is not None:
            sums += weight * planes_CTT[:, :, columns]
            block.added = True
            return
        sums[0] += weight
        sums[self._planes.classes :] += weight

    def _take_up(self, number: int) -> _Block:
        """A block with what tiles above left for these rows."""
        sums = np.zeros((len(self._planes), self._side, self._stride), dtype=np.float32)
        sums[:, : self._overlap] = self._shelf.take(number)
        return _Block(sums, above=bool(self._touched[number]))

    def _finish(self, block: _Block, row: int, number: int) -> Part:
        """Decide a block's part of the band; leave what lies below the band to the tiles below."""
        self._shelf.put(number, block.sums_CTS[:, self._stride :])
        self._touched[number] = block.added or (block.above and self._side > 2 * self._stride)
        box = self._box(row, number)
        if not (block.added or block.above):
            return self._planes.background(box)
        weight_HW = self._y_weight[box.y0 : box.y1, None] * self._x_weight[box.x0 : box.x1]
        return self._planes.part(box, block.sums_CTS[:, : box.height, : box.width], weight_HW)

    def _box(self, row: int, number: int) -> Box:
        """A block's part of the band of a tile row: the rows that no later row of tiles reads."""
        start, last = self._grid.y_axis.read(row)[0], row == self._grid.rows - 1
        stop = self._grid.size_gr[1] if last else start + self._stride
        left = min(number * self._stride, self._grid.size_gr[0])
        return Box(left, start, min(left + self._stride, self._grid.size_gr[0]), stop)


def build_stitcher(method: str, grid: TileGrid, planes: Planes, folder: Path) -> Stitcher:
    """The stitcher that a configuration names: ``keep`` or ``window``; see ``WindowStitcher``."""
    return KeepStitcher(planes) if method == "keep" else WindowStitcher(grid, planes, folder)


def decide(probabilities_KHW: Floats) -> tuple[Bytes, Floats]:
    """Most probable class (uint8) and its probability; the lower index where two are level.

    Class by class, several times faster than ``argmax`` over a first axis.
    """
    best = probabilities_KHW[0].copy()
    label = np.zeros(best.shape, dtype=np.uint8)
    for index in range(1, len(probabilities_KHW)):
        label[probabilities_KHW[index] > best] = index
        np.maximum(best, probabilities_KHW[index], out=best)
    return label, best


def to_byte(probability: Floats) -> Bytes:
    """Floats in 0-1 as steps of 1 / 255, rounded to the nearest."""
    return (np.clip(probability, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _mean_bytes(sums: Floats, weight_HW: Floats | None) -> Bytes:
    return to_byte(sums if weight_HW is None else sums / weight_HW)
