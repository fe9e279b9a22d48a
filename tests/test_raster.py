from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely import MultiPolygon, Point, Polygon

from wsiseg import raster
from wsiseg.geometry import Box, TileGrid
from wsiseg.raster import RowPainter, ShapePainter

WHOLE = Box(0, 0, 40, 30)


@st.composite
def rings(draw):
    """A polygon with vertices on quarters of a pixel, which many a pixel centre lies on."""
    x, y = draw(st.integers(-20, 200)), draw(st.integers(-20, 160))
    corners = draw(st.integers(3, 9))
    angles = np.sort(draw(st.lists(st.floats(0, 6.28), min_size=corners, max_size=corners, unique=True)))
    radii = np.array(draw(st.lists(st.floats(1, 80), min_size=corners, max_size=corners)))
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1).round() / 4
    polygon = shapely.make_valid(Polygon(points))
    parts = [part for part in shapely.get_parts(polygon) if isinstance(part, Polygon)]
    return MultiPolygon(parts) if parts else MultiPolygon()


shapes_lists = st.lists(st.tuples(rings(), st.integers(1, 254)), max_size=6)


@st.composite
def boxes(draw):
    x0, y0 = draw(st.integers(-10, 45)), draw(st.integers(-10, 35))
    return Box.from_size(x0, y0, draw(st.integers(1, 30)), draw(st.integers(1, 30)))


class TestRows:
    @given(shapes=shapes_lists, overlap=st.integers(0, 5), seed=st.integers(0, 9))
    @settings(max_examples=60, deadline=None)
    def test_boxes_in_rows_are_painted_the_same(self, shapes, overlap, seed):
        painter = ShapePainter(shapes, 7)
        grid = TileGrid((40, 30), 8, overlap)
        chosen = np.random.default_rng(seed).random(len(grid)) < 0.6
        tiles = [tile.read for tile in grid if chosen[tile.index]]
        rows = RowPainter(painter, tiles)
        assert len(rows) == len(painter)
        for box in (*tiles, Box(3, 5, 11, 9)):
            assert np.array_equal(rows.paint(box), painter.paint(box))
        assert np.array_equal(rows.touching(tiles), painter.touching(tiles))

    def test_a_row_is_painted_once_and_what_is_cut_from_it_is_ones_own(self, monkeypatch):
        monkeypatch.setattr(raster, "_STRETCH_PX", 24)
        painter = ShapePainter([(shapely.box(1, 1, 39, 29), 9)])
        asked = []
        paint = painter.paint
        monkeypatch.setattr(painter, "paint", lambda box: asked.append(box) or paint(box))
        tiles = [tile.read for tile in TileGrid((40, 30), 8)]
        rows = RowPainter(painter, tiles)
        rows.paint(tiles[0])[:] = 3
        labels = [rows.paint(box) for box in tiles]
        assert (labels[0] != 3).all()
        expected = [Box(x, y, min(x + 24, 40), y + 8) for y in range(0, 32, 8) for x in (0, 24)]
        assert asked == expected

    @pytest.mark.parametrize("threads", [1, 8])
    def test_threads_in_rows_of_their_own_paint_each_row_once(self, monkeypatch, threads):
        painter = ShapePainter([(shapely.box(1, 1, 39, 127), 9)])
        asked = []
        paint = painter.paint
        monkeypatch.setattr(painter, "paint", lambda box: asked.append(box) or paint(box))
        tiles = [tile.read for tile in TileGrid((40, 128), 8)]
        rows = RowPainter(painter, tiles, threads)
        own = np.array_split(np.arange(len(tiles)), threads)
        for turn in range(max(map(len, own))):
            for part in own:
                rows.paint(tiles[part[min(turn, len(part) - 1)]])
        assert len(asked) == len(set(asked)) == 16

    def test_threads_share_one(self):
        rng = np.random.default_rng(0)
        points = zip(rng.uniform(0, 1000, 300), rng.uniform(0, 1000, 300), strict=True)
        painter = ShapePainter([(Point(x, y).buffer(20), i % 255) for i, (x, y) in enumerate(points)])
        tiles = [tile.read for tile in TileGrid((1000, 1000), 64, 9)]
        rows = RowPainter(painter, tiles)
        with ThreadPoolExecutor(4) as pool:
            labels = list(pool.map(rows.paint, tiles))
        assert all(
            np.array_equal(label, painter.paint(box)) for label, box in zip(labels, tiles, strict=True)
        )


