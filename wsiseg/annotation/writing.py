"""What the four writers share: class colours and names, identifiers, grouping by class, loss counting."""

import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import IO, Self

import numpy as np
import orjson
import shapely
from shapely import Polygon
from shapely.geometry.polygon import LinearRing

from wsiseg.annotation.model import Annotation, Polygonal
from wsiseg.annotation.repair import all_on_grid
from wsiseg.classes import ClassSchema, TissueClass

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsiseg/objects")
"""Namespace of every identifier that wsiseg makes; changing it would double objects on re-import."""

UNCLASSIFIED_COLOR = (128, 128, 128)

_MEMORY_PER_CLASS = 8 << 20
_UUID_LENGTH = 36
_BATCH = 512


@dataclass
class WriteReport:
    """What a writer did.

    Attributes:
        written: Objects in the file, by class name.
        losses: What the format cannot hold, with how many objects that concerns.
    """

    written: dict[str, int] = field(default_factory=dict)
    losses: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Objects in the file."""
        return sum(self.written.values())

    def count(self, class_name: str | None) -> None:
        """Count an object that was written."""
        name = class_name or ""
        self.written[name] = self.written.get(name, 0) + 1

    def count_parts(
        self,
        annotation: Annotation,
        class_name: str | None,
        parts: Sequence[Polygon],
        *,
        becomes: str,
        measurements: bool,
    ) -> None:
        """Count an object, and what is lost where each part becomes an object and only its name is kept.

        Args:
            annotation: The object.
            class_name: As it is written.
            parts: Its polygons.
            becomes: What the format makes of a part, with its article.
            measurements: Whether these are kept.
        """
        self.count(class_name)
        if annotation.measurements and not measurements:
            self.lose("measurements")
        if annotation.metadata:
            self.lose("metadata")
        if annotation.parent:
            self.lose("parent object")
        if annotation.id and annotation.id != annotation.name:
            self.lose("object id")
        if annotation.locked:
            self.lose("lock against editing")
        if annotation.nucleus is not None:
            self.lose("second outline of a cell (of nucleus classes that of the cell, else of the nucleus)")
        if len(parts) > 1:
            self.lose(f"parts of one object (each becomes {becomes})")

    def lose(self, what: str, objects: int = 1) -> None:
        """Count objects that lose something."""
        self.losses[what] = self.losses.get(what, 0) + objects


@dataclass(frozen=True)
class ClassNames:
    """Names and colours of classes as they are written.

    Attributes:
        schema: Gives colours and order to the names and aliases that it knows; names are never changed.
    """

    schema: ClassSchema
    _known: dict[str | None, TissueClass | None] = field(default_factory=dict)

    def name(self, annotation: Annotation) -> str | None:
        """The class name to write: one line, not blank; None for an object without a class."""
        return one_line(annotation.class_name or "") or None

    def known(self, name: str | None) -> TissueClass | None:
        """The schema's class of this name or alias."""
        if name not in self._known:
            self._known[name] = self.schema.find(name) if name else None
        return self._known[name]

    def outline(self, annotation: Annotation) -> Polygonal:
        """The one outline to write where a format knows no cells; see ``Annotation.outline``."""
        if annotation.nucleus is None:
            return annotation.polygon
        known = self.known(self.name(annotation))
        return annotation.outline(nucleus=known is not None and known.nucleus)

    def color(self, annotation: Annotation) -> tuple[int, int, int]:
        """The schema's colour, or the annotation's own, or grey."""
        known = self.known(self.name(annotation))
        return known.color if known is not None else annotation.color or UNCLASSIFIED_COLOR

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Names in paint order: containers before what they contain, strangers last as they came."""
        rank = {name: position for position, name in enumerate(self.schema.paint_order())}
        return sorted(names, key=lambda name: rank.get(getattr(self.known(name), "name", ""), len(rank)))


def batches(objects: Iterable[Annotation]) -> Iterator[list[Annotation]]:
    """Objects by the five hundred, for the work that shapely does faster on many at once."""
    stream = iter(objects)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def gridded(
    objects: Iterable[Annotation],
    names: ClassNames,
    decimals: int,
    *,
    origin: tuple[float, float] = (0.0, 0.0),
) -> Iterator[tuple[Annotation, Polygonal | None]]:
    """Each object with its one outline on the decimal grid, or None where nothing is left of it."""
    for batch in batches(objects):
        polygons = all_on_grid([names.outline(annotation) for annotation in batch], decimals, origin=origin)
        yield from zip(batch, polygons, strict=True)


def one_line(text: str) -> str:
    """Text without line breaks, control characters and surrounding space."""
    return re.sub(r"[\x00-\x20\x7f\x85\u2028\u2029\ufffe\uffff\ud800-\udfff]+", " ", text).strip()


def object_uuid(slide_id: str, annotation: Annotation, class_name: str | None, run: str, index: int) -> str:
    """The object's own id where it is a UUID, or else one derived from what identifies it.

    The same object of the same slide always gets the same id, so that importing a file twice meets the
    viewer's question about duplicates and does not double the objects.
    """
    if annotation.id is not None:
        return known_uuid(slide_id, annotation.id)
    return str(uuid.uuid5(NAMESPACE, "\x1f".join((slide_id, class_name or "", run, str(index)))))


def known_uuid(slide_id: str, identity: str) -> str:
    """The UUID of an object that carries this id: the id itself, or one derived from it."""
    try:
        return str(uuid.UUID(identity)) if len(identity) == _UUID_LENGTH else _derived(slide_id, identity)
    except ValueError:
        return _derived(slide_id, identity)


def _derived(slide_id: str, identity: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{slide_id}\x1fid\x1f{identity}"))


def point_texts(ring: LinearRing) -> Iterator[tuple[str, str]]:
    """The points of a ring on a decimal grid, the repeated last one left out, as text for XML.

    Numbers are as short as they can be: no exponent, no ``.0``, never a decimal comma. One call of orjson
    for the whole ring is several times faster than formatting each number.
    """
    points = np.ascontiguousarray(shapely.get_coordinates(ring)[:-1])
    text = orjson.dumps(points.ravel(), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    numbers = iter(f"{text[1:-1]},".replace(".0,", ",").split(",")[:-1])
    return zip(numbers, numbers, strict=True)


class ClassSpool:
    """Bytes gathered class by class, on disk once a class grows beyond some megabytes.

    ImageScope and DSA keep each class in one piece, while objects arrive mixed.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._spools: dict[str, IO[bytes]] = {}
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def next_number(self, name: str) -> int:
        """How many pieces this class has after the next one is added."""
        return self.counts.get(name, 0) + 1

    def add(self, name: str, piece: bytes) -> None:
        """Append to a class."""
        if name not in self._spools:
            self._spools[name] = self._stack.enter_context(
                tempfile.SpooledTemporaryFile(max_size=_MEMORY_PER_CLASS)  # noqa: SIM115 - the stack closes it
            )
        self._spools[name].write(piece)
        self.counts[name] = self.counts.get(name, 0) + 1

    def names(self) -> list[str]:
        """Classes in the order of their first object."""
        return list(self._spools)

    def blocks(self, name: str) -> Iterator[bytes]:
        """What a class holds, in blocks."""
        spool = self._spools[name]
        spool.seek(0)
        while block := spool.read(1 << 20):
            yield block
