"""Tracing: exact along pixel edges, blind to how the mask was cut, and valid everywhere."""

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from wsiseg.trace import EdgeTracer, trace_mask


def _random_mask(shape, seed, share, smooth):
    field = np.random.default_rng(seed).random(shape)
    if smooth:
        field = ndimage.uniform_filter(field, 2 * smooth)
    return field < np.quantile(field, share)


masks = st.builds(
    _random_mask,
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.95),
    st.sampled_from([0, 0, 1, 2]),
)


def paint(polygons, shape):
    if not len(polygons):
        return np.zeros(shape, dtype=bool)
    return rasterio.features.rasterize(polygons, out_shape=shape).astype(bool)


def by_rasterio(mask):
    """The same polygons from another hand: one each 4-connected area."""
    found = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    return [shapely.geometry.shape(shape) for shape, _ in found]


@given(masks)
@settings(max_examples=300, deadline=None)
def test_painting_back_gives_the_mask(mask):
    polygons = trace_mask(mask)
    assert np.array_equal(paint(polygons, mask.shape), mask)
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons).sum() == mask.sum()


@given(masks)
@settings(max_examples=200, deadline=None)
def test_one_polygon_an_area_and_the_same_ones_as_rasterio(mask):
    polygons = trace_mask(mask)
    assert len(polygons) == ndimage.label(mask)[1]
    mine = {shapely.normalize(polygon).wkt for polygon in polygons}
    theirs = {shapely.normalize(shapely.simplify(polygon, 0)).wkt for polygon in by_rasterio(mask)}
    assert {shapely.normalize(shapely.simplify(p, 0)).wkt for p in polygons} == theirs
    assert len(mine) == len(polygons)


@given(masks, st.lists(st.integers(1, 9), max_size=12))
@settings(max_examples=150, deadline=None)
def test_cutting_into_bands_changes_nothing(mask, heights):
    tracer, row = EdgeTracer(mask.shape[1]), 0
    for height in [*heights, len(mask)]:
        band = mask[row : row + height]
        row += len(band)
        if band.any():
            tracer.add(band)
        else:
            tracer.skip(len(band))
    assert [p.wkb for p in tracer.polygons()] == [p.wkb for p in trace_mask(mask)]


def take(tracer):
    """What ``finished`` gives, however little has gathered."""
    tracer._worth_taking = 1
    return tracer.finished()


@given(masks, st.lists(st.integers(1, 9), max_size=12))
@settings(max_examples=300, deadline=None)
def test_taking_out_what_has_ended_changes_nothing(mask, heights):
    tracer, row, found = EdgeTracer(mask.shape[1]), 0, []
    for height in [*heights, len(mask)]:
        band = mask[row : row + height]
        row += len(band)
        tracer.add(band)
        found += list(take(tracer))
    found += list(tracer.polygons())
    assert sorted(p.wkb for p in found) == sorted(p.wkb for p in trace_mask(mask))


def test_what_has_ended_comes_before_the_rest():
    mask = np.zeros((40, 30), dtype=bool)
    mask[:, 20] = mask[2:9, 2:9] = mask[15:20, 2:9] = True
    mask[4, 4] = False
    tracer = EdgeTracer(30)
    taken = []
    for row in range(0, 40, 4):
        tracer.add(mask[row : row + 4])
        taken.append([p.area for p in take(tracer)])
    assert taken == [[], [], [48], [], [], [35], [], [], [], []]
    assert [p.area for p in tracer.polygons()] == [40]


def test_few_corners_are_left_for_later():
    tracer = EdgeTracer(9)
    tracer.add(np.eye(9, dtype=bool))
    tracer.skip(3)
    assert len(tracer.finished()) == 0
    assert len(tracer.polygons()) == 9


@given(hnp.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
@settings(max_examples=300, deadline=None)
def test_small_dense_masks(mask):
    polygons = trace_mask(mask)
    assert np.array_equal(paint(polygons, mask.shape), mask)
    assert shapely.is_valid(polygons).all()


@given(masks)
@settings(max_examples=50, deadline=None)
def test_no_vertex_lies_on_a_straight_line(mask):
    for ring in shapely.get_rings(trace_mask(mask)):
        points = shapely.get_coordinates(ring)
        steps = np.diff(points, axis=0)
        turns = steps * np.roll(steps, -1, axis=0)[:, ::1]
        assert not turns.any(), "two edges in a row run the same way"
        assert shapely.is_ccw(ring) == (ring.is_ccw)


def test_order_is_by_topmost_then_leftmost_corner():
    mask = np.zeros((6, 8), dtype=bool)
    mask[3:5, 0:2] = mask[0:2, 5:7] = mask[0:2, 1:3] = True
    corners = [polygon.bounds[:2] for polygon in trace_mask(mask)]
    assert corners == [(1, 0), (5, 0), (0, 3)]


def test_a_ring_that_meets_itself_at_a_corner_gets_a_hole():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
    (polygon,) = trace_mask(mask)
    assert polygon.is_valid
    assert polygon.area == 7
    assert len(polygon.interiors) == 1


def test_pixels_that_touch_at_a_corner_are_two_areas():
    assert len(trace_mask(np.eye(3, dtype=bool))) == 3


def test_small_areas_are_left_out_and_small_holes_filled():
    mask = np.ones((9, 9), dtype=bool)
    mask[0:3, 6:9] = False
    mask[0, 8] = True
    mask[4, 4] = False
    mask[6:8, 1:4] = False
    (polygon,) = trace_mask(mask, min_area=2, min_hole=2)
    assert polygon.area == 81 - 9 - 6
    assert [shapely.Polygon(ring).area for ring in polygon.interiors] == [6]


def test_nested_areas_keep_their_own_holes():
    mask = np.zeros((9, 9), dtype=bool)
    mask[0:9, 0:9] = True
    mask[1:8, 1:8] = False
    mask[2:7, 2:7] = True
    mask[3:6, 3:6] = False
    mask[4, 4] = True
    assert shapely.area(trace_mask(mask)).tolist() == [81 - 49, 25 - 9, 1]


def test_nothing_gives_nothing():
    assert len(trace_mask(np.zeros((3, 4), dtype=bool))) == 0


def test_a_band_of_another_width_is_refused():
    with pytest.raises(ValueError, match="4 columns"):
        EdgeTracer(4).add(np.zeros((2, 5), dtype=bool))
