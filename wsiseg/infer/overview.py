"""A picture of the whole slide with the outlines of its objects and a legend."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wsiseg.classes import ClassSchema
from wsiseg.infer.objects import ObjectTable
from wsiseg.trace import Polygons

_ROW_PX = 28
_BOX_PX = 16
_FONT_PX = 15
_MARGIN_PX = 12


def write_overview(
    path: Path, rgb: NDArray[np.uint8], downsample: tuple[float, float], table: ObjectTable
) -> None:
    """Write a PNG.

    Args:
        path: Where.
        rgb: The slide, small: uint8 ``(h, w, 3)``.
        downsample: Level-0 pixels that one of its pixels measures, (x, y).
        table: The objects, drawn containers first.
    """
    picture = rgb.copy()
    if len(table):
        small = shapely.transform(table.polygons_l0, lambda points: points / downsample)
        colors = np.array([table.schema.classes[index].color for index in table.class_index], dtype=np.uint8)
        for tissue_class in table.schema.paint_order():
            mine = table.class_index == table.schema.index(tissue_class)
            draw_small_outlines(picture, small[mine], colors[mine], _line_width(rgb.shape))
    labels = [f"{name.replace('_', ' ')} ({count})" for name, count in table.counts.items()]
    legend = draw_legend(picture.shape[1], table.schema, labels)
    Image.fromarray(np.concatenate([picture, legend])).save(path, format="PNG", compress_level=6)


def draw_small_outlines(
    rgb: NDArray[np.uint8], polygons: Polygons, colors: NDArray[np.uint8], width: int
) -> None:
    """Draw outlines into a picture, fast enough for a hundred thousand nuclei of a pixel or two.

    A square of ``width`` pixels is set at points half a pixel apart along every outline.

    Args:
        rgb: ``(h, w, 3)`` uint8, changed.
        polygons: In pixels of the picture.
        colors: Of each polygon, uint8 ``(n, 3)``.
        width: In pixels.
    """
    # What is closer than half a pixel does not show.
    lines = shapely.segmentize(shapely.boundary(shapely.simplify(polygons, 0.5)), 0.5)
    points, owner = shapely.get_coordinates(lines, return_index=True)
    corner = np.floor(points - (width - 1) / 2).astype(np.int64)
    for dy in range(width):
        for dx in range(width):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < rgb.shape[1]) & (y < rgb.shape[0])
            rgb[y[inside], x[inside]] = colors[owner[inside]]


def draw_legend(width: int, schema: ClassSchema, labels: Sequence[str]) -> NDArray[np.uint8]:
    """A white strip with a box in the colour of each foreground class and its label: ``(h, width, 3)``."""
    font = ImageFont.load_default(_FONT_PX)
    places, x, y = [], _MARGIN_PX, _MARGIN_PX
    for label in labels:
        needed = _BOX_PX + 8 + int(font.getlength(label)) + 24
        if x + needed > width and x > _MARGIN_PX:
            x, y = _MARGIN_PX, y + _ROW_PX
        places.append((x, y))
        x += needed
    strip = Image.new("RGB", (width, y + _ROW_PX), "white")
    draw = ImageDraw.Draw(strip)
    for (left, top), label, tissue_class in zip(places, labels, schema.foreground, strict=True):
        draw.rectangle((left, top, left + _BOX_PX, top + _BOX_PX), fill=tissue_class.color, outline="black")
        draw.text((left + _BOX_PX + 8, top - 1), label, fill="black", font=font)
    return np.asarray(strip)


def _line_width(shape: tuple[int, ...]) -> int:
    return 2 if max(shape[:2]) >= 1024 else 1
