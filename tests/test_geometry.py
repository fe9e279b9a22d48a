"""Properties of the ground floor's arithmetic, everything on input that is not square."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wsiseg import geometry
from wsiseg.errors import ResolutionError
from wsiseg.geometry import AxisTiling, Box, GridFrame, Resolution, TileGrid

quick = settings(deadline=None, max_examples=150)
spans = st.tuples(st.integers(-50, 50), st.integers(0, 60))
boxes = st.builds(lambda x, y: Box(x[0], y[0], x[0] + x[1], y[0] + y[1]), spans, spans)
sizes = st.tuples(st.integers(1, 3000), st.integers(1, 2000))
mpps = st.floats(0.1, 2.0)
frames = st.builds(
    lambda size, x, y, mpp: GridFrame.of(size, Resolution(x, y), mpp), sizes, mpps, mpps, st.floats(0.1, 4.0)
)


@st.composite
def tilings(draw):
    tile = draw(st.integers(1, 40))
    return AxisTiling(draw(st.integers(1, 300)), tile, draw(st.integers(0, tile - 1)))


@st.composite
def grids(draw):
    tile = draw(st.integers(1, 30))
    size = (draw(st.integers(1, 130)), draw(st.integers(1, 90)))
    return TileGrid(size, tile, draw(st.integers(0, tile - 1)))


class TestConventions:
    """Axis order, half-openness, origin: said once, held everywhere."""

    def test_slices_are_row_then_column(self):
        array = np.zeros((30, 70))
        array[Box(10, 2, 60, 5).slices()] = 1
        assert np.argwhere(array)[0].tolist() == [2, 10]
        assert array.sum() == 50 * 3

    def test_slices_count_from_the_origin_of_the_array(self):
        assert Box(10, 20, 13, 27).slices((8, 15)) == (slice(5, 12), slice(2, 5))

    def test_boxes_are_half_open(self):
        box = Box.from_size(3, 4, 5, 6)
        assert (box.x1, box.y1, box.width, box.height) == (8, 10, 5, 6)
        assert Box(0, 0, 3, 9).intersection(Box(3, 0, 6, 9)).is_empty

    def test_the_first_pixel_of_the_grid_begins_where_level_0_begins(self):
        frame = GridFrame.of((1000, 600), Resolution(0.25, 0.5), 1.0)
        assert frame.to_l0(Box(0, 0, 10, 10)) == Box(0, 0, 40, 20)

    def test_sizes_are_width_then_height(self):
        assert GridFrame.of((1000, 600), Resolution(0.5, 0.5), 1.0).size_gr == (500, 300)
        grid = TileGrid((500, 300), 100)
        assert (grid.columns, grid.rows) == (5, 3)
        assert grid[1].read == Box(100, 0, 200, 100)


@given(boxes, boxes)
@quick
def test_intersection_is_what_both_cover(one, other):
    def paint(box):
        plane = np.zeros((200, 200), dtype=bool)
        plane[box.slices((-60, -60))] = True
        return plane

    both = one.intersection(other)
    assert (paint(both) == (paint(one) & paint(other))).all()
    assert one.contains(both)
    assert one.contains(other) == (paint(one) >= paint(other)).all()


@given(tilings())
@quick
def test_keeps_partition_the_axis_and_reads_cover_keeps(tiling):
    covered = []
    for index in range(tiling.count):
        start, stop = tiling.keep(index)
        read_start, read_stop = tiling.read(index)
        assert read_start <= start < stop <= read_stop
        covered += range(start, stop)
    assert covered == list(range(tiling.length))


@given(tilings())
@quick
def test_tile_i_sits_at_i_strides(tiling):
    for index in range(tiling.count):
        assert tiling.read(index) == (index * tiling.stride, index * tiling.stride + tiling.tile)
    assert tiling.read(tiling.count - 1)[1] >= tiling.length


@given(tilings(), st.data())
@quick
def test_reading_equals_brute_force(tiling, data):
    start = data.draw(st.integers(0, tiling.length - 1))
    stop = data.draw(st.integers(start + 1, tiling.length))
    expected = [
        index
        for index in range(tiling.count)
        if tiling.read(index)[0] < stop and start < tiling.read(index)[1]
    ]
    assert list(tiling.reading(start, stop)) == expected


@pytest.mark.parametrize("values", [(0, 5, 0), (5, 0, 0), (5, 3, 3), (5, 3, -1)])
def test_an_impossible_tiling_is_refused(values):
    with pytest.raises(ValueError, match="impossible tiling"):
        AxisTiling(*values)


@given(grids())
@quick
def test_keeps_of_a_grid_partition_the_slide(grid):
    owners = np.zeros((grid.size_gr[1], grid.size_gr[0]), dtype=int)
    for index, tile in enumerate(grid):
        assert tile.index == index == tile.row * grid.columns + tile.column
        assert tile.read.contains(tile.keep)
        assert tile.read.width == tile.read.height == grid.tile_px
        owners[tile.keep.slices()] += 1
    assert (owners == 1).all()
    assert [tile for row in range(grid.rows) for tile in grid.row(row)] == list(grid)


@given(grids(), st.data())
@quick
def test_a_grid_finds_the_tiles_that_read_a_box(grid, data):
    width, height = grid.size_gr
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    expected = [tile for tile in grid if not tile.read.intersection(box).is_empty]
    assert grid.reading(box) == expected


def test_a_grid_has_no_tile_beyond_its_last():
    grid = TileGrid((10, 5), 4)
    with pytest.raises(IndexError, match="tile 6 of 6"):
        _ = grid[6]


@given(frames, st.lists(st.integers(0, 4000), min_size=3, max_size=3, unique=True), st.integers(0, 50))
@quick
def test_neighbours_share_their_edge_on_level_0(frame, xs, y):
    a, b, c = sorted(xs)
    assume(min(frame.downsample) >= 1)
    left, right = frame.to_l0(Box(a, y, b, y + 1)), frame.to_l0(Box(b, y, c, y + 1))
    assert left.x1 == right.x0
    above, below = frame.to_l0(Box(y, a, y + 1, b)), frame.to_l0(Box(y, b, y + 1, c))
    assert above.y1 == below.y0


@given(frames, st.integers(0, 100_000), st.integers(0, 100_000))
@quick
def test_no_edge_drifts_by_more_than_half_a_pixel(frame, x, y):
    box = frame.to_l0(Box(x, y, x + 512, y + 512))
    assert abs(box.x0 - x * frame.downsample[0]) <= 0.5 + 1e-6
    assert abs(box.y0 - y * frame.downsample[1]) <= 0.5 + 1e-6


@given(frames)
@quick
def test_the_grid_covers_the_slide_and_no_more(frame):
    (width, height), (dx, dy) = frame.size_gr, frame.downsample
    assert width * dx >= frame.size_l0[0] - 1e-3
    assert height * dy >= frame.size_l0[1] - 1e-3
    assert (width - 1) * dx < frame.size_l0[0]
    assert (height - 1) * dy < frame.size_l0[1]
    assert frame.to_l0(frame.box_gr).x1 >= frame.size_l0[0] - 0.5 - 1e-3


@given(frames, st.data())
@quick
def test_cover_is_the_smallest_grid_box_over_a_level_0_box(frame, data):
    width, height = frame.size_l0
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    cover, (dx, dy) = frame.cover_l0(Box(x0, y0, x1, y1)), frame.downsample
    slack = 1e-5 * max(dx, dy)
    assert cover.x0 * dx <= x0 + slack
    assert cover.y0 * dy <= y0 + slack
    assert cover.x1 * dx >= x1 - slack
    assert cover.y1 * dy >= y1 - slack
    assert (cover.x0 + 1) * dx > x0
    assert (cover.y1 - 1) * dy < y1


@given(frames, st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), min_size=1, max_size=5))
@quick
def test_points_go_there_and_back(frame, points):
    there = frame.points_to_l0(np.array(points))
    np.testing.assert_allclose(frame.points_to_gr(there), points, rtol=1e-12, atol=1e-9)
    assert there[0, 0] == points[0][0] * frame.downsample[0]


@pytest.mark.parametrize("scanner", [0.4990, 0.4999, 0.5010])
def test_a_factor_of_nearly_one_is_one(scanner):
    frame = GridFrame.of((46000, 32914), Resolution(scanner, 0.5), 0.5)
    assert frame.downsample == (1.0, 1.0)
    assert frame.size_gr == (46000, 32914)


@pytest.mark.parametrize("scanner", [0.4980, 0.5031, 0.2527])
def test_any_other_factor_is_kept(scanner):
    assert GridFrame.of((1000, 600), Resolution(scanner, 0.5), 0.5).downsample == (0.5 / scanner, 1.0)


@pytest.mark.parametrize("mpp", [0.0, -1.0, 0.01, 352.8, math.nan, math.inf])
def test_an_implausible_resolution_is_refused(mpp):
    for pair in [(mpp, 0.5), (0.5, mpp)]:
        with pytest.raises(ResolutionError, match=r"expected 0\.05 to 5 um/px"):
            Resolution(*pair)
    with pytest.raises(ResolutionError):
        GridFrame.of((10, 10), Resolution(0.5, 0.5), mpp)


def test_the_examples_in_the_docstrings_hold():
    results = doctest.testmod(geometry)
    assert results.attempted >= 3
    assert results.failed == 0
