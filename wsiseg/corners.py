"""Where the outlines of a mask have their corners, on the lattice between its pixels.

See ``wsiseg.trace``, which joins them to rings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]

TL, TR, BL, BR = 1, 2, 4, 8
"""Bits of a corner's code: which of the four pixels around it are set (top left ... bottom right)."""


@dataclass(frozen=True, slots=True)
class Corners:
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

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: NDArray[np.int64]) -> Self:
        """Some of them, by index."""
        return type(self)(self.x[index], self.y[index], self.code[index], self.entry[index])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of several blocks of rows, from top to bottom."""
        if not parts:
            nothing = np.zeros(0, dtype=np.int32)
            return cls(nothing, nothing, nothing.astype(np.uint8), nothing)
        return cls(
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.code for part in parts]),
            np.concatenate([part.entry for part in parts]),
        )


def find_corners(above: Bools, block: Bools, row: int) -> Corners:
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
    for bit, dy, dx in ((TL, 0, 0), (TR, 0, 1), (BL, 1, 0), (BR, 1, 1)):
        code[padded[y + dy, x + dx]] |= bit
    entry = np.full(len(flat), -1, dtype=np.int32)
    begins = (code & (TR | BL | BR)) == (TR | BL)
    if begins.any():
        edges = np.flatnonzero(upright[1:])
        entry[begins] = edges[np.searchsorted(edges, flat[begins]) - 1] % (width + 1)
    return _split_meetings(Corners(x, y + np.int32(row), code, entry))


def _split_meetings(corners: Corners) -> Corners:
    """Make two corners of every point at which two areas meet; a hole can begin only at the second."""
    meets = is_meeting(corners.code)
    if not meets.any():
        return corners
    times = 1 + meets.astype(np.int8)
    return Corners(
        np.repeat(corners.x, times),
        np.repeat(corners.y, times),
        np.repeat(corners.code, times),
        np.repeat(corners.entry, times),
    )


def is_meeting(code: NDArray[np.uint8]) -> Bools:
    """Whether corners of these codes lie where two areas meet at a point only."""
    return np.asarray((code == (TL | BR)) | (code == (TR | BL)))
