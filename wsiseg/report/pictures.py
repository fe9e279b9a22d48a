"""Pictures of a report: the slide with its outlines, and examples beside their truth."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely import MultiPolygon, Polygon

from wsiseg.annotation import classify, read_annotations
from wsiseg.classes import ClassSchema
from wsiseg.draw import draw_outlines
from wsiseg.geometry import Box
from wsiseg.objects import match_by_iou
from wsiseg.report.page import data_uri
from wsiseg.slide import Slide

Shape = tuple[Polygon | MultiPolygon, str]
"""An outline in level-0 pixels and its class."""

_OVERVIEW_PX = 1400
_EXAMPLE_PX = 520
_MARGIN = 0.12


@dataclass(frozen=True)
class Example:
    """A place of the slide, three times.

    Attributes:
        title: What it shows.
        image: Data URI of the plain image; so the next two, with outlines.
        truth: With the annotations.
        prediction: With what was predicted.
    """

    title: str
    image: str
    truth: str
    prediction: str


def read_shapes(path: Path, slide: Slide, schema: ClassSchema) -> list[Shape]:
    """The objects of an annotation file, containers first.

    Raises:
        AnnotationError: The file cannot be read, or has an unknown class.
    """
    file = read_annotations(path, origin_l0=slide.origin_qupath)
    ranks = schema.paint_ranks()
    objects = sorted(classify(file.annotations, schema).objects, key=lambda item: ranks[item[1]])
    return [(annotation.polygon, name) for annotation, name in objects if ranks[name]]


def overview(slide: Slide, shapes: Sequence[Shape], schema: ClassSchema) -> str:
    """The whole slide with outlines, as a data URI."""
    thumbnail, _ = slide.thumbnail(_OVERVIEW_PX)
    return jpeg_uri(_outlined(thumbnail, Box(0, 0, *slide.size_l0), shapes, schema, width=2))


def examples(
    slide: Slide, truth: Sequence[Shape], prediction: Sequence[Shape], schema: ClassSchema
) -> list[Example]:
    """The best, the middling and the worst of the largest kind of object, by the IoU of its outline.

    Taken are the true objects of the first class that is in no other; one that was not found has IoU 0 and
    is the worst.

    Raises:
        SlideReadError: A part of the slide cannot be decoded.
    """
    kind = next((name for name in schema.paint_order() if any(name == own for _, own in truth)), None)
    true = [shape for shape, name in truth if name == kind]
    found = [shape for shape, name in prediction if name == kind]
    if not true:
        return []
    matching = match_by_iou(true, found, threshold=1e-6)
    iou = np.zeros(len(true))
    iou[matching.pairs[:, 0]] = matching.quality
    order = np.argsort(-iou, kind="stable")
    ranks = {"best": 0, "middle": len(true) // 2, "worst": len(true) - 1}
    chosen = {int(order[rank]): title for title, rank in ranks.items()}
    return [
        _example(f"{title} {kind} (IoU {iou[index]:.2f})", slide, true[index], (truth, prediction), schema)
        for index, title in chosen.items()
    ]


def _example(
    title: str,
    slide: Slide,
    shape: Polygon | MultiPolygon,
    sides: tuple[Sequence[Shape], Sequence[Shape]],
    schema: ClassSchema,
) -> Example:
    box_l0 = _around(shape)
    scale = _EXAMPLE_PX / box_l0.width
    image = slide.read(box_l0, (_EXAMPLE_PX, round(box_l0.height * scale)))
    truth, prediction = (jpeg_uri(_outlined(image, box_l0, side, schema, width=2)) for side in sides)
    return Example(title, jpeg_uri(image), truth, prediction)


def _around(shape: Polygon | MultiPolygon) -> Box:
    """A square box around a shape, with a margin."""
    x0, y0, x1, y1 = shape.bounds
    side = max(x1 - x0, y1 - y0) * (1 + 2 * _MARGIN)
    x, y = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    return Box.from_size(round(x), round(y), round(side), round(side))


def _outlined(
    image: NDArray[np.uint8], box_l0: Box, shapes: Sequence[Shape], schema: ClassSchema, width: int
) -> NDArray[np.uint8]:
    window = shapely.box(box_l0.x0, box_l0.y0, box_l0.x1, box_l0.y1)
    near = [(shape, name) for shape, name in shapes if shape.intersects(window)]
    scale = np.array([image.shape[1] / box_l0.width, image.shape[0] / box_l0.height])
    corner = np.array([box_l0.x0, box_l0.y0])
    moved = [shapely.transform(shape, lambda points: (points - corner) * scale) for shape, _ in near]
    colors = [schema[name].color for _, name in near]
    return draw_outlines(image, list(zip(moved, colors, strict=True)), width=width)


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """A picture as a data URI, JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=88, subsampling=0)
    return data_uri(buffer.getvalue(), "jpeg")


def file_uri(path: Path, *, shrink: bool = False) -> str | None:
    """A PNG file as a data URI; None where there is no such file.

    Args:
        path: The file.
        shrink: Turn it into a JPEG, which is smaller for pictures and blurs drawings a little.
    """
    if not path.is_file():
        return None
    if shrink:
        with Image.open(path) as picture:
            return jpeg_uri(np.asarray(picture.convert("RGB")))
    return data_uri(path.read_bytes())