class TestConventions:
    def test_a_box_covers_exactly_its_pixels(self):
        label = ShapePainter([(shapely.box(3, 2, 7, 4), 9)]).paint(WHOLE)
        assert label.shape == (30, 40)
        assert label.dtype == np.uint8
        assert (label == 9).sum() == 8
        assert (label[2:4, 3:7] == 9).all()

    def test_a_centre_on_the_left_or_upper_edge_is_inside_on_the_others_outside(self):
        label = ShapePainter([(shapely.box(3.5, 2.5, 7.5, 4.5), 9)]).paint(WHOLE)
        assert (label == 9).sum() == 8
        assert (label[2:4, 3:7] == 9).all()

    def test_later_shapes_win(self):
        painter = ShapePainter([(shapely.box(0, 0, 9, 9), 1), (shapely.box(5, 5, 12, 12), 2)])
        assert painter.paint(WHOLE)[6, 6] == 2
        painter = ShapePainter([(shapely.box(5, 5, 12, 12), 2), (shapely.box(0, 0, 9, 9), 1)])
        assert painter.paint(WHOLE)[6, 6] == 1

    def test_holes_show_what_is_below(self):
        ring = Polygon(shapely.box(0, 0, 10, 10).exterior, [shapely.box(3, 3, 6, 6).exterior])
        label = ShapePainter([(shapely.box(0, 0, 5, 5), 1), (ring, 2)], background=7).paint(WHOLE)
        assert (label[4, 4], label[5, 5], label[2, 2], label[20, 20]) == (1, 7, 2, 7)

    def test_nothing_to_paint(self):
        assert (ShapePainter([], background=255).paint(WHOLE) == 255).all()
        assert (ShapePainter([(Polygon(), 3)]).paint(WHOLE) == 0).all()
        assert not ShapePainter([]).touching([WHOLE]).any()

    def test_a_shape_thinner_than_a_pixel_paints_no_centre(self):
        assert not ShapePainter([(shapely.box(3.6, 0, 4.4, 30), 1)]).paint(WHOLE).any()


class TestProperties:
    @given(shapes=shapes_lists, box=boxes(), background=st.integers(0, 255))
    @settings(max_examples=150, deadline=None)
    def test_a_box_is_a_crop_of_the_whole(self, shapes, box, background):
        painter = ShapePainter(shapes, background)
        around = Box(-10, -10, 75, 65)
        whole = painter.paint(around)
        assert np.array_equal(painter.paint(box), whole[box.slices((around.x0, around.y0))])

    @given(shapes=shapes_lists)
    @settings(max_examples=100, deadline=None)
    def test_inside_is_where_shapely_finds_the_centre(self, shapes):
        label = ShapePainter(shapes).paint(WHOLE)
        y, x = np.mgrid[:30, :40] + 0.5
        expected = np.zeros((30, 40), dtype=np.uint8)
        unsure = np.zeros((30, 40), dtype=bool)
        for polygon, value in shapes:
            inside = shapely.contains_xy(polygon, x, y)
            near = shapely.distance(polygon.boundary, shapely.points(x, y)) < 1e-9
            expected[inside] = value
            unsure |= near
        assert np.array_equal(label[~unsure], expected[~unsure])

    @given(cut=st.floats(0, 40), slope=st.floats(-3, 3))
    @settings(max_examples=100, deadline=None)
    def test_shapes_that_share_an_edge_share_no_pixel_and_leave_no_gap(self, cut, slope):
        top, bottom = (cut, 0), (cut + slope * 30, 30)
        left = Polygon([(-200, 0), top, bottom, (-200, 30)])
        right = Polygon([top, (240, 0), (240, 30), bottom])
        painted = [ShapePainter([(side, 1)]).paint(WHOLE).astype(int) for side in (left, right)]
        assert (painted[0] + painted[1] == 1).all()

    @given(shapes=shapes_lists)
    @settings(max_examples=60, deadline=None)
    def test_touching_agrees_with_geometry(self, shapes):
        tiles = [tile.read for tile in TileGrid((40, 30), 8, 2)]
        found = ShapePainter(shapes).touching(tiles)
        for box, touched in zip(tiles, found, strict=True):
            area = sum(
                polygon.intersection(shapely.box(box.x0, box.y0, box.x1, box.y1)).area
                for polygon, _ in shapes
            )
            assert touched == (area > 0) or area < 1e-9


def test_equals_gdal_on_many_nuclei():
    rng = np.random.default_rng(0)
    centres = rng.uniform(-10, 1010, (800, 2))
    shapes = [
        (Point(x, y).buffer(radius, quad_segs=6), int(value))
        for (x, y), radius, value in zip(
            centres, rng.uniform(0.5, 12, 800), rng.integers(1, 255, 800), strict=True
        )
    ]
    expected = rasterize(shapes, (900, 1000), dtype="uint8")
    painter = ShapePainter(shapes)
    assert np.array_equal(painter.paint(Box(0, 0, 1000, 900)), expected)
    for tile in TileGrid((1000, 900), 256, 32):
        clipped = tile.read.intersection(Box(0, 0, 1000, 900))
        assert np.array_equal(painter.paint(clipped), expected[clipped.slices()])


@pytest.mark.parametrize("value", [0, 255])
def test_every_label_can_be_painted(value):
    assert ShapePainter([(shapely.box(0, 0, 2, 2), value)], background=3).paint(WHOLE)[0, 0] == value
