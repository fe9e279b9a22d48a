"""A slide at a glance, and which tiles of a grid hold tissue."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wsiseg.config import TissueConfig
from wsiseg.errors import SlideReadError
from wsiseg.geometry import Box, GridFrame, TileGrid
from wsiseg.slide import Slide
from wsiseg.tissue import find_tissue

_BLOCKS = 16
"""A thumbnail that cannot be read whole is read in this many blocks along each axis."""


@dataclass(frozen=True)
class Glance:
    """A slide, small.

    Attributes:
        rgb: uint8 ``(h, w, 3)``; white where the slide cannot be read.
        downsample: Level-0 pixels that one of its pixels measures, (x, y).
        unreadable: bool ``(h, w)``.
    """

    rgb: NDArray[np.uint8]
    downsample: tuple[float, float]
    unreadable: NDArray[np.bool_]


def glance_at(slide: Slide, max_side: int) -> Glance:
    """Read a slide small; a region that cannot be read stays white and is marked."""
    try:
        rgb, downsample = slide.thumbnail(max_side)
    except SlideReadError:
        return _in_blocks(slide, max_side)
    return Glance(rgb, downsample, np.zeros(rgb.shape[:2], dtype=bool))


def tiles_with_tissue(
    slide: Slide, glance: Glance, frame: GridFrame, grid: TileGrid, config: TissueConfig
) -> NDArray[np.bool_]:
    """Which tiles read a pixel of tissue: bool ``(len(grid),)``.

    What could not be seen counts as tissue, so that its tiles are tried and reported.
    """
    mpp = (
        slide.resolution.mpp_x * glance.downsample[0],
        slide.resolution.mpp_y * glance.downsample[1],
    )
    tissue = glance.unreadable | find_tissue(
        glance.rgb, mpp, min_area_um2=config.min_area_um2, max_hole_um2=config.max_hole_um2
    )
    # One pixel of the picture may stand for a part of a tile: what it touches counts.
    touched = np.zeros((tissue.shape[0] + 1, tissue.shape[1] + 1), dtype=np.int64)
    touched[1:, 1:] = tissue.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    wanted = np.zeros(len(grid), dtype=bool)
    for tile in grid:
        box = _under(frame.to_l0(tile.read), glance)
        rows, columns = box.slices()
        wanted[tile.index] = not box.is_empty and bool(
            touched[rows.stop, columns.stop]
            - touched[rows.start, columns.stop]
            - touched[rows.stop, columns.start]
            + touched[rows.start, columns.start]
        )
    return wanted


def _under(box_l0: Box, glance: Glance) -> Box:
    """The pixels of the picture that a level-0 box touches."""
    (dx, dy), (height, width) = glance.downsample, glance.rgb.shape[:2]
    return Box(
        int(box_l0.x0 / dx), int(box_l0.y0 / dy), -int(-box_l0.x1 // dx), -int(-box_l0.y1 // dy)
    ).intersection(Box(0, 0, width, height))


def _in_blocks(slide: Slide, max_side: int) -> Glance:
    width_l0, height_l0 = slide.size_l0
    shrink = max(1.0, max(width_l0, height_l0) / max_side)
    width, height = max(1, round(width_l0 / shrink)), max(1, round(height_l0 / shrink))
    downsample = (width_l0 / width, height_l0 / height)
    glance = Glance(
        np.full((height, width, 3), 255, dtype=np.uint8), downsample, np.zeros((height, width), dtype=bool)
    )
    rows, columns = (
        np.linspace(0, side, min(_BLOCKS, side) + 1).round().astype(int) for side in (height, width)
    )
    for y0, y1 in pairwise(rows):
        for x0, x1 in pairwise(columns):
            box = Box(int(x0), int(y0), int(x1), int(y1))
            box_l0 = Box(
                round(x0 * downsample[0]),
                round(y0 * downsample[1]),
                round(x1 * downsample[0]),
                round(y1 * downsample[1]),
            )
            try:
                glance.rgb[box.slices()] = slide.read(box_l0, box.size)
            except SlideReadError:
                glance.unreadable[box.slices()] = True
    return glance
