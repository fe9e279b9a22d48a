"""What is compared: a slide, its truth and its prediction, read and brought into one frame."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.annotation import AnnotationFile, Classified, classify, in_paint_order, read_annotations
from wsiseg.classes import IGNORE_INDEX, ClassSchema
from wsiseg.config import Config
from wsiseg.containers import without_hollow
from wsiseg.errors import AnnotationParseError, ConfigError, SlideOpenError
from wsiseg.geometry import Box, GridFrame
from wsiseg.labelimage import SUFFIXES, LabelImage
from wsiseg.raster import ShapePainter
from wsiseg.slide import Slide
from wsiseg.slide.opening import is_address
from wsiseg.trace import EdgeTracer

RECORD_SUFFIX = ".prediction.json"
"""Follows the slide's stem in the name of the record that ``predict`` writes beside its other files."""

PREDICTED_SUFFIXES = (".geojson", ".geojson.gz", ".xml", ".imagescope.xml", ".dsa.json", ".ome.tiff")
"""Follow the stem in the names of the files that such a record is about: ``a.1.geojson`` may be anyone's."""

_BAND_PX = 512

log = logging.getLogger(__name__)

Shapes = Mapping[str, list[Polygon | MultiPolygon]]
"""Class name -> outlines in level-0 pixels."""


@dataclass(frozen=True)
class Case:
    """One slide, a path or address, with the file that is right and the file that is judged."""

    slide: str | Path
    truth: Path
    prediction: Path


class LabelSource(Protocol):
    """Labels of any part of a slide."""

    def paint(self, box_gr: Box) -> NDArray[np.uint8]:
        """Labels of a box, uint8 ``(h, w)``."""

    def touching(self, boxes_gr: Sequence[Box]) -> NDArray[np.bool_]:
        """Which of the boxes may hold labels other than background, bool ``(n,)``."""


@dataclass(frozen=True)
class Side:
    """Truth or prediction.

    Attributes:
        source: Its labels, in the grid frame.
        shapes: Its objects by class, a container whole.
        regions: Areas that were annotated exhaustively; empty where that is the whole slide.
        ignored: Areas about which nothing is known.
    """

    source: LabelSource
    shapes: Shapes
    regions: list[Polygon | MultiPolygon]
    ignored: list[Polygon | MultiPolygon]


def is_mask(path: Path) -> bool:
    """Whether a prediction is a label mask by its name."""
    return path.suffix.lower() in SUFFIXES


def read_file(path: Path, slide: Slide) -> AnnotationFile:
    """Read annotations into the full plane of a slide; what was mended is logged.

    Raises:
        AnnotationParseError: No such file, or not one of the formats.
    """
    file = read_annotations(path, origin_l0=slide.origin_qupath)
    if file.report.repaired or file.report.dropped:
        log.warning("%s: %s", path, file.report.summary())
    return file


@dataclass(frozen=True)
class Origin:
    """What a prediction was made with, as far as it says.

    Attributes:
        schema: The classes of the model, or None.
        mpp: The um/px that the model worked at, or None.
        model: Fingerprint of the model, or None.
        files: Names of the files of the prediction, or None.
        slide: Name and fingerprint of the slide, or None.
    """

    schema: ClassSchema | None = None
    mpp: float | None = None
    model: str | None = None
    files: tuple[str, ...] | None = None
    slide: tuple[str, str] | None = None


def origin_of(prediction: Path) -> Origin:
    """Look for the record that ``predict`` leaves beside its files: ``slide.prediction.json``.

    Raises:
        AnnotationParseError: There is a record, and it cannot be read.
    """
    stem = prediction.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        record = prediction.parent / f"{stem}{RECORD_SUFFIX}"
        if record.is_file():
            origin = _read_record(record)
            own = prediction.name.removeprefix(stem) in PREDICTED_SUFFIXES
            return origin if own else replace(origin, slide=None)
    return Origin()


