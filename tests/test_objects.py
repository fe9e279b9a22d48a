"""Object matching and outline distances."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Point, Polygon, affinity, box

from wsiseg.objects import (
    ObjectCounts,
    boundary_distance,
    centres,
    count_inside,
    match_by_distance,
    match_by_iou,
)

points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=0, max_size=5, unique=True).map(
    lambda values: np.array(values, dtype=np.float64).reshape(-1, 2)
)


def best_by_trying_all(truth: np.ndarray, prediction: np.ndarray, limit: float) -> tuple[int, float]:
    """Pairs and total distance of the best one-to-one matching, by trying every one."""
    if len(truth) > len(prediction):
        truth, prediction = prediction, truth
    best = (0, 0.0)
    for order in itertools.permutations(range(len(prediction)), len(truth)):
        distances = [math.dist(truth[row], prediction[column]) for row, column in enumerate(order)]
        kept = [distance for distance in distances if distance <= limit]
        best = max(best, (len(kept), -sum(kept)))
    return best[0], -best[1]


@settings(deadline=None, max_examples=80)
@given(points, points)
def test_matching_by_distance_is_the_best_there_is(truth, prediction) -> None:
    matching = match_by_distance(truth, prediction, limit=4.0)
    count, total = best_by_trying_all(truth, prediction, 4.0)
    assert len(matching.pairs) == count
    assert matching.quality.sum() == pytest.approx(total)
    assert len(set(matching.pairs[:, 0])) == len(set(matching.pairs[:, 1])) == count


def test_a_prediction_serves_one_true_object_only() -> None:
    counts = match_by_distance(np.array([[0.0, 0], [1, 0]]), np.array([[0.4, 0.0]]), 3.0).counts
    assert counts == ObjectCounts(truth=2, predicted=1, matched=1)
    assert (counts.precision, counts.recall, counts.f1) == (1.0, 0.5, pytest.approx(2 / 3))


def test_matching_by_iou_takes_the_threshold_itself() -> None:
    square = box(0, 0, 10, 10)
    half = box(0, 0, 10, 5)
    matching = match_by_iou([square], [half, box(50, 50, 60, 60)], threshold=0.5)
    assert matching.pairs.tolist() == [[0, 0]]
    assert matching.quality.tolist() == [0.5]
    assert match_by_iou([square], [box(0, 0, 10, 4.9)]).counts.matched == 0


def test_shapes_that_only_touch_do_not_match() -> None:
    assert match_by_iou([box(0, 0, 1, 1)], [box(1, 0, 2, 1)], threshold=0.1).counts.matched == 0


def test_multipolygons_match_as_one_object() -> None:
    pieces = MultiPolygon([box(0, 0, 4, 4), box(6, 0, 10, 4)])
    assert match_by_iou([pieces], [pieces]).quality.tolist() == [1.0]


def test_no_objects_have_no_scores_and_one_sided_ones_score_zero() -> None:
    assert math.isnan(ObjectCounts(0, 0, 0).f1)
    assert match_by_iou([], [box(0, 0, 1, 1)]).counts == ObjectCounts(0, 1, 0)
    assert match_by_iou([box(0, 0, 1, 1)], []).counts.recall == 0.0
    assert ObjectCounts(0, 3, 0).precision == 0.0


def test_counts_add_up() -> None:
    assert ObjectCounts(1, 2, 1) + ObjectCounts(3, 3, 2) == ObjectCounts(4, 5, 3)


def test_fifty_thousand_nuclei_match_in_seconds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 3000, (50_000, 2))
    begun = time.perf_counter()
    matching = match_by_distance(truth, truth + rng.normal(0, 0.5, truth.shape), 3.0)
    assert matching.counts.matched > 49_900
    assert time.perf_counter() - begun < 20


def test_outline_distance_of_concentric_circles_is_the_gap() -> None:
    inner, outer = Point(5, 5).buffer(10, quad_segs=90), Point(5, 5).buffer(13, quad_segs=90)
    distance = boundary_distance(inner, outer, step=0.5)
    assert distance.mean == pytest.approx(3, abs=0.01)
    assert distance.hausdorff_95 == pytest.approx(3, abs=0.01)


def test_outline_distance_of_equal_shapes_is_zero_and_counts_holes() -> None:
    whole = box(0, 0, 10, 10)
    holed = Polygon(whole.exterior.coords, [box(4, 4, 6, 6).exterior.coords])
    assert boundary_distance(holed, holed, 0.5).mean == pytest.approx(0, abs=1e-12)
    assert boundary_distance(whole, holed, 0.5).hausdorff_95 > 3


@settings(deadline=None, max_examples=25)
@given(st.floats(0.5, 5), st.floats(-3, 3), st.floats(-3, 3))
def test_outline_distance_is_symmetric(scale, dx, dy) -> None:
    first = box(0, 0, 8, 5)
    second = affinity.translate(affinity.scale(first, scale, 1 / scale), dx, dy)
    there, back = boundary_distance(first, second, 0.5), boundary_distance(second, first, 0.5)
    assert there.mean == pytest.approx(back.mean)
    assert there.hausdorff_95 == pytest.approx(back.hausdorff_95)


def test_count_inside_and_centres() -> None:
    shapes = [box(0, 0, 10, 10), box(20, 0, 30, 10)]
    assert centres(shapes).tolist() == [[5, 5], [25, 5]]
    inside = count_inside(shapes, np.array([[1.0, 1], [2, 2], [25, 5], [15, 5]]))
    assert inside.tolist() == [2, 1]
    assert count_inside([], np.zeros((3, 2))).tolist() == []
    assert count_inside(shapes, np.zeros((0, 2))).tolist() == [0, 0]
