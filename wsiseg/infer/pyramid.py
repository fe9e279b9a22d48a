"""Smaller and smaller copies of a label mask, tile by tile.

A smaller level takes every second pixel of the level before: a class is never averaged with another.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.infer.polygons import bands
from wsiseg.tilestore import MaskStore

_HELD_LEVEL = 3
_READ_COLUMNS = 4096
"""Width of the chunks of a mask, so that a row of tiles decodes each of them once."""


def level_count(size_gr: tuple[int, int], tile_px: int) -> int:
    """Levels until the longer side fits a tile."""
    return 1 + int((max(size_gr) - 1) // tile_px).bit_length()


def level_size(size_gr: tuple[int, int], level: int) -> tuple[int, int]:
    """``(width, height)`` of a level."""
    return -(-size_gr[0] // (1 << level)), -(-size_gr[1] // (1 << level))


class LabelPyramid:
    """Reads the tiles of every level.

    Levels from 1/8 on come from one small copy, 1/64 of the mask, held in memory.

    Args:
        label: The mask.
        tile_px: Side of a tile.
    """

    def __init__(self, label: MaskStore, tile_px: int) -> None:
        self._label = label
        self._tile_px = tile_px
        self._small: NDArray[np.uint8] | None = None
        self._held: tuple[Box, NDArray[np.uint8]] = (Box(0, 0, 0, 0), np.zeros((0, 0), np.uint8))

    @property
    def levels(self) -> int:
        """Levels until the longer side fits a tile."""
        return level_count(self._label.size_gr, self._tile_px)

    def boxes(self, level: int) -> list[Box]:
        """What each tile of a level covers of the mask, row by row."""
        step, (width, height) = self._tile_px << level, self._label.size_gr
        return [
            Box(x, y, min(x + step, width), min(y + step, height))
            for y in range(0, height, step)
            for x in range(0, width, step)
        ]

    def tiles(self, level: int) -> Iterator[NDArray[np.uint8]]:
        """Tiles of a level, row by row; those at the right and lower edge are smaller."""
        for box in self.boxes(level):
            yield self._thinned(box, level)

    def _thinned(self, box: Box, level: int) -> NDArray[np.uint8]:
        step = 1 << level
        if level < _HELD_LEVEL:
            return self._read(box)[::step, ::step]
        if self._small is None:
            self._small = self._shrink()
        held = 1 << _HELD_LEVEL
        rows, columns = Box(*(-(-edge // held) for edge in (box.x0, box.y0, box.x1, box.y1))).slices()
        return self._small[rows, columns][:: step // held, :: step // held]

    def _read(self, box: Box) -> NDArray[np.uint8]:
        """A box of the mask; what lies beside it in the same chunks is held for the tiles to come."""
        if not self._held[0].contains(box):
            left = box.x0 // _READ_COLUMNS * _READ_COLUMNS
            right = max(box.x1, min(left + _READ_COLUMNS, self._label.size_gr[0]))
            wide = Box(left, box.y0, right, box.y1)
            self._held = wide, self._label.read(wide)
        held, pixels = self._held
        return pixels[box.slices((held.x0, held.y0))]

    def _shrink(self) -> NDArray[np.uint8]:
        step = 1 << _HELD_LEVEL
        # Bands begin at multiples of 256 rows, so every band begins on a row that is taken. A copy of the
        # few pixels, not a view, which would keep the whole band.
        return np.concatenate(
            [self._label.read(box)[::step, ::step].copy() for box in bands(self._label.size_gr)]
        )
