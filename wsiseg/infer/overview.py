"""A picture of the whole slide with the outlines of its objects and a legend."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wsiseg.classes import ClassSchema
from wsiseg.draw import draw_small_outlines, save_png
from wsiseg.infer.objects import ObjectTable

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
    for name in table.schema.paint_order():
        for polygons_l0 in table.polygons_l0(name):
            small = shapely.transform(polygons_l0, lambda points: np.divide(points, downsample))
            draw_small_outlines(picture, small, table.schema[name].color, _line_width(rgb.shape))
    labels = [f"{name.replace('_', ' ')} ({count})" for name, count in table.counts.items()]
    legend = draw_legend(picture.shape[1], table.schema, labels)
    save_png(path, np.concatenate([picture, legend]))


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
