"""Holes that a format keeps as outlines of their own, put back into the outlines they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import shapely
from shapely import Polygon

from wsiseg.annotation.intake import Intake
from wsiseg.annotation.model import Annotation, Polygonal
from wsiseg.annotation.repair import OutlineError, mend, parts_of, polygonal


@dataclass(frozen=True, slots=True)
class Hole:
    """An outline to be taken out.

    Attributes:
        index: Its position in the file.
        polygon: What is taken out.
        class_name: Only annotations of this class lose it.
        owner: ``id`` of the one annotation that it belongs to, or None: of all that it lies in.
    """

    index: int
    polygon: Polygonal
    class_name: str | None
    owner: str | None = None


def subtract_holes(
    annotations: Sequence[Annotation], holes: Sequence[Hole], intake: Intake
) -> list[Annotation]:
    """The annotations without their holes.

    A hole whose owner is not among the annotations, or nowhere near it, is taken out of every one that it
    overlaps, except those that lie wholly inside it: those are islands. A hole that overlaps nothing is
    counted as dropped.
    """
    if not holes:
        return list(annotations)
    by_id = {(a.class_name, a.id): position for position, a in enumerate(annotations) if a.id}
    tree = shapely.STRtree([annotation.polygon for annotation in annotations])
    taken: dict[int, list[Polygonal]] = {}
    for hole in holes:
        for position in _owners(hole, annotations, by_id, tree, intake):
            taken.setdefault(position, []).append(hole.polygon)
    results: list[Annotation] = []
    for position, annotation in enumerate(annotations):
        polygon = _without(annotation.polygon, taken.get(position, []))
        if polygon is None:
            intake.drop(None, "an outline lies wholly inside its own hole")
        else:
            results.append(replace(annotation, polygon=polygon))
    return results


def _owners(
    hole: Hole,
    annotations: Sequence[Annotation],
    by_id: dict[tuple[str | None, str], int],
    tree: shapely.STRtree,
    intake: Intake,
) -> list[int]:
    owner = None if hole.owner is None else by_id.get((hole.class_name, hole.owner))
    # Ids repeat, and tools number regions anew: a hole may name an outline that it has no part in.
    if owner is not None and _overlap(hole.polygon, annotations[owner].polygon):
        return [owner]
    near = sorted(int(position) for position in tree.query(hole.polygon))
    owners = [
        position
        for position in near
        if annotations[position].class_name == hole.class_name
        and _overlap(hole.polygon, annotations[position].polygon)
        and not hole.polygon.covers(annotations[position].polygon)
    ]
    if not owners:
        intake.drop(hole.index, "a hole lies in no outline of its class")
    return owners


def _overlap(one: Polygonal, other: Polygonal) -> bool:
    """Whether two outlines share an area; a common edge is none."""
    return one.intersects(other) and not one.touches(other)


def _without(polygon: Polygonal, holes: Sequence[Polygonal]) -> Polygonal | None:
    if not holes:
        return polygon
    try:
        return polygonal(polygon.difference(shapely.union_all(list(holes))))
    except shapely.GEOSException:
        try:
            return polygonal(shapely.difference(mend(polygon), mend(shapely.union_all(list(holes))), 0.001))
        except (OutlineError, shapely.GEOSException):
            return polygon


def without_holes(polygon: Polygon) -> list[Polygon]:
    """Pieces without holes that together cover exactly the polygon.

    Each cut is a vertical line through the middle of a hole, halving the holes that are left, so the
    pieces are few and their number grows with the number of holes only.
    """
    pieces: list[Polygon] = []
    stack = [polygon]
    while stack:
        part = stack.pop()
        if not part.interiors:
            pieces.append(part)
            continue
        stack.extend(reversed(_halves(part, _cut_position(part))))
    return pieces


def _cut_position(polygon: Polygon) -> float:
    """The middle of the hole in the middle, on the half-pixel where that lies within the hole."""
    spans = sorted((hole.bounds[0] + hole.bounds[2], hole.bounds) for hole in polygon.interiors)
    x0, x1 = (float(spans[len(spans) // 2][1][axis]) for axis in (0, 2))
    middle = (x0 + x1) / 2
    neat = round(middle * 2) / 2
    return neat if x0 < neat < x1 else middle


def _halves(polygon: Polygon, x: float) -> list[Polygon]:
    x0, y0, x1, y1 = polygon.bounds
    halves = (shapely.box(x0 - 1, y0 - 1, x, y1 + 1), shapely.box(x, y0 - 1, x1 + 1, y1 + 1))
    found = (polygonal(polygon.intersection(half)) for half in halves)
    return [part for half in found if half is not None for part in parts_of(half)]
