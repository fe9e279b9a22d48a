"""QuPath GeoJSON that every QuPath opens, 0.6 and later too: written feature by feature."""

import gzip
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import orjson
import shapely

from wsiseg.annotation.model import ORIGIN_KEY, Annotation, ObjectKind, Polygonal, origin_text
from wsiseg.annotation.repair import all_on_grid
from wsiseg.annotation.writing import ClassNames, WriteReport, batches, known_uuid, object_uuid, one_line
from wsiseg.classes import ClassSchema
from wsiseg.files import atomic_path

DECIMALS = 2
"""QuPath works on a grid of 0.01 px from 0.6 on, and writes at most two decimals itself."""

MOST_ANNOTATIONS = 5000
"""Above this many objects, ``auto`` makes detections: QuPath draws them far faster, and cannot edit them."""


def write_qupath(
    path: Path | str,
    objects: Iterable[Annotation],
    schema: ClassSchema,
    *,
    slide_id: str,
    origin_l0: tuple[float, float] = (0, 0),
    metadata: Mapping[str, str] | None = None,
    kind: Literal["annotation", "detection", "auto"] = "auto",
    run: str = "",
    locked: bool = False,
    most_annotations: int = MOST_ANNOTATIONS,
    count: int | None = None,
) -> WriteReport:
    """Write a FeatureCollection; the same objects give the same bytes.

    Coordinates are rounded to 0.01 px first and then made valid on that grid, since QuPath 0.6 and later
    refuse a whole file for one invalid outline. Outlines that vanish on the grid are left out and counted.

    Args:
        path: Gzipped where it ends in ``.gz``.
        objects: Any iterable; never held in memory as a whole.
        schema: Gives names and colours to the classes that it knows.
        slide_id: What identifies the slide (``Slide.fingerprint``); part of every object's id.
        origin_l0: The viewer's origin (``Slide.origin_qupath``), taken off every coordinate and recorded.
        metadata: Texts written with every object, such as the run and the model.
        kind: ``auto`` writes annotations up to ``most_annotations`` objects; above it, objects of the
            schema's nucleus classes (of all classes where it has none) become detections. An object that
            was read as a detection stays one.
        run: Part of the ids, to tell two predictions of one slide apart.
        locked: Write annotations locked against accidental editing.
        most_annotations: See ``kind``.
        count: How many objects there are, for who knows; otherwise ``auto`` holds ``most_annotations`` of
            them to find out.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    shared = {one_line(key): one_line(str(value)) for key, value in (metadata or {}).items()}
    if tuple(origin_l0) != (0, 0):
        shared[ORIGIN_KEY] = origin_text(origin_l0)
    kinds, objects = _kinds(objects, schema, kind, most_annotations, count)
    features = _Features(schema, slide_id, run, shared, kinds, locked)
    with atomic_path(path) as partial, open_for(partial, zipped=path.suffix == ".gz") as stream:
        stream.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for batch in batches(objects):
            for feature in features.of(batch, origin_l0):
                stream.write(separator)
                stream.write(feature)
                separator = b",\n"
        stream.write(b"\n]}\n")
    return features.report


class SupportsWrite(Protocol):
    """A binary stream, zipped or not."""

    def write(self, data: bytes, /) -> int:
        """Append bytes."""


@contextmanager
def open_for(path: Path, *, zipped: bool) -> Iterator[SupportsWrite]:
    """A file to write, gzipped without name and time stamp so that the same content gives the same bytes."""
    with path.open("wb") as raw:
        if not zipped:
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as stream:
            yield stream


def zip_if_large(path: Path, limit: int) -> Path:
    """Gzip a file of more than ``limit`` bytes, and remove the plain one; the same bytes give the same bytes.

    Returns:
        The file that is there: ``path``, or the same with ``.gz``.

    Raises:
        OutputError: The disk is full.
    """
    if path.stat().st_size <= limit:
        return path
    zipped = path.with_name(f"{path.name}.gz")
    with atomic_path(zipped) as partial, open_for(partial, zipped=True) as stream, path.open("rb") as source:
        shutil.copyfileobj(source, stream, 1 << 20)
    path.unlink()
    return zipped


def _kinds(
    objects: Iterable[Annotation], schema: ClassSchema, kind: str, most: int, count: int | None
) -> tuple[Mapping[str | None, ObjectKind], Iterable[Annotation]]:
    """The kind of each class that is not an annotation, and the objects again."""
    every: list[str | None] = [*schema.names, None]
    nuclei: list[str | None] = [c.name for c in schema.foreground if c.nucleus]
    if kind == "detection":
        return dict.fromkeys(every, "detection"), objects
    if kind == "annotation":
        return {}, objects
    if count is None:
        stream = iter(objects)
        first = list(islice(stream, most + 1))
        count, objects = len(first), chain(first, stream)
    return dict.fromkeys(nuclei or every, "detection") if count > most else {}, objects


@dataclass
class _Features:
    """Turns annotations into the bytes of features."""

    schema: ClassSchema
    slide_id: str
    run: str
    metadata: Mapping[str, str]
    kinds: Mapping[str | None, ObjectKind]
    locked: bool
    report: WriteReport = field(default_factory=WriteReport)

    def __post_init__(self) -> None:
        self._names = ClassNames(self.schema)
        self._seen: set[str] = set()
        self._index = 0

    def of(self, batch: Sequence[Annotation], origin_l0: tuple[float, float]) -> Iterator[bytes]:
        """The features of a batch; outlines that vanish on the grid are counted and left out."""
        geometries = _geometries([annotation.polygon for annotation in batch], origin_l0)
        nuclei = _geometries([a.nucleus for a in batch if a.nucleus is not None], origin_l0)
        for annotation, geometry in zip(batch, geometries, strict=True):
            index, self._index = self._index, self._index + 1
            nucleus = None if annotation.nucleus is None else next(nuclei)
            if geometry is None:
                self.report.lose("objects smaller than 0.01 px")
                continue
            if nucleus is None and annotation.nucleus is not None:
                self.report.lose("nuclei of cells smaller than 0.01 px")
            feature = {
                "type": "Feature",
                "id": self._identity(annotation, index),
                "geometry": geometry,
                **({} if nucleus is None else {"nucleusGeometry": nucleus}),
                "properties": self._properties(annotation),
            }
            self.report.count(self._names.name(annotation))
            yield orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY)

    def _identity(self, annotation: Annotation, index: int) -> str:
        name = self._names.name(annotation)
        identity = object_uuid(self.slide_id, annotation, name, self.run, index)
        if identity in self._seen:
            identity = known_uuid(self.slide_id, f"{identity}\x1f{index}")
        self._seen.add(identity)
        return identity

    def _properties(self, annotation: Annotation) -> dict[str, Any]:
        """Members in a fixed order; nothing is ever null, which QuPath would throw at."""
        name = self._names.name(annotation)
        known = self._names.known(name)
        kind = self.kinds.get(name if known is None else known.name, self.kinds.get(None, "annotation"))
        if annotation.kind == "detection":
            kind = "detection"
        properties: dict[str, Any] = {"objectType": kind if annotation.nucleus is None else "cell"}
        if annotation.name and (own := one_line(annotation.name)):
            properties["name"] = own
        if name is not None and (legal := legal_class_name(name)):
            properties["classification"] = {"name": legal, "color": list(self._names.color(annotation))}
        if annotation.locked or (self.locked and kind == "annotation"):
            properties["isLocked"] = True
        measurements = {
            one_line(key): float(value)
            for key, value in annotation.measurements.items()
            if math.isfinite(value)
        }
        if measurements:
            properties["measurements"] = measurements
        metadata = self._metadata(annotation)
        if metadata:
            properties["metadata"] = metadata
        return properties

    def _metadata(self, annotation: Annotation) -> dict[str, str]:
        own = {one_line(key): one_line(value) for key, value in annotation.metadata.items()}
        if annotation.parent:
            own["parent"] = known_uuid(self.slide_id, annotation.parent)
        return {**own, **self.metadata}


def _geometries(
    polygons: Sequence[Polygonal], origin_l0: tuple[float, float]
) -> Iterator[dict[str, Any] | None]:
    """The GeoJSON of each outline on QuPath's grid, or None where nothing is left of it."""
    if not polygons:
        return
    gridded = all_on_grid(polygons, DECIMALS, origin=origin_l0)
    coordinates = _coordinates([polygon for polygon in gridded if polygon is not None])
    for polygon in gridded:
        if polygon is None:
            yield None
            continue
        parts = next(coordinates)
        yield (
            {"type": "Polygon", "coordinates": parts[0]}
            if len(parts) == 1
            else {"type": "MultiPolygon", "coordinates": parts}
        )


def _coordinates(polygons: Sequence[Polygonal]) -> Iterator[list[list[Any]]]:
    """Coordinates of each outline as GeoJSON nests them: parts of rings of positions, holes after shells."""
    if not polygons:
        return
    parts, owner = shapely.get_parts(np.array(polygons, dtype=object), return_index=True)
    _, points, (ring_ends, part_ends) = shapely.to_ragged_array(parts)
    rings = [points[a:b] for a, b in pairwise(ring_ends)]
    nested = [rings[a:b] for a, b in pairwise(part_ends)]
    starts = np.searchsorted(owner, np.arange(len(polygons) + 1))
    for a, b in pairwise(starts):
        yield nested[a:b]


def legal_class_name(name: str) -> str:
    """A class name that QuPath takes: no empty part between the ``:`` of a derived class."""
    return ": ".join(part.strip() for part in one_line(name).split(":") if part.strip())
