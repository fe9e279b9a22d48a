"""One polygon model for four viewers: ``Annotation``, and the report of what became of a file on import."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shapely import MultiPolygon, Polygon

from wsiseg.errors import AnnotationParseError

Polygonal: TypeAlias = Polygon | MultiPolygon

FileFormat = Literal["qupath", "asap", "imagescope", "halo", "dsa"]
"""The dialects that are told apart on reading; ``halo`` is ImageScope's tree with other names."""

ObjectKind = Literal["annotation", "detection"]
"""What QuPath makes of an object: annotations can be edited, detections are drawn far faster."""

ORIGIN_KEY = "wsiseg_origin"
"""Metadata key of the origin that was taken off the coordinates, in level-0 pixels: ``x,y``."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One outlined object.

    Attributes:
        polygon: Outline in level-0 pixels of the full plane, x right, y down; valid and not empty.
        class_name: The class as the viewer names it, or None.
        name: The object's own name, such as ``Glomerulus 12``.
        id: Identifier in the file it came from, or any string that is unique within a slide.
        measurements: Named numbers, such as ``Area um2``.
        metadata: Named texts, such as the run that made the object.
        color: The class's (red, green, blue) in the file, used where the schema has no colour for it.
        layer: Id of the ImageScope layer, the second key under which a class mapping may name it.
        parent: ``id`` of the object that contains this one, or None.
        kind: What QuPath held it as, or None where the file does not say.
        locked: Whether QuPath keeps it from being edited by accident.
        nucleus: Outline of the nucleus, where the object is a cell of QuPath's and ``polygon`` the whole of
            it; else None.
    """

    polygon: Polygonal
    class_name: str | None = None
    name: str | None = None
    id: str | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    color: tuple[int, int, int] | None = None
    layer: str | None = None
    parent: str | None = None
    kind: ObjectKind | None = None
    locked: bool = False
    nucleus: Polygonal | None = None

    def outline(self, *, nucleus: bool) -> Polygonal:
        """The one outline that the object's class means: of a cell its nucleus, or all of it."""
        return self.nucleus if nucleus and self.nucleus is not None else self.polygon


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file or with one object in it.

    Attributes:
        index: Position of the object in the file, from 0; None for the file as a whole.
        reason: What is wrong, the same words for the same fault.
        severity: Whether a viewer would refuse or lose something (``error``), or only show it oddly.
    """

    index: int | None
    reason: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return self.reason if self.index is None else f"object {self.index}: {self.reason}"


@dataclass
class ImportReport:
    """What became of every object of a file.

    Attributes:
        kept: Objects that were taken, the repaired ones included.
        repaired: Objects, or the file itself, that had to be mended first.
        dropped: Objects that were left out.
        notes: What is worth saying but is no fault of the file.
    """

    kept: int = 0
    repaired: list[Problem] = field(default_factory=list)
    dropped: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def repair(self, index: int | None, reason: str) -> None:
        """Count something that was mended."""
        self.repaired.append(Problem(index, reason))

    def drop(self, index: int | None, reason: str) -> None:
        """Count an object that was left out."""
        self.dropped.append(Problem(index, reason))

    @property
    def problems(self) -> int:
        """How many things were mended or left out."""
        return len(self.repaired) + len(self.dropped)

    def summary(self) -> str:
        """One line: the counts, and each reason with the first objects it touched."""
        text = f"{self.kept} kept, {len(self.repaired)} repaired, {len(self.dropped)} dropped"
        reasons = [
            f"{verb} {line}"
            for verb, problems in (("repaired", self.repaired), ("dropped", self.dropped))
            for line in group_by_reason(problems)
        ]
        return "; ".join([text, *reasons, *self.notes])

    def raise_if_any(self, source: str) -> None:
        """For strict reading.

        Raises:
            AnnotationParseError: Anything was repaired or dropped.
        """
        problems = [*self.repaired, *self.dropped]
        if problems:
            reasons = "; ".join(group_by_reason(problems))
            raise AnnotationParseError(
                f"{source}: {len(problems)} problems in strict reading: {reasons}",
                remedy="Read it without --strict, or mend it with `wsiseg check FILE --fix OUT`",
            )


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """The content of an annotation file.

    Attributes:
        annotations: What was kept, in file order.
        format: The dialect it was recognised as.
        report: What was repaired and dropped.
        mpp: Micrometres per pixel that the file claims (ImageScope only).
    """

    annotations: list[Annotation]
    format: FileFormat
    report: ImportReport
    mpp: float | None = None

    def mpp_warning(self, mpp: float, *, tolerance: float = 0.02) -> str | None:
        """A sentence where the file claims a resolution that differs from the slide's ``mpp``, else None.

        ImageScope's ``MicronsPerPixel`` is advisory: many tools write a constant there.
        """
        if self.mpp is None or abs(self.mpp / mpp - 1) <= tolerance:
            return None
        return (
            f"the annotations claim {self.mpp:g} um/px, the slide {mpp:g}; "
            "coordinates are taken as level-0 pixels of the slide"
        )


def origin_text(origin_l0: tuple[float, float]) -> str:
    """A viewer's origin as it is recorded in files: ``x,y``."""
    return ",".join(f"{value:.10g}" for value in origin_l0)


def group_by_reason(problems: Iterable[Problem], *, shown: int = 3) -> list[str]:
    """Each reason once, with how often it occurs and the indices of the first objects."""
    groups: dict[str, list[int | None]] = {}
    for problem in problems:
        groups.setdefault(problem.reason, []).append(problem.index)
    return [_describe(reason, indices, shown) for reason, indices in groups.items()]


def _describe(reason: str, indices: list[int | None], shown: int) -> str:
    numbered = [str(index) for index in indices if index is not None]
    if not numbered:
        return reason
    tail = ", ..." if len(numbered) > shown else ""
    return f"{len(indices)} x {reason} (object {', '.join(numbered[:shown])}{tail})"
