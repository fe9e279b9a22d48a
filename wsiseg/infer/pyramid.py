"""Smaller and smaller copies of a label mask, tile by tile.

A smaller level takes every second pixel of the level before: a class is never averaged with another.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.tilestore import MaskStore

_HELD_LEVEL = 3
_READ_COLUMNS = 8192
"""Width of the chunks of a mask, so that a row of tiles decodes each of them once."""

_STRIP_ROWS = 128
"""Rows of the mask that are read at a time: a multiple of 8 and of the height of its chunks, and a divisor of
what a tile of 1/8 covers."""


def level_count(size_gr: tuple[int, int], tile_px: int) -> int:
    """Levels until the longer side fits a tile."""
    return 1 + int((max(size_gr) - 1) // tile_px).bit_length()


def level_size(size_gr: tuple[int, int], level: int) -> tuple[int, int]:
    """``(width, height)`` of a level."""
    return -(-size_gr[0] // (1 << level)), -(-size_gr[1] // (1 << level))


@dataclass(frozen=True, slots=True)
class _Held:
    """Pixels of a level, and what they show of the mask."""

    box: Box
    level: int
    pixels: NDArray[np.uint8]


class LabelPyramid:
    """Reads the tiles of every level.

    Levels from 1/8 on come from one small copy, 1/64 of the mask, which is held compressed.

    Args:
        label: The mask.
        tile_px: Side of a tile.
    """

    def __init__(self, label: MaskStore, tile_px: int) -> None:
        self._label = label
        self._tile_px = tile_px
        self._small: list[bytes] | None = None
        self._held = _Held(Box(0, 0, 0, 0), 0, np.zeros((0, 0), np.uint8))

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
        """Pixels of a level; what lies beside them in the same chunks is held for the tiles to come."""
        held = self._held
        if held.level != level or not held.box.contains(box):
            width = self._label.size_gr[0]
            left = box.x0 // _READ_COLUMNS * _READ_COLUMNS if level < _HELD_LEVEL else 0
            right = min(left + _READ_COLUMNS, width) if level < _HELD_LEVEL else width
            wide = Box(left, box.y0, max(box.x1, right), box.y1)
            read = self._read if level < _HELD_LEVEL else self._expand
            held = self._held = _Held(wide, level, np.concatenate(list(read(wide, 1 << level))))
        left = (box.x0 - held.box.x0) >> level
        return held.pixels[:, left : left + -(-box.width >> level)]

    def _read(self, box: Box, step: int) -> Iterator[NDArray[np.uint8]]:
        """Every ``step``-th pixel of a box, strip by strip."""
        for top in range(box.y0, box.y1, _STRIP_ROWS):
            strip = self._label.read(Box(box.x0, top, box.x1, min(top + _STRIP_ROWS, box.y1)))
            # A copy of the few pixels, not a view, which would keep the whole strip.
            yield strip[::step, ::step].copy()

    def _expand(self, box: Box, step: int) -> Iterator[NDArray[np.uint8]]:
        """The same, of a box of full width, from the small copy."""
        if self._small is None:
            whole = Box(0, 0, *self._label.size_gr)
            small = self._read(whole, 1 << _HELD_LEVEL)
            self._small = [zlib.compress(strip.tobytes(), 1) for strip in small]
        width, more = level_size(self._label.size_gr, _HELD_LEVEL)[0], step >> _HELD_LEVEL
        rows = max(step, _STRIP_ROWS)
        for top in range(box.y0, box.y1, rows):
            strip = np.frombuffer(zlib.decompress(self._small[top // _STRIP_ROWS]), np.uint8)
            yield strip.reshape(-1, width)[::more, ::more].copy()