def _read_record(record: Path) -> Origin:
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
        model, files, slide = data["model"], data.get("files"), data.get("slide")
        return Origin(
            ClassSchema.from_json(model["classes"]),
            float(model["mpp"]),
            model.get("fingerprint"),
            None if files is None else tuple(files),
            None if slide is None else (slide["name"], slide["fingerprint"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise AnnotationParseError(
            f"{record} is not a record of a prediction",
            found=f"{type(err).__name__}: {err}",
            remedy="Predict again, or remove it and name the classes with --config",
        ) from err


def annotated_side(file: AnnotationFile, schema: ClassSchema, frame: GridFrame, config: Config) -> Side:
    """A side from annotations.

    Containers are painted before what they contain, and ignored areas last, as ``tile`` does.

    Raises:
        UnknownClassError: A class that is not in the schema.
    """
    options = config.annotations
    found = classify(
        file.annotations,
        schema,
        mapping=options.mapping,
        region_prefix=options.region_prefix,
        ignore_class=options.ignore_class,
    )
    return Side(
        source=painter_of(found, schema, frame),
        shapes={
            c.name: [item.polygon for item, name in found.objects if name == c.name]
            for c in schema.foreground
        },
        regions=[item.polygon for item in found.regions],
        ignored=[item.polygon for item in found.ignored],
    )


def painter_of(found: Classified, schema: ClassSchema, frame: GridFrame) -> ShapePainter:
    """Annotations as label maps of the grid frame."""
    shapes = [
        *in_paint_order(found.objects, schema),
        *((item.polygon, IGNORE_INDEX) for item in found.ignored),
    ]
    outlines = to_grid([outline for outline, _ in shapes], frame)
    return ShapePainter([(outline, value) for outline, (_, value) in zip(outlines, shapes, strict=True)])


def to_grid(outlines: Sequence[Polygon | MultiPolygon], frame: GridFrame) -> list[Any]:
    """Outlines from level 0 to the grid frame."""
    moved = shapely.transform(np.array(outlines, dtype=object), frame.points_to_gr)
    return list(np.atleast_1d(moved))


class MaskSource:
    """A label mask as a ``LabelSource``; checks that it fits the slide and the classes."""

    def __init__(self, image: LabelImage, schema: ClassSchema) -> None:
        self._image = image
        self._classes = len(schema)

    def paint(self, box_gr: Box) -> NDArray[np.uint8]:
        """Labels of a box.

        Raises:
            AnnotationParseError: A label that no class has.
        """
        label = self._image.read(box_gr)
        highest = int(label[label != IGNORE_INDEX].max(initial=0))
        if highest >= self._classes:
            raise AnnotationParseError(
                str(self._image.path),
                found=f"label {highest}",
                expected=f"labels of {self._classes} classes",
                remedy="Name the classes of the mask with --config",
            )
        return label

    def touching(self, boxes_gr: Sequence[Box]) -> NDArray[np.bool_]:
        """A mask may hold something anywhere."""
        return np.ones(len(boxes_gr), dtype=bool)


@contextmanager
def mask_side(path: Path, schema: ClassSchema, frame: GridFrame) -> Iterator[Side]:
    """A side from a label mask.

    Objects are the connected areas of each class, a container whole, but for those that ``predict`` would
    not export either (``min_area_um2``); holes as small are filled, as ``predict`` fills them.

    Raises:
        AnnotationParseError: Not a label mask, not of this slide at this resolution, or of other classes.
    """
    with LabelImage(path) as image:
        if image.size_gr != frame.size_gr:
            raise AnnotationParseError(
                f"{path} is not a mask of this slide at {frame.mpp:g} um/px",
                found="{} x {} px".format(*image.size_gr),
                expected="{} x {} px".format(*frame.size_gr),
            )
        if image.class_names not in (None, schema.names):
            raise AnnotationParseError(
                f"{path} has other classes than those that are compared",
                found=", ".join(image.class_names or ()),
                expected=", ".join(schema.names),
                remedy="Name its classes with --config",
            )
        source = MaskSource(image, schema)
        yield Side(source, _traced(source, schema, frame), [], [])


def mask_mpp(path: Path) -> float:
    """The um/px that a mask's OME metadata names.

    Raises:
        ConfigError: It names none.
    """
    with LabelImage(path) as image:
        if image.mpp is None:
            raise ConfigError(f"{path} does not say its um/px", remedy="Give it with --mpp")
        return image.mpp


def _traced(source: LabelSource, schema: ClassSchema, frame: GridFrame) -> Shapes:
    width, height = frame.size_gr
    smallest = {c.name: c.min_area_um2 / frame.pixel_area_um2 for c in schema.foreground}
    tracers = {name: EdgeTracer(width, min_area=area, min_hole=area) for name, area in smallest.items()}
    for y in range(0, height, _BAND_PX):
        band = source.paint(Box(0, y, width, min(height, y + _BAND_PX)))
        for name, tracer in tracers.items():
            tracer.add(schema.whole_mask(band, name))
    traced = without_hollow({name: tracer.polygons() for name, tracer in tracers.items()}, schema)
    return {name: list(shapely.transform(found, frame.points_to_l0)) for name, found in traced.items()}


def check_exists(case: Case) -> None:
    """Look for all three files before any work is done.

    Raises:
        SlideOpenError: There is no such slide.
        AnnotationParseError: There is no such truth or prediction.
    """
    if not is_address(str(case.slide)) and not Path(case.slide).exists():
        raise SlideOpenError(f"no such slide: {case.slide}")
    for role, path in (("truth", case.truth), ("prediction", case.prediction)):
        if path.is_dir():
            zarr = path.name.lower().endswith(".ome.zarr")
            raise AnnotationParseError(
                f"{role} {path}: {'OME-Zarr is not read here' if zarr else 'it is a folder'}",
                remedy="Name the .ome.tiff of the same prediction, or a file of outlines"
                if zarr
                else "Name a file",
            )
        if not path.is_file():
            raise AnnotationParseError(f"no such {role}: {path}")


def check_slide(case: Case) -> None:
    """Make sure that a prediction is of the slide that it is judged on, as far as it says.

    Raises:
        SlideOpenError: The slide cannot be opened.
        AnnotationParseError: There is a record, and it cannot be read.
        ConfigError: It is the prediction of another slide.
    """
    predicted = origin_of(case.prediction).slide
    if predicted is None:
        return
    with Slide.open(case.slide) as slide:
        if slide.fingerprint == predicted[1]:
            return
        again = slide.name == predicted[0]
        raise ConfigError(
            f"{case.prediction} is the prediction of another slide",
            found=f"{predicted[0]}{' with other content' if again else ''}",
            expected=slide.name,
            remedy="Predict this one; or, if it was only saved anew, remove the .prediction.json"
            if again
            else "Give --slide, --truth and --prediction in the same order",
        )
