"""Holes cut open and put back."""

import pytest
import shapely
from hypothesis import given, settings
from outlines import RING, SQUARE, outlines
from shapely import Polygon

from wsiseg.annotation import Annotation
from wsiseg.annotation.holes import Hole, subtract_holes, without_holes
from wsiseg.annotation.intake import Intake
from wsiseg.annotation.repair import parts_of


@given(outlines())
@settings(max_examples=80, deadline=None)
def test_pieces_without_holes_cover_exactly_the_outline(outline):
    for part in parts_of(outline):
        pieces = without_holes(part)
        assert not any(piece.interiors for piece in pieces)
        assert sum(piece.area for piece in pieces) == pytest.approx(part.area, rel=1e-9, abs=1e-9)
        assert shapely.union_all(pieces).symmetric_difference(part).area == pytest.approx(0, abs=1e-6)


def test_many_holes_make_few_pieces():
    holes = [shapely.box(x, y, x + 2, y + 2) for x in range(1, 60, 4) for y in range(1, 60, 4)]
    outline = shapely.box(0, 0, 64, 64).difference(shapely.union_all(holes))
    pieces = without_holes(outline)
    assert len(pieces) <= len(holes) + 16
    assert sum(piece.area for piece in pieces) == pytest.approx(outline.area)


def test_a_cut_through_whole_pixels_keeps_whole_pixels():
    points = shapely.get_coordinates(without_holes(RING))
    assert (points * 2 == (points * 2).round()).all()


def test_an_island_in_the_hole_stays():
    shell = Annotation(shapely.box(0, 0, 30, 30), "a", id="1")
    island = Annotation(shapely.box(13, 13, 16, 16), "a", id="2")
    intake = Intake()
    outer, inner = subtract_holes([shell, island], [Hole(2, SQUARE, "a")], intake)
    assert outer.polygon.area == 800
    assert inner.polygon.area == 9
    assert not intake.report.dropped


def test_a_hole_belongs_to_its_owner_alone():
    both = [Annotation(shapely.box(0, 0, 30, 30), "a", id=name) for name in ("1", "2")]
    first, second = subtract_holes(both, [Hole(2, SQUARE, "a", "2")], Intake())
    assert (first.polygon.area, second.polygon.area) == (900, 800)


@pytest.mark.parametrize("named", [shapely.box(90, 90, 99, 99), shapely.box(20, 10, 30, 20)])
def test_a_hole_that_names_an_outline_elsewhere_is_not_lost(named):
    """Far away, or with no more than an edge in common."""
    both = [Annotation(named, "a", id="1"), Annotation(shapely.box(0, 0, 20, 30), "a", id="2")]
    intake = Intake()
    first, second = subtract_holes(both, [Hole(2, SQUARE, "a", "1")], intake)
    assert (first.polygon.area, second.polygon.area) == (named.area, 500)
    assert not intake.report.dropped


def test_a_hole_beside_every_outline_is_counted():
    intake = Intake()
    assert (
        len(subtract_holes([Annotation(shapely.box(20, 0, 30, 30), "a")], [Hole(1, SQUARE, "a")], intake))
        == 1
    )
    assert intake.report.dropped[0].reason == "a hole lies in no outline of its class"


def test_a_hole_leaves_other_classes_alone():
    other = Annotation(shapely.box(0, 0, 30, 30), "b")
    intake = Intake()
    assert subtract_holes([other], [Hole(1, SQUARE, "a")], intake)[0].polygon.area == 900
    assert intake.report.dropped[0].reason == "a hole lies in no outline of its class"


def test_a_hole_may_reach_past_its_outline():
    crossing = Annotation(Polygon([(0, 0), (15, 0), (15, 30), (0, 30)]), "a")
    assert subtract_holes([crossing], [Hole(1, SQUARE, "a")], Intake())[0].polygon.area == 400


def test_an_owner_swallowed_by_its_hole_is_counted():
    intake = Intake()
    small = Annotation(shapely.box(12, 12, 14, 14), "a", id="1")
    assert subtract_holes([small], [Hole(1, SQUARE, "a", "1")], intake) == []
    assert len(intake.report.dropped) == 1
