import numpy as np
import pytest
import shapely

from wsiseg.annotation import Annotation, Classified
from wsiseg.classes import default_schema
from wsiseg.geometry import Box, GridFrame
from wsiseg.tiling import overview as drawing
from wsiseg.tiling.labelling import Sketch, sketch
from wsiseg.tiling.overview import draw_overview
from wsiseg.tissuemap import Overview, TissueMap

SCHEMA = default_schema()
PICTURE = GridFrame((1600, 1200), (16.0, 16.0), 0.5)
BOX = Box(0, 0, 100, 75)
LARGE = Annotation(shapely.box(160, 160, 800, 640))
NUCLEUS = Annotation(shapely.Point(330, 250).buffer(10))
FAR = Annotation(shapely.Point(1590, 1190).buffer(10))


def test_what_is_smaller_than_two_pixels_is_a_dot_in_its_middle():
    marks = Classified([(LARGE, "glomerulus"), (NUCLEUS, "podocyte"), (FAR, "non_podocyte")])
    drawn = sketch(marks, SCHEMA, PICTURE, "slide", BOX)
    assert (drawn.label == 1).sum() == 40 * 30
    assert set(np.unique(drawn.label)) == {0, 1}
    assert drawn.columns.tolist() == [20, 99]
    assert drawn.rows.tolist() == [15, 74]
    assert drawn.values.tolist() == [2, 3]


@pytest.mark.parametrize(("mode", "dots"), [("regions", 1), ("slide", 2), ("tiles", 2)])
def test_dots_outside_what_is_labelled_are_left_out(mode, dots):
    marks = Classified([(NUCLEUS, "podocyte"), (FAR, "non_podocyte")], regions=[LARGE])
    assert len(sketch(marks, SCHEMA, PICTURE, mode, BOX).values) == dots


def test_nothing_annotated_gives_an_empty_sketch():
    drawn = sketch(Classified(), SCHEMA, PICTURE, "nothing", BOX)
    assert drawn.label is None
    assert len(drawn.values) == 0


def test_tiles_tissue_and_annotations_are_drawn():
    rgb = np.full((75, 100, 3), 240, dtype=np.uint8)
    mask = np.zeros((75, 100), dtype=bool)
    mask[50:70, 60:90] = True
    label = np.zeros((75, 100), dtype=np.uint8)
    label[40:45, 10:20] = 1
    picture = draw_overview(
        Overview(rgb, (16.0, 16.0), ()),
        TissueMap(mask, (16.0, 16.0)),
        GridFrame((1600, 1200), (1.0, 1.0), 0.5),
        [Box(0, 0, 160, 160), Box(160, 0, 320, 160), Box(320, 0, 480, 160), Box(1500, 0, 1660, 160)],
        labelled=np.array([False, True, False, False]),
        readable=np.array([True, True, False, True]),
        sketch=Sketch(label, np.array([30]), np.array([7]), np.array([2], dtype=np.uint8)),
        palette=SCHEMA.palette,
    )
    assert tuple(picture[5, 0]) == drawing.UNLABELLED_COLOR
    assert tuple(picture[0, 15]) == tuple(picture[9, 15]) == drawing.LABELLED_COLOR
    assert tuple(picture[5, 20]) == tuple(picture[5, 29]) == drawing.UNREADABLE_COLOR
    assert tuple(picture[5, 99]) == drawing.UNLABELLED_COLOR, "a tile that reaches past the slide"
    assert tuple(picture[50, 70]) == tuple(picture[49, 70]) == drawing.TISSUE_COLOR
    assert tuple(picture[40, 15]) == SCHEMA["glomerulus"].color
    assert tuple(picture[30, 7]) == SCHEMA["podocyte"].color
    assert tuple(picture[5, 5]) == (240, 240, 240)
