"""Outlines and fills drawn on pictures: arrays and polygons in, an array out; and the picture written.

Everything here is in the frame of the picture: pixel [row, column] covers ``[column, column + 1) x
[row, row + 1)``, the rule of every frame of the program (see ``wsiseg.geometry``).
"""

from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.files import atomic_path
from wsiseg.geometry import Box
from wsiseg.raster import ShapePainter

Color = tuple[int, int, int]
"""Red, green, blue, 0-255."""

Outline = tuple[Polygon | MultiPolygon, Color]
"""A shape in picture pixels and the colour to draw it in."""


def draw_outlines(rgb: NDArray[np.uint8], outlines: Sequence[Outline], width: int = 2) -> NDArray[np.uint8]:
    """Draw the outlines of polygons, holes included, over a picture.

    A pixel takes the colour where its centre lies within half a width of the outline: the line has its
    middle on the outline itself, at any thickness and in every direction.

    Args:
        rgb: ``(h, w, 3)`` uint8; left as it is.
        outlines: Shapes in picture pixels with their colours, later ones on top, of at most 255 colours.
            Parts outside the picture are cut off.
        width: Thickness of the line, in pixels.

    Returns:
        A new ``(h, w, 3)`` uint8 array.
    """
    height, columns = rgb.shape[:2]
    colors = list(dict.fromkeys(color for _, color in outlines))
    lines = shapely.boundary(np.array([shape for shape, _ in outlines], dtype=object))
    strokes = shapely.buffer(lines, width / 2, quad_segs=2)
    values = [colors.index(color) + 1 for _, color in outlines]
    drawn = ShapePainter(list(zip(strokes, values, strict=True))).paint(Box(0, 0, columns, height))
    palette = np.array([(0, 0, 0), *colors], dtype=np.uint8)
    return np.where((drawn > 0)[:, :, None], palette[drawn], rgb)


def draw_small_outlines(
    rgb: NDArray[np.uint8], polygons: NDArray[np.object_], color: Color, width: int
) -> None:
    """Draw outlines into a picture, fast enough for a hundred thousand nuclei of a pixel or two.

    A square of ``width`` pixels is set at points half a pixel apart along every outline; for lines that
    are to be exact see ``draw_outlines``.

    Args:
        rgb: ``(h, w, 3)`` uint8, changed.
        polygons: In pixels of the picture. Parts outside of it are cut off.
        color: Of the lines.
        width: In pixels.
    """
    # What is closer than half a pixel does not show.
    lines = shapely.segmentize(shapely.boundary(shapely.simplify(polygons, 0.5)), 0.5)
    corner = np.floor(shapely.get_coordinates(lines) - (width - 1) / 2).astype(np.int64)
    for dy in range(width):
        for dx in range(width):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < rgb.shape[1]) & (y < rgb.shape[0])
            rgb[y[inside], x[inside]] = color


def save_png(target: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a picture: uint8 ``(h, w, 3)``.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    with atomic_path(target) as partial:
        # A file a fifth larger than with the usual settings, in a tenth of the time.
        partial.write_bytes(
            imagecodecs.png_encode(
                rgb, level=1, strategy=imagecodecs.PNG.STRATEGY.RLE, filter=imagecodecs.PNG.FILTER.SUB
            )
        )
