"""Truth against prediction, object by object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from wsiseg.classes import ClassSchema, TissueClass
from wsiseg.evaluate.inputs import Side
from wsiseg.geometry import Resolution
from wsiseg.objects import (
    IOU_THRESHOLD,
    NUCLEUS_DISTANCE_UM,
    BoundaryDistance,
    Matching,
    ObjectCounts,
    boundary_distance,
    centres,
    count_inside,
    match_by_iou,
    match_by_rule,
)

_BOUNDARY_STEP_UM = 0.5


@dataclass(frozen=True)
class ClassObjects:
    """The object scores of one class; those of several slides add up.

    Attributes:
        nucleus: Whether objects were matched by centre distance, and not by IoU.
        counts: By the rule of the class.
        counts_iou: By IoU, for every class.
        boundaries: One for each matched pair of a class that is not a nucleus.
        count_errors: For a class inside another: for each true container, objects predicted in it minus
            true objects in it.
        true_counts: The true objects in each of those containers.
    """

    nucleus: bool
    counts: ObjectCounts = field(default_factory=ObjectCounts)
    counts_iou: ObjectCounts = field(default_factory=ObjectCounts)
    boundaries: list[BoundaryDistance] = field(default_factory=list)
    count_errors: list[int] = field(default_factory=list)
    true_counts: list[int] = field(default_factory=list)

    def __add__(self, other: "ClassObjects") -> "ClassObjects":
        return ClassObjects(
            self.nucleus,
            self.counts + other.counts,
            self.counts_iou + other.counts_iou,
            self.boundaries + other.boundaries,
            self.count_errors + other.count_errors,
            self.true_counts + other.true_counts,
        )

    @property
    def rule(self) -> str:
        """How objects were matched, in words."""
        if self.nucleus:
            return f"centre distance <= {NUCLEUS_DISTANCE_UM:g} um"
        return f"IoU >= {IOU_THRESHOLD:g}"


def score_objects(
    truth: Side, prediction: Side, schema: ClassSchema, resolution: Resolution
) -> dict[str, ClassObjects]:
    """Match the objects of one slide.

    An object counts where its centre does: inside the truth's regions, where it has any, and not where
    nothing is known.

    Args:
        truth: The side that is right.
        prediction: The side that is judged.
        schema: The classes.
        resolution: Of level 0, in which the outlines of both sides are.
    """
    true, predicted = (
        {name: _in_um(_counted(shapes, truth), resolution) for name, shapes in side.shapes.items()}
        for side in (truth, prediction)
    )
    return {
        tissue_class.name: _score_class(tissue_class, true, predicted) for tissue_class in schema.foreground
    }


def _score_class(
    tissue_class: TissueClass,
    true: Mapping[str, list[Polygon]],
    predicted: Mapping[str, list[Polygon]],
) -> ClassObjects:
    ours, theirs = true[tissue_class.name], predicted[tissue_class.name]
    by_iou = match_by_iou(ours, theirs, IOU_THRESHOLD)
    by_rule = match_by_rule(ours, theirs, nuclei=True) if tissue_class.nucleus else by_iou
    containers = [] if tissue_class.inside is None else true[tissue_class.inside]
    inside = count_inside(containers, centres(ours))
    errors = count_inside(containers, centres(theirs)) - inside
    return ClassObjects(
        nucleus=tissue_class.nucleus,
        counts=by_rule.counts,
        counts_iou=by_iou.counts,
        boundaries=[] if tissue_class.nucleus else _boundaries(by_iou, ours, theirs),
        count_errors=errors.tolist(),
        true_counts=inside.tolist(),
    )


def _boundaries(
    matching: Matching, true: Sequence[Polygon], predicted: Sequence[Polygon]
) -> list[BoundaryDistance]:
    return [
        boundary_distance(true[row], predicted[column], _BOUNDARY_STEP_UM)
        for row, column in matching.pairs.tolist()
    ]


def _counted(shapes: Sequence[Polygon | MultiPolygon], truth: Side) -> list[Polygon | MultiPolygon]:
    points = shapely.points(centres(shapes)) if shapes else np.zeros(0, dtype=object)
    counted = ~_covered(points, truth.ignored)
    if truth.regions:
        counted &= _covered(points, truth.regions)
    return [shape for shape, here in zip(shapes, counted, strict=True) if here]


def _covered(points: NDArray[np.object_], areas: Sequence[Polygon | MultiPolygon]) -> NDArray[np.bool_]:
    covered = np.zeros(len(points), dtype=bool)
    if areas and len(points):
        _, inside = shapely.STRtree(points).query(np.array(areas, dtype=object), predicate="intersects")
        covered[inside] = True
    return covered


def _in_um(shapes: Sequence[Polygon | MultiPolygon], resolution: Resolution) -> list[Polygon]:
    scale = (resolution.mpp_x, resolution.mpp_y)
    if not shapes:
        return []
    return list(shapely.transform(np.array(shapes, dtype=object), lambda points: points * scale))
