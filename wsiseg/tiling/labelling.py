"""From the annotations of a slide to the label map of any box of its grid."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.annotation import Annotation, Classified, in_paint_order
from wsiseg.classes import IGNORE_INDEX, ClassSchema
from wsiseg.geometry import Box, GridFrame
from wsiseg.raster import Painter, RowPainter, Shape, ShapePainter

LabelledBy = Literal["nothing", "regions", "slide", "tiles"]
"""What makes a pixel labelled: a region drawn around it, being on the slide, its tile holding an object."""

_DOT_PX = 2.0
"""Smaller objects have no outline in a picture."""


def choose_mode(classified: Classified, wanted: Literal["auto", "regions", "slide", "tiles"]) -> LabelledBy:
    """What ``auto`` means for these annotations: regions where there are any, else the whole slide.

    A file without a single object or region says nothing about the slide, so ``auto`` takes the slide as
    unlabelled; that a slide is all background has to be said with ``annotations.labelled: slide``.
    """
    if wanted != "auto":
        return wanted
    if classified.regions:
        return "regions"
    return "slide" if classified.objects else "nothing"


class Labeller:
    """Label maps of one slide.

    Classes are painted containers first (``in_paint_order``), so the inner class wins, and background drawn
    in an object is a hole; areas of the ignore class are painted over everything. Outside the labelled
    area, and off the slide, the label is ``IGNORE_INDEX``. Threads may share one.

    Args:
        classified: The annotations, in level-0 coordinates.
        schema: Gives indices and paint order.
        frame: The grid frame in which labels are asked for.
        mode: What makes a pixel labelled.
    """

    def __init__(
        self, classified: Classified, schema: ClassSchema, frame: GridFrame, mode: LabelledBy
    ) -> None:
        self.mode = mode
        self._frame = frame
        self._objects: Painter = ShapePainter(_objects(classified, schema, frame))
        self._ignored: Painter = ShapePainter(_shapes(classified.ignored, frame, 1))
        self._regions: Painter = ShapePainter(_shapes(classified.regions, frame, 1))

    def expect(self, boxes_gr: Sequence[Box], workers: int) -> None:
        """Say which boxes will be asked for, row by row, so that a row is painted at once; none has to be.

        Args:
            boxes_gr: The boxes.
            workers: Threads that go through them, each in rows of its own.
        """
        self._objects, self._ignored, self._regions = (
            RowPainter(painter, boxes_gr, workers) if len(painter) else painter
            for painter in (self._objects, self._ignored, self._regions)
        )

    def annotated(self, boxes_gr: Sequence[Box]) -> NDArray[np.bool_]:
        """Which boxes an object or a region reaches into, bool ``(n,)``."""
        return self._objects.touching(boxes_gr) | self._regions.touching(boxes_gr)

    def label(self, box_gr: Box) -> NDArray[np.uint8] | None:
        """The label map of a box, uint8 ``(height, width)``, or None where nothing in it is labelled."""
        if self.mode == "nothing" or (self.mode == "tiles" and not self._objects.touching([box_gr])[0]):
            return None
        labelled = self._labelled_area(box_gr)
        if labelled is not None and not labelled.any():
            return None
        label = self._objects.paint(box_gr)
        if labelled is not None:
            label[~labelled] = IGNORE_INDEX
        return label

    def _labelled_area(self, box_gr: Box) -> NDArray[np.bool_] | None:
        """Which pixels of a box are labelled; None where all are, which is most often so."""
        on_slide = box_gr.intersection(self._frame.box_gr)
        if on_slide == box_gr and self.mode != "regions" and not len(self._ignored):
            return None
        labelled = np.zeros((box_gr.height, box_gr.width), dtype=bool)
        labelled[on_slide.slices((box_gr.x0, box_gr.y0))] = True
        if self.mode == "regions":
            labelled &= self._regions.paint(box_gr) > 0
        if len(self._ignored):
            labelled &= self._ignored.paint(box_gr) == 0
        return labelled


@dataclass(frozen=True)
class Sketch:
    """What is annotated, in the pixels of a small picture.

    Attributes:
        label: Label map of all that is large enough to have an outline there, uint8 ``(h, w)``; None where
            nothing is labelled.
        rows: Where the middles of smaller objects lie, int64 ``(n,)``.
        columns: The same.
        values: Their labels, uint8 ``(n,)``.
    """

    label: NDArray[np.uint8] | None
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.uint8]


def sketch(
    classified: Classified, schema: ClassSchema, frame: GridFrame, mode: LabelledBy, box: Box
) -> Sketch:
    """Annotations for a picture of the slide: nuclei that measure a pixel or two are dots in it.

    Args:
        classified: The annotations, in level-0 coordinates.
        schema: Gives indices and paint order.
        frame: The frame of the picture.
        mode: What makes a pixel labelled; dots elsewhere are left out.
        box: The whole picture.
    """
    corners = shapely.bounds(_array([annotation.polygon for annotation, _ in classified.objects]))
    corners = corners.reshape(-1, 4) / np.tile(frame.downsample, 2)
    small = (corners[:, 2:] - corners[:, :2]).max(axis=1, initial=0) < _DOT_PX
    large = [classified.objects[i] for i in np.flatnonzero(~small).tolist()]
    label = Labeller(replace(classified, objects=large), schema, frame, mode).label(box)
    middle = ((corners[small, :2] + corners[small, 2:]) / 2).astype(np.int64)
    columns, rows = np.clip(middle, 0, np.array(box.size) - 1).T
    indices = {name: schema.index(name) for name in schema.names}
    values = np.array([indices[name] for _, name in classified.objects], dtype=np.uint8)[small]
    # Where nothing large is labelled, a tile that holds nothing but dots may be.
    hidden = label is None and mode != "tiles"
    shown = ~np.full(len(rows), hidden) if label is None else label[rows, columns] != IGNORE_INDEX
    return Sketch(label, rows[shown], columns[shown], values[shown])


def count_classes(classified: Classified) -> dict[str, int]:
    """How many objects there are of each class, then regions and ignored areas, where there are any."""
    counts = dict(sorted(Counter(name for _, name in classified.objects).items()))
    extra = {"regions": len(classified.regions), "ignored": len(classified.ignored)}
    return counts | {name: count for name, count in extra.items() if count}


def _objects(classified: Classified, schema: ClassSchema, frame: GridFrame) -> list[Shape]:
    shapes = in_paint_order(classified.objects, schema)
    polygons = _to_grid([outline for outline, _ in shapes], frame)
    return [(polygon, value) for polygon, (_, value) in zip(polygons, shapes, strict=True)]


def _shapes(annotations: Sequence[Annotation], frame: GridFrame, value: int) -> list[Shape]:
    outlines = [annotation.polygon for annotation in annotations]
    return [(polygon, value) for polygon in _to_grid(outlines, frame)]


def _to_grid(outlines: Sequence[Polygon | MultiPolygon], frame: GridFrame) -> NDArray[np.object_]:
    if frame.downsample == (1.0, 1.0):
        return _array(outlines)
    moved: NDArray[np.object_] = shapely.transform(_array(outlines), frame.points_to_gr)
    return moved


def _array(outlines: Sequence[Polygon | MultiPolygon]) -> NDArray[np.object_]:
    return np.fromiter(outlines, dtype=object, count=len(outlines))
