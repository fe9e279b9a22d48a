"""The picture that ``wsiseg tile`` leaves of each slide: tissue, tiles, labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box, GridFrame
from wsiseg.tiling.labelling import Sketch
from wsiseg.tissuemap import Overview, TissueMap

TISSUE_COLOR = (0, 110, 60)
UNLABELLED_COLOR = (60, 110, 200)
LABELLED_COLOR = (240, 120, 0)
UNREADABLE_COLOR = (220, 0, 0)
_TILE_COLORS = np.array([(0, 0, 0), UNLABELLED_COLOR, LABELLED_COLOR, UNREADABLE_COLOR], dtype=np.uint8)


def draw_overview(
    overview: Overview,
    tissue: TissueMap,
    frame: GridFrame,
    boxes_gr: Sequence[Box],
    *,
    labelled: NDArray[np.bool_],
    readable: NDArray[np.bool_],
    sketch: Sketch,
    palette: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Draw the tissue's outline (green), the tiles taken, and the annotations in their classes' colours.

    Tiles are blue, labelled ones orange, unreadable ones red.

    Args:
        overview: The slide; it is drawn on, so that there is no second one in memory.
        tissue: Its tissue.
        frame: The frame of the boxes.
        boxes_gr: The tiles that were taken.
        labelled: bool ``(n,)``.
        readable: bool ``(n,)``.
        sketch: What is annotated, in the frame of the picture.
        palette: Colours ``(256, 3)`` by label.

    Returns:
        The picture of the overview.
    """
    drawn = overview.rgb
    outline_palette = np.array([TISSUE_COLOR, TISSUE_COLOR], dtype=np.uint8)
    _draw_borders(drawn, _fitted(tissue.mask, overview.box), outline_palette)
    kinds = np.where(readable, np.where(labelled, 2, 1), 3)
    _draw_boxes(drawn, [_in_picture(box, frame, overview) for box in boxes_gr], kinds)
    if sketch.label is not None:
        _draw_borders(drawn, sketch.label, palette)
    drawn[sketch.rows, sketch.columns] = palette[sketch.values]
    return drawn


def _fitted(mask: NDArray[np.bool_], box: Box) -> NDArray[np.uint8]:
    """A mask at the size of the picture, as a label map of 0 and 1."""
    if mask.shape != (box.height, box.width):
        rows = np.arange(box.height) * mask.shape[0] // box.height
        columns = np.arange(box.width) * mask.shape[1] // box.width
        mask = mask[rows[:, None], columns[None, :]]
    return mask.view(np.uint8)


def _draw_borders(drawn: NDArray[np.uint8], label: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Colour both sides of each border of a label map; as quick for 50,000 nuclei as for one."""
    for axis in (0, 1):
        lines, picture = np.swapaxes(label, 0, axis), np.swapaxes(drawn, 0, axis)
        border = lines[:-1] != lines[1:]
        color = palette[np.maximum(lines[:-1][border], lines[1:][border])]
        picture[:-1][border] = color
        picture[1:][border] = color


def _draw_boxes(drawn: NDArray[np.uint8], boxes: Sequence[Box], kinds: NDArray[np.int64]) -> None:
    """Colour the outermost pixels of boxes; kinds are rows of ``_TILE_COLORS``."""
    edges = np.zeros(drawn.shape[:2], dtype=np.uint8)
    # Neighbours share an edge: the kind that matters more is drawn later and keeps it.
    for i in np.argsort(kinds, kind="stable").tolist():
        rows, columns = boxes[i].slices()
        edges[rows.start, columns] = edges[rows.stop - 1, columns] = kinds[i]
        edges[rows, columns.start] = edges[rows, columns.stop - 1] = kinds[i]
    shown = np.nonzero(edges)
    drawn[shown] = _TILE_COLORS[edges[shown]]


def _in_picture(box: Box, frame: GridFrame, overview: Overview) -> Box:
    """The part of a tile that the picture shows, at least one pixel."""
    across, down = (own / seen for own, seen in zip(frame.downsample, overview.downsample, strict=True))
    width, height = overview.box.size
    x0, y0 = min(round(box.x0 * across), width - 1), min(round(box.y0 * down), height - 1)
    x1, y1 = min(round(box.x1 * across), width), min(round(box.y1 * down), height)
    return Box(x0, y0, max(x0 + 1, x1), max(y0 + 1, y1))
