"""Object scores: which predicted objects answer to which true ones, and how far their outlines lie apart.

Objects are matched one to one: first as many pairs as possible, then the best ones. Coordinates may be in
any frame, and limits and results are in its unit; give micrometres to get micrometres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree
from shapely import LinearRing, MultiPolygon, Polygon

Shape: TypeAlias = Polygon | MultiPolygon

IOU_THRESHOLD = 0.5
"""IoU from which two areas are the same object."""

NUCLEUS_DISTANCE_UM = 3.0
"""Centre distance up to which two nuclei are the same."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Which true object goes with which predicted one.

    Attributes:
        pairs: ``(n, 2)`` int64, indices of a true and of a predicted object, by true object.
        quality: ``(n,)`` what the rule measures for each pair: IoU or distance.
        truth: How many true objects there are.
        predicted: How many predicted objects there are.
    """

    pairs: NDArray[np.int64]
    quality: NDArray[np.float64]
    truth: int
    predicted: int

    @property
    def counts(self) -> "ObjectCounts":
        """The three numbers that precision, recall and F1 come from."""
        return ObjectCounts(self.truth, self.predicted, len(self.pairs))


@dataclass(frozen=True)
class ObjectCounts:
    """Objects in the truth, in the prediction, and in both; counts of several slides add up."""

    truth: int = 0
    predicted: int = 0
    matched: int = 0

    def __add__(self, other: "ObjectCounts") -> "ObjectCounts":
        return ObjectCounts(
            self.truth + other.truth, self.predicted + other.predicted, self.matched + other.matched
        )

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are true; NaN where there are no objects at all."""
        return self._share(self.matched, self.predicted)

    @property
    def recall(self) -> float:
        """Share of the true objects that were found; NaN where there are no objects at all."""
        return self._share(self.matched, self.truth)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where there are no objects at all."""
        return self._share(2 * self.matched, self.truth + self.predicted)

    def _share(self, part: int, whole: int) -> float:
        if self.truth + self.predicted == 0:
            return float("nan")
        return part / whole if whole else 0.0


def match_by_rule(truth: Sequence[Shape], prediction: Sequence[Shape], *, nuclei: bool) -> Matching:
    """Match the objects of one class by its rule: nuclei by their centres, larger things by IoU.

    Args:
        truth: Valid polygons, in micrometres.
        prediction: The same.
        nuclei: Whether the class is one of nuclei.
    """
    if nuclei:
        return match_by_distance(centres(truth), centres(prediction), NUCLEUS_DISTANCE_UM)
    return match_by_iou(truth, prediction, IOU_THRESHOLD)


def match_by_iou(truth: Sequence[Shape], prediction: Sequence[Shape], threshold: float = 0.5) -> Matching:
    """Match areas whose intersection over union reaches a threshold.

    Args:
        truth: Valid polygons.
        prediction: Valid polygons in the same frame.
        threshold: Smallest IoU of a pair, above 0.
    """
    true_areas, predicted_areas = _array(truth), _array(prediction)
    tree = shapely.STRtree(predicted_areas)
    rows, columns = tree.query(true_areas, predicate="intersects")
    shared = shapely.area(shapely.intersection(true_areas[rows], predicted_areas[columns]))
    union = shapely.area(true_areas)[rows] + shapely.area(predicted_areas)[columns] - shared
    iou = np.divide(shared, union, out=np.zeros(len(union)), where=union > 0)
    close = iou >= threshold
    edges = np.stack([rows, columns])[:, close]
    return _match(edges, 1 - iou[close], iou[close], (len(truth), len(prediction)))


def match_by_distance(truth: NDArray[np.float64], prediction: NDArray[np.float64], limit: float) -> Matching:
    """Match points that lie no further apart than a limit.

    Args:
        truth: ``(n, 2)`` points.
        prediction: ``(m, 2)`` points in the same frame.
        limit: Largest distance of a pair, above 0.
    """
    if not len(truth) or not len(prediction):
        return Matching(np.zeros((0, 2), np.int64), np.zeros(0), len(truth), len(prediction))
    near = cKDTree(truth).query_ball_tree(cKDTree(prediction), limit)
    rows = np.repeat(np.arange(len(near)), [len(columns) for columns in near])
    columns = np.fromiter((column for row in near for column in row), dtype=np.int64, count=len(rows))
    distance = np.linalg.norm(truth[rows] - prediction[columns], axis=1)
    return _match(np.stack([rows, columns]), distance / limit, distance, (len(truth), len(prediction)))


def centres(shapes: Sequence[Shape]) -> NDArray[np.float64]:
    """Centroids ``(n, 2)`` of areas."""
    return np.asarray(shapely.get_coordinates(shapely.centroid(_array(shapes))), dtype=np.float64)


@dataclass(frozen=True)
class BoundaryDistance:
    """How far two outlines lie apart, in the unit of their coordinates.

    Attributes:
        mean: Mean distance from points on either outline to the other one (average symmetric distance).
        hausdorff_95: The larger of the two 95th percentiles of those distances.
    """

    mean: float
    hausdorff_95: float


def boundary_distance(first: Shape, second: Shape, step: float) -> BoundaryDistance:
    """Compare the outlines of two areas, holes included.

    Each outline is sampled at equal distances of at most ``step``; the distance from a sample to the other
    outline is exact.

    Args:
        first: A polygon.
        second: Another in the same frame.
        step: Largest distance of neighbouring samples.
    """
    forth, back = _distances(first, second, step), _distances(second, first, step)
    return BoundaryDistance(
        mean=float(np.concatenate([forth, back]).mean()),
        hausdorff_95=float(max(np.percentile(forth, 95), np.percentile(back, 95))),
    )


def count_inside(containers: Sequence[Shape], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many points lie in each area: ``(len(containers),)`` int64.

    Args:
        containers: Areas; a point in several counts in each.
        points: ``(n, 2)``.
    """
    if not containers:
        return np.zeros(0, dtype=np.int64)
    areas = _array(containers)
    inside, _ = shapely.STRtree(shapely.points(points)).query(areas, predicate="intersects")
    return np.bincount(inside, minlength=len(areas)).astype(np.int64)


