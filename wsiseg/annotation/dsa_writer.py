"""Annotation documents for the Digital Slide Archive: a list of documents, one a class."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
from shapely import Polygon

from wsiseg.annotation.model import Annotation, Polygonal, origin_text
from wsiseg.annotation.repair import parts_of
from wsiseg.annotation.writing import ClassNames, ClassSpool, WriteReport, gridded, one_line
from wsiseg.classes import ClassSchema
from wsiseg.files import atomic_path

DECIMALS = 2

UNCLASSIFIED = "unclassified"
"""Name of the document for objects without a class: DSA takes no empty name."""

_FILL_ALPHA = 0.3
_LINE_WIDTH = 2


def write_dsa(
    path: Path | str,
    objects: Iterable[Annotation],
    schema: ClassSchema,
    *,
    slide_id: str,
    origin_l0: tuple[float, float] = (0, 0),
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write a list of documents, one a class, of closed polylines with holes; same objects, same bytes.

    HistomicsUI grows slow beyond some ten thousand elements, so classes can be shown one by one.

    Args:
        path: The file.
        objects: Any iterable; kept on disk class by class, since a document is one piece.
        schema: Gives names and colours to the classes that it knows.
        slide_id: What identifies the slide; part of every element's id.
        origin_l0: The viewer's origin (large_image crops as QuPath does), taken off every coordinate.
        metadata: Texts kept under ``attributes.wsiseg`` of every document.

    Raises:
        OutputError: The file cannot be written.
    """
    with ClassSpool() as spool:
        writer = _Writer(ClassNames(schema), spool, slide_id, origin_l0)
        for annotation, polygon in gridded(objects, writer.names, DECIMALS, origin=origin_l0):
            writer.add(annotation, polygon)
        with atomic_path(Path(path)) as partial, partial.open("wb") as stream:
            writer.write(stream, metadata or {})
    return writer.report


@dataclass
class _Writer:
    names: ClassNames
    spool: ClassSpool
    slide_id: str
    origin_l0: tuple[float, float]
    report: WriteReport = field(default_factory=WriteReport)

    def __post_init__(self) -> None:
        self._colors: dict[str, tuple[int, int, int]] = {}

    def add(self, annotation: Annotation, polygon: Polygonal | None) -> None:
        """Put the elements of one object into the document of its class."""
        if polygon is None:
            self.report.lose("objects smaller than 0.01 px")
            return
        name = self.names.name(annotation)
        document = name or UNCLASSIFIED
        self._colors.setdefault(document, self.names.color(annotation))
        parts = parts_of(polygon)
        self.report.count_parts(annotation, name, parts, becomes="an element", measurements=True)
        if annotation.class_name is None:
            self.report.lose(f"having no class (written as {UNCLASSIFIED})")
        for part in parts:
            number = self.spool.next_number(document)
            separator = b"\n" if number == 1 else b",\n"
            element = self._element(annotation, document, part, number)
            self.spool.add(document, separator + orjson.dumps(element))

    def _element(self, annotation: Annotation, document: str, part: Polygon, number: int) -> dict[str, Any]:
        red, green, blue = self._colors[document]
        element: dict[str, Any] = {
            "type": "polyline",
            "id": element_id(self.slide_id, document, number),
            "group": document,
            "label": {"value": one_line(annotation.name or "") or document},
            "lineColor": f"rgb({red},{green},{blue})",
            "lineWidth": _LINE_WIDTH,
            "fillColor": f"rgba({red},{green},{blue},{_FILL_ALPHA})",
            "closed": True,
            "points": _points(part.exterior.coords),
        }
        if part.interiors:
            element["holes"] = [_points(hole.coords) for hole in part.interiors]
        numbers = {
            one_line(key): float(value)
            for key, value in annotation.measurements.items()
            if math.isfinite(value)
        }
        if numbers:
            element["user"] = numbers
        return element

    def write(self, stream: IO[bytes], metadata: Mapping[str, str]) -> None:
        """The list of documents, in paint order."""
        note = {key: str(value) for key, value in metadata.items()}
        if self.origin_l0 != (0, 0):
            note["origin"] = origin_text(self.origin_l0)
        attributes = {"wsiseg": note}
        stream.write(b"[")
        separator = b"\n"
        for document in self.names.ordered(self.spool.names()):
            head = orjson.dumps({"name": document, "description": "", "attributes": attributes})
            stream.write(separator + head[:-1] + b',"elements":[')
            stream.writelines(self.spool.blocks(document))
            stream.write(b"\n]}")
            separator = b",\n"
        stream.write(b"\n]\n")


def element_id(slide_id: str, document: str, number: int) -> str:
    """24 lower-case hex digits, as DSA demands; the same for the same element."""
    return hashlib.sha256("\x1f".join((slide_id, document, str(number))).encode()).hexdigest()[:24]


def _points(ring: Any) -> list[list[float]]:
    """Open rings of positions with z, which DSA demands."""
    return [[x, y, 0] for x, y in list(ring)[:-1]]
