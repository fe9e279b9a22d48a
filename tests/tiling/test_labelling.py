import numpy as np
import pytest
import shapely
from shapely import Polygon

from wsiseg.annotation import Annotation, Classified
from wsiseg.classes import ClassSchema, TissueClass, default_schema
from wsiseg.geometry import Box, GridFrame, TileGrid
from wsiseg.tiling.labelling import Labeller, choose_mode, count_classes

SCHEMA = default_schema()
FRAME = GridFrame((200, 160), (2.0, 2.0), 1.0)
WHOLE = FRAME.box_gr


def box_l0(x0, y0, x1, y1):
    return Annotation(shapely.box(x0, y0, x1, y1))


def classified(*objects, regions=(), ignored=()):
    return Classified([(box_l0(*corners), name) for name, corners in objects], list(regions), list(ignored))


GLOMERULUS = ("glomerulus", (20, 20, 100, 100))
PODOCYTE = ("podocyte", (40, 40, 60, 60))


def test_the_inner_class_wins_in_whatever_order_the_file_has_them():
    for objects in ((GLOMERULUS, PODOCYTE), (PODOCYTE, GLOMERULUS)):
        label = Labeller(classified(*objects), SCHEMA, FRAME, "slide").label(WHOLE)
        assert (label == 2).sum() == 10 * 10
        assert (label == 1).sum() == 40 * 40 - 10 * 10
        assert (label == 0).sum() == 100 * 80 - 40 * 40
        assert label[10, 10] == 1


def test_a_hole_is_background():
    ring = Polygon(shapely.box(20, 20, 100, 100).exterior, [shapely.box(40, 40, 60, 60).exterior])
    label = Labeller(Classified([(Annotation(ring), "glomerulus")]), SCHEMA, FRAME, "slide").label(WHOLE)
    assert (label[25, 25], label[15, 15]) == (0, 1)


def test_ignored_areas_are_painted_over_everything():
    ignored = [box_l0(0, 0, 50, 50)]
    label = Labeller(classified(GLOMERULUS, PODOCYTE, ignored=ignored), SCHEMA, FRAME, "slide").label(WHOLE)
    assert (label[:25, :25] == 255).all()
    assert (label == 255).sum() == 25 * 25
    assert (label == 2).sum() == 100 - 25


def test_by_regions_nothing_is_known_outside_them():
    labeller = Labeller(classified(GLOMERULUS, regions=[box_l0(0, 0, 60, 160)]), SCHEMA, FRAME, "regions")
    label = labeller.label(WHOLE)
    assert (label[:, 30:] == 255).all()
    assert (label[:, :30] != 255).all()
    assert (label == 1).sum() == 20 * 40
    assert labeller.label(Box(30, 0, 60, 60)) is None


def test_by_tiles_only_those_with_an_object_are_labelled():
    labeller = Labeller(classified(GLOMERULUS), SCHEMA, FRAME, "tiles")
    assert labeller.label(Box(60, 0, 90, 30)) is None
    assert labeller.label(Box(50, 0, 90, 30)) is None, "sharing an edge is not holding"
    label = labeller.label(Box(40, 0, 60, 30))
    assert (label != 255).all()
    assert (label == 1).sum() == 10 * 20


def test_nothing_is_labelled_without_annotations():
    labeller = Labeller(Classified(), SCHEMA, FRAME, "nothing")
    assert labeller.label(WHOLE) is None
    assert not labeller.annotated([WHOLE]).any()


def test_off_the_slide_nothing_is_known():
    label = Labeller(classified(GLOMERULUS), SCHEMA, FRAME, "slide").label(Box(90, 70, 110, 90))
    assert (label[:10, :10] == 0).all()
    assert (label == 255).sum() == 400 - 100


def test_annotated_are_boxes_with_an_object_or_a_region():
    labeller = Labeller(
        classified(PODOCYTE, regions=[box_l0(180, 150, 190, 155)], ignored=[box_l0(0, 0, 9, 9)]),
        SCHEMA,
        FRAME,
        "regions",
    )
    grid = TileGrid(FRAME.size_gr, 16)
    found = np.flatnonzero(labeller.annotated([tile.read for tile in grid]))
    assert found.tolist() == [1 * grid.columns + 1, 4 * grid.columns + 5]


def test_any_box_is_a_crop_of_the_whole():
    frame = GridFrame((200, 160), (1.7, 1.3), 1.0)
    rng = np.random.default_rng(1)
    objects = [
        (Annotation(shapely.Point(x, y).buffer(r)), SCHEMA.names[k])
        for x, y, r, k in zip(
            rng.uniform(0, 200, 40), rng.uniform(0, 160, 40), rng.uniform(2, 20, 40), rng.integers(1, 4, 40),
            strict=True,
        )
    ]  # fmt: skip
    regions = [Annotation(shapely.Point(90, 80).buffer(70))]
    labeller = Labeller(Classified(objects, regions, []), SCHEMA, frame, "regions")
    whole = labeller.label(frame.box_gr)
    for tile in TileGrid(frame.size_gr, 32, 7):
        inside = tile.read.intersection(frame.box_gr)
        label = labeller.label(inside)
        expected = whole[inside.slices()]
        assert (expected == 255).all() if label is None else np.array_equal(label, expected)


def test_one_foreground_class():
    schema = ClassSchema((TissueClass("background", (0, 0, 0)), TissueClass("tumour", (9, 9, 9))))
    label = Labeller(classified(("tumour", (0, 0, 20, 20))), schema, FRAME, "slide").label(WHOLE)
    assert np.bincount(label.reshape(-1)).tolist() == [7900, 100]


def test_drawn_background_marks_a_tile_as_looked_at():
    labeller = Labeller(classified(("background", (0, 0, 20, 20))), SCHEMA, FRAME, "tiles")
    assert not labeller.label(Box(0, 0, 10, 10)).any()
    assert labeller.label(Box(20, 20, 30, 30)) is None


@pytest.mark.parametrize(
    ("content", "wanted", "mode"),
    [
        (classified(GLOMERULUS, regions=[box_l0(0, 0, 9, 9)]), "auto", "regions"),
        (classified(regions=[box_l0(0, 0, 9, 9)]), "auto", "regions"),
        (classified(GLOMERULUS), "auto", "slide"),
        (classified(), "auto", "nothing"),
        (classified(), "slide", "slide"),
        (classified(GLOMERULUS), "regions", "regions"),
        (classified(GLOMERULUS), "tiles", "tiles"),
    ],
)
def test_what_auto_means(content, wanted, mode):
    assert choose_mode(content, wanted) == mode


def test_counts_name_what_there_is():
    content = classified(PODOCYTE, GLOMERULUS, PODOCYTE, ignored=[box_l0(0, 0, 9, 9)])
    assert count_classes(content) == {"glomerulus": 1, "podocyte": 2, "ignored": 1}