def _match(
    edges: NDArray[np.int64],
    cost: NDArray[np.float64],
    quality: NDArray[np.float64],
    size: tuple[int, int],
) -> Matching:
    """The matching with the most pairs and, among those, the least total cost.

    Every true object also gets a stand-in of its own that costs more than all real partners together
    could save, so that the sparse solver, which must match every row, leaves as few as it can unmatched.

    Args:
        edges: ``(2, n)`` true and predicted object of each possible pair.
        cost: ``(n,)`` in [0, 1].
        quality: ``(n,)`` what to report of each pair.
        size: How many true and how many predicted objects there are.
    """
    truth, predicted = size
    if not edges.size:
        return Matching(np.zeros((0, 2), np.int64), np.zeros(0), truth, predicted)
    own = np.arange(truth)
    stand_ins = np.stack([own, predicted + own])
    # Costs start at 1, since the solver takes 0 for "no edge".
    weights = np.concatenate([1 + cost, np.full(truth, 2.0 * truth + 1)])
    graph = coo_array((weights, np.hstack([edges, stand_ins])), shape=(truth, predicted + truth)).tocsr()
    rows, columns = min_weight_full_bipartite_matching(graph)
    real = columns < predicted
    pairs = np.stack([rows, columns], axis=1)[real].astype(np.int64)
    known = dict(zip(map(tuple, edges.T.tolist()), quality.tolist(), strict=True))
    measured = np.array([known[row, column] for row, column in pairs.tolist()], dtype=np.float64)
    return Matching(pairs, measured, truth, predicted)


def _distances(first: Shape, second: Shape, step: float) -> NDArray[np.float64]:
    points = [_samples(ring, step) for ring in _rings(first)]
    segments = np.concatenate([_segments(ring) for ring in _rings(second)])
    _, distances = shapely.STRtree(segments).query_nearest(
        np.concatenate(points), return_distance=True, all_matches=False
    )
    return np.asarray(distances, dtype=np.float64)


def _samples(ring: LinearRing, step: float) -> NDArray[np.object_]:
    count = max(4, int(np.ceil(ring.length / step)))
    places = np.linspace(0, 1, count, endpoint=False)
    return np.asarray(shapely.line_interpolate_point(ring, places, normalized=True), dtype=object)


def _rings(shape: Shape) -> NDArray[np.object_]:
    return np.asarray(shapely.get_rings(shapely.get_parts(shape)), dtype=object)


def _segments(ring: LinearRing) -> NDArray[np.object_]:
    points = shapely.get_coordinates(ring)
    return np.asarray(shapely.linestrings(np.stack([points[:-1], points[1:]], axis=1)), dtype=object)


def _array(shapes: Sequence[Shape]) -> NDArray[np.object_]:
    array = np.empty(len(shapes), dtype=object)
    array[:] = list(shapes)
    return array
