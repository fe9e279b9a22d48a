"""The picture that ``wsiseg tile`` leaves of each slide: tissue, tiles, labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.files import atomic_path
from wsiseg.geometry import Box, GridFrame
from wsiseg.tissuemap import Overview, TissueMap

TISSUE_COLOR = (0, 110, 60)
UNLABELLED_COLOR = (60, 110, 200)
LABELLED_COLOR = (240, 120, 0)
UNREADABLE_COLOR = (220, 0, 0)


def draw_overview(
    overview: Overview,
    tissue: TissueMap,
    frame: GridFrame,
    boxes_gr: Sequence[Box],
    *,
    labelled: NDArray[np.bool_],
    readable: NDArray[np.bool_],
    label: NDArray[np.uint8] | None,
    palette: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Draw the tissue's outline (green), the tiles taken, and the annotations in their classes' colours.

    Tiles are blue, labelled ones orange, unreadable ones red.

    Args:
        overview: The slide.
        tissue: Its tissue.
        frame: The frame of the boxes.
        boxes_gr: The tiles that were taken.
        labelled: bool ``(n,)``.
        readable: bool ``(n,)``.
        label: Label map in the frame of the picture, uint8 ``(h, w)``; None where nothing is labelled.
        palette: Colours ``(256, 3)`` by label.

    Returns:
        uint8 ``(h, w, 3)``, of the overview's size.
    """
    drawn = overview.rgb.copy()
    outline_palette = np.array([TISSUE_COLOR, TISSUE_COLOR], dtype=np.uint8)
    _draw_borders(drawn, _fitted(tissue.mask, overview.box), outline_palette)
    # Neighbours share an edge: the kind that matters more is drawn later and keeps it.
    for color, chosen in (
        (UNLABELLED_COLOR, readable & ~labelled),
        (LABELLED_COLOR, readable & labelled),
        (UNREADABLE_COLOR, ~readable),
    ):
        for i in np.flatnonzero(chosen):
            _draw_box(drawn, _in_picture(boxes_gr[int(i)], frame, overview), color)
    if label is not None:
        _draw_borders(drawn, label, palette)
    return drawn


def save_png(rgb: NDArray[np.uint8], target: Path) -> None:
    """Write a picture.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    with atomic_path(target) as partial:
        # Level 1 makes a file a sixth larger in a quarter of the time.
        Image.fromarray(rgb).save(partial, format="PNG", compress_level=1)


def _fitted(mask: NDArray[np.bool_], box: Box) -> NDArray[np.uint8]:
    """A mask at the size of the picture, as a label map of 0 and 1."""
    rows = np.arange(box.height) * mask.shape[0] // box.height
    columns = np.arange(box.width) * mask.shape[1] // box.width
    fitted: NDArray[np.uint8] = mask[rows[:, None], columns[None, :]].astype(np.uint8)
    return fitted


def _draw_borders(drawn: NDArray[np.uint8], label: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Colour both sides of each border of a label map; as quick for 50,000 nuclei as for one."""
    for axis in (0, 1):
        lines, picture = np.swapaxes(label, 0, axis), np.swapaxes(drawn, 0, axis)
        border = lines[:-1] != lines[1:]
        color = palette[np.maximum(lines[:-1], lines[1:])[border]]
        picture[:-1][border] = color
        picture[1:][border] = color


def _draw_box(drawn: NDArray[np.uint8], box: Box, color: tuple[int, int, int]) -> None:
    """Colour the outermost pixels of a box."""
    rows, columns = box.slices()
    for edge in (rows.start, rows.stop - 1):
        drawn[edge, columns] = color
    for edge in (columns.start, columns.stop - 1):
        drawn[rows, edge] = color


def _in_picture(box: Box, frame: GridFrame, overview: Overview) -> Box:
    """The part of a tile that the picture shows, at least one pixel."""
    factor = np.divide(frame.downsample, overview.downsample)
    x0, y0, x1, y1 = np.rint(np.multiply((box.x0, box.y0, box.x1, box.y1), np.tile(factor, 2))).astype(int)
    width, height = overview.box.size
    x0, y0 = min(int(x0), width - 1), min(int(y0), height - 1)
    return Box(x0, y0, max(x0 + 1, min(int(x1), width)), max(y0 + 1, min(int(y1), height)))
