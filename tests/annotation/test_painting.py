"""Background outlines are holes of what they lie in, and nothing else is painted away."""

import itertools

import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, affinity

from wsiseg.annotation import Annotation, Classified, in_paint_order
from wsiseg.classes import default_schema
from wsiseg.evaluate.inputs import painter_of
from wsiseg.geometry import GridFrame
from wsiseg.tiling.labelling import Labeller

SCHEMA = default_schema()
FRAME = GridFrame((100, 100), (1.0, 1.0), 0.5)
GLOMERULUS = ("glomerulus", shapely.box(10, 10, 90, 90))
HOLE = ("background", shapely.box(30, 30, 70, 70))


def painted(*objects):
    """Labels as ``tile`` paints them, after checking that ``evaluate`` and every file order agree."""
    labels = []
    for order in itertools.permutations(objects):
        found = Classified([(Annotation(outline), name) for name, outline in order])
        labels.append(Labeller(found, SCHEMA, FRAME, "slide").label(FRAME.box_gr))
        labels.append(painter_of(found, SCHEMA, FRAME).paint(FRAME.box_gr))
    assert all(np.array_equal(labels[0], label) for label in labels)
    return labels[0]


def test_background_in_an_object_is_a_hole():
    label = painted(GLOMERULUS, HOLE)
    assert not label[30:70, 30:70].any()
    assert (label == 1).sum() == 80 * 80 - 40 * 40


@pytest.mark.parametrize(("shift", "hole"), [(30, True), (49, False)])
def test_most_of_a_hole_lies_in_its_object(shift, hole):
    label = painted(GLOMERULUS, ("background", affinity.translate(HOLE[1], shift)))
    assert (label == 1).sum() == 80 * 80 - hole * 40 * (40 - max(0, shift - 20))


def test_background_around_everything_erases_nothing():
    around = ("background", shapely.box(0, 0, 100, 100))
    nucleus = ("podocyte", shapely.box(20, 20, 26, 26))
    label = painted(around, GLOMERULUS, nucleus, ("background", GLOMERULUS[1]))
    assert np.bincount(label.reshape(-1)).tolist() == [10_000 - 6400, 6400 - 36, 36]


def test_nuclei_and_islands_in_a_hole_stay():
    nucleus = ("podocyte", shapely.box(32, 32, 38, 38))
    island = ("glomerulus", shapely.box(45, 45, 65, 65))
    in_island = ("background", shapely.box(50, 50, 60, 60))
    label = painted(GLOMERULUS, HOLE, nucleus, island, in_island)
    assert (label == 2).sum() == 6 * 6
    assert (label == 1).sum() == 80 * 80 - 40 * 40 + 20 * 20 - 10 * 10


def test_a_hole_in_a_nucleus_is_one():
    nucleus = ("podocyte", shapely.box(32, 32, 52, 52))
    label = painted(GLOMERULUS, nucleus, ("background", shapely.box(40, 40, 44, 44)))
    assert not label[40:44, 40:44].any()
    assert (label == 2).sum() == 400 - 16


def test_each_part_of_a_background_outline_is_a_hole_of_its_own():
    small = [("glomerulus", shapely.box(x, 10, x + 30, 40)) for x in (5, 60)]
    holes = MultiPolygon([shapely.box(x + 10, 20, x + 20, 30) for x in (5, 60)])
    label = painted(*small, ("background", holes))
    assert (label == 1).sum() == 2 * (900 - 100)


def test_without_background_objects_keep_the_order_of_their_file():
    boxes = [shapely.box(0, 0, side, side) for side in (3, 9, 5)]
    ordered = in_paint_order([(Annotation(outline), "podocyte") for outline in boxes], SCHEMA)
    assert ordered == [(outline, 2) for outline in boxes]
    assert in_paint_order([], SCHEMA) == []
