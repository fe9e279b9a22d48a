"""Where every reader puts the objects it finds: outlines are made valid, each problem is counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from shapely import MultiPolygon

from wsiseg.annotation.model import Annotation, ImportReport, Polygonal, origin_text
from wsiseg.annotation.repair import (
    SELF_CROSSING,
    UNCLOSED,
    OutlineError,
    Ring,
    as_ring,
    build,
    is_closed,
    mend,
    parts_of,
    polygonal,
)


@dataclass
class Intake:
    """Collects the objects of one file.

    Attributes:
        origin_l0: Added to every coordinate: where the viewer's origin lies on the full plane.
        report: Counts what is mended and left out.
        annotations: What was kept, in file order.
        seen: Objects met so far; the next one has this index.
        classes: Name and colour of each class object that was met, by its text.
        alike: An annotation by the text that makes others like it, but for outline and id.
    """

    origin_l0: tuple[float, float] = (0.0, 0.0)
    report: ImportReport = field(default_factory=ImportReport)
    annotations: list[Annotation] = field(default_factory=list)
    seen: int = 0
    classes: dict[str, tuple[str | None, tuple[int, int, int] | None]] = field(default_factory=dict)
    alike: dict[bytes, Annotation] = field(default_factory=dict)

    def next_index(self) -> int:
        """The index of the object that is looked at now."""
        self.seen += 1
        return self.seen - 1

    def keep(self, annotation: Annotation) -> None:
        """Take an object."""
        self.annotations.append(annotation)
        self.report.kept += 1

    def drop(self, index: int | None, reason: str) -> None:
        """Leave an object out, and say so."""
        self.report.drop(index, reason)

    def check_origin(self, recorded: str | None) -> None:
        """Say once where a file records another origin than the one that is added."""
        if recorded is None or recorded == origin_text(self.origin_l0):
            return
        note = (
            f"the file counts from {recorded} of the slide, {origin_text(self.origin_l0)} was added: "
            "name the slide, so that its origin is known"
        )
        if note not in self.report.notes:
            self.report.notes.append(note)

    def outline(self, index: int, parts: Sequence[Sequence[Any]], *, closed: bool) -> Polygonal | None:
        """The valid outline of an object, or None after counting it as dropped.

        Args:
            index: The object.
            parts: For each part its rings, the shell first; a ring is any sequence of positions.
            closed: Whether the format closes rings by repeating the first position.
        """
        try:
            return self._join(index, [self._part(index, rings, closed) for rings in parts])
        except OutlineError as err:
            self.drop(index, str(err))
            return None

    def _part(self, index: int, rings: Sequence[Any], closed: bool) -> Polygonal:
        if not isinstance(rings, list | tuple) or not rings:
            raise OutlineError("outline without coordinates")
        if closed and not all(map(is_closed, rings)):
            self.report.repair(index, UNCLOSED)
        polygon = build(self._ring(rings[0]), list(self._holes(index, rings[1:])))
        if polygon.is_valid:
            return polygon
        self.report.repair(index, SELF_CROSSING)
        return mend(polygon)

    def _ring(self, positions: Any) -> Ring:
        ring = as_ring(positions)
        return ring if self.origin_l0 == (0, 0) else np.add(ring, self.origin_l0)

    def _holes(self, index: int, rings: Sequence[Any]) -> Iterator[Ring]:
        for ring in rings:
            try:
                yield self._ring(ring)
            except OutlineError as err:
                self.report.repair(index, f"hole left out: {err}")

    def _join(self, index: int, parts: list[Polygonal]) -> Polygonal:
        if not parts:
            raise OutlineError("outline without coordinates")
        if len(parts) == 1:
            return parts[0]
        pieces = [piece for part in parts for piece in parts_of(part)]
        together: Polygonal = MultiPolygon(pieces)
        if together.is_valid:
            return together
        self.report.repair(index, "parts overlap or touch along a line")
        united = polygonal(shapely.union_all(pieces))
        if united is None:
            raise OutlineError("outline encloses no area")
        return united
