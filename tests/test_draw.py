"""Outlines on pictures."""

from pathlib import Path

import numpy as np
from PIL import Image
from shapely import Point, Polygon, box

from wsiseg.draw import draw_outlines, draw_small_outlines, save_png

RED, BLUE = (255, 0, 0), (0, 0, 255)


def blank(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def test_a_line_straddles_the_edge_it_draws() -> None:
    drawn = draw_outlines(blank(10, 12), [(box(3, 3, 9, 7), RED)], width=2)[:, :, 0] > 0
    expected = np.zeros((10, 12), dtype=bool)
    expected[2:8, 2:10] = True
    expected[4:6, 4:8] = False
    corners = np.ix_([2, 7], [2, 9])
    expected[corners] = drawn[corners]  # a round corner may leave out its outermost pixel
    np.testing.assert_array_equal(drawn, expected)


def test_holes_are_outlined_and_the_picture_is_left_alone() -> None:
    holed = Polygon(box(2, 2, 28, 28).exterior.coords, [box(10, 10, 20, 20).exterior.coords])
    picture = blank(30, 30)
    drawn = draw_outlines(picture, [(holed, RED)])
    assert drawn[10, 15].tolist() == list(RED)
    assert drawn[15, 15].tolist() == drawn[5, 5].tolist() == [0, 0, 0]
    assert not picture.any()


def test_later_outlines_lie_on_top_and_none_leave_the_picture() -> None:
    drawn = draw_outlines(blank(8, 8), [(box(-5, 4, 20, 30), RED), (Point(4, 4).buffer(1.5), BLUE)])
    assert drawn[4, 0].tolist() == list(RED)
    assert (drawn == BLUE).all(axis=2).sum() > 4


def test_nothing_to_draw_changes_nothing() -> None:
    picture = np.full((4, 5, 3), 7, dtype=np.uint8)
    np.testing.assert_array_equal(draw_outlines(picture, []), picture)


def test_small_outlines_are_where_the_exact_ones_are() -> None:
    shapes = [Point(20.3, 30.1).buffer(12), box(30, 5, 55, 18), Point(48, 40).buffer(0.6)]
    picture = blank(60, 70)
    draw_small_outlines(picture, np.array(shapes, dtype=object), RED, width=2)
    near = draw_outlines(blank(60, 70), [(shape, RED) for shape in shapes], width=4)[:, :, 0] > 0
    drawn = (picture == RED).all(axis=2)
    assert not (drawn & ~near).any()
    assert all(drawn[int(y), int(x)] for shape in shapes[:2] for x, y in shape.exterior.coords)
    assert drawn[38:42, 46:50].any(), "what is smaller than a pixel shows"


def test_small_outlines_show_holes_and_stop_at_the_edge() -> None:
    holed = Polygon(box(-9, 2, 28, 99).exterior.coords, [box(10, 10, 20, 20).exterior.coords])
    picture = blank(30, 30)
    draw_small_outlines(picture, np.array([holed], dtype=object), BLUE, width=1)
    assert picture[10, 15].tolist() == picture[25, 28].tolist() == list(BLUE)
    assert not picture[15, 15].any()
    assert not picture[5, 5].any()
    draw_small_outlines(picture, np.zeros(0, dtype=object), RED, width=1)
    assert not (picture == RED).all(axis=2).any()


def test_a_picture_is_written_as_it_is(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)
