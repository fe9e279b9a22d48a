"""Outlines are made valid without changing what they enclose."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from outlines import RING, SLIVER, TWO, outlines
from shapely import MultiPolygon, Polygon

from wsiseg.annotation.repair import (
    OutlineError,
    as_ring,
    build,
    ellipse_ring,
    mend,
    on_grid,
    parts_of,
    polygonal,
    without_specks,
)


def test_a_ring_is_opened_and_repeated_points_go():
    ring = as_ring([(0, 0), (0, 0), (4, 0), (4, 4), (4, 4), (0, 0)])
    assert ring.tolist() == [[0, 0], [4, 0], [4, 4]]


def test_positions_may_carry_z_in_some_places_only():
    assert as_ring([(0, 0, 1), (4, 0), (4, 4, 1)]).shape == (3, 2)


@pytest.mark.parametrize(
    "positions",
    [
        [],
        [(0, 0)],
        [(0, 0), (1, 1), (0, 0)],
        [(0, 0), (1, np.nan), (2, 2)],
        [(0, 0), (np.inf, 1), (2, 2)],
        None,
        5,
        "abc",
        [1, 2, 3],
        [("a", "b")],
        [(0, 10**400), (1, 1), (2, 2)],
        [{}],
        [(0, 1e9), (1, 1), (2, 2)],
    ],
)
def test_what_is_no_ring_is_refused(positions):
    with pytest.raises(OutlineError):
        as_ring(positions)


def test_a_bow_tie_keeps_both_wings():
    mended = mend(Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]))
    assert mended.is_valid
    assert mended.area == pytest.approx(50)


def test_a_loop_drawn_twice_stays_tissue():
    loop = [(0, 0), (10, 0), (10, 10), (0, 10)]
    mended = mend(Polygon([*loop, *loop[:3], (0, 9)]))
    assert mended.area == pytest.approx(100, abs=1)
    assert not [hole for part in parts_of(mended) for hole in part.interiors]


def test_a_tremor_leaves_no_speck():
    mended = mend(
        Polygon([(0, 0), (20, 0), (20, 20), (10, 20), (10.2, 20.3), (10.2, 20), (9.8, 20.3), (0, 20)])
    )
    assert isinstance(mended, Polygon)


def test_a_small_crossing_outline_keeps_its_largest_part():
    assert mend(Polygon([(0, 0), (0.5, 0.6), (0.5, 0), (0, 0.5)])).area > 0


def test_a_line_drawn_back_and_forth_has_no_area():
    with pytest.raises(OutlineError, match="no area"):
        mend(Polygon([(0, 0), (5, 5), (10, 10), (5, 5)]))


def test_a_hole_outside_its_shell_goes():
    outside = build(np.array([(0, 0), (9, 0), (9, 9)]), [np.array([(20, 20), (21, 20), (21, 21)])])
    assert mend(outside).area == pytest.approx(40.5)


def test_parts_without_area_are_left_out():
    assert polygonal(shapely.from_wkt("GEOMETRYCOLLECTION (POINT (1 1), LINESTRING (0 0, 1 1))")) is None
    assert polygonal(MultiPolygon([TWO.geoms[0]])).geom_type == "Polygon"


def test_without_specks_keeps_large_holes():
    assert without_specks(RING, 50).equals(RING)
    assert without_specks(RING, 150).area == 900
    assert without_specks(RING, 1e6) is None


@given(outlines())
@settings(max_examples=80, deadline=None)
def test_on_the_grid_an_outline_is_valid_and_prints_exactly(outline):
    result = on_grid(outline, 2)
    if result is None:
        assert outline.area < 0.05 * (1 + outline.length)
        return
    points = shapely.get_coordinates(result)
    assert result.is_valid
    assert (points == np.round(points, 2)).all()
    assert abs(result.area - outline.area) <= 0.02 * outline.length + 0.01
    assert not shapely.set_precision(result, 0.01).is_empty


def test_a_sliver_vanishes():
    assert on_grid(SLIVER, 2) is None


def test_rounding_comes_before_mending():
    # Valid as drawn; rounded to 0.01 the tip of the notch crosses the other side.
    notch = Polygon([(0, 0), (10, 0), (10, 10), (5, 0.0049), (0, 10)])
    assert notch.is_valid
    assert on_grid(notch, 2).is_valid


def test_an_origin_is_taken_off():
    assert on_grid(shapely.box(100, 50, 110, 60), 2, origin=(100, 50)).bounds == (0, 0, 10, 10)


def test_an_ellipse_is_within_its_error():
    ring = ellipse_ring((0, 0, 200, 100), max_error=0.05)
    assert ring.min(axis=0) == pytest.approx((0, 0), abs=0.05)
    assert Polygon(ring).area == pytest.approx(np.pi * 100 * 50, rel=1e-3)
