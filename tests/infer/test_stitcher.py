"""Stitching: nothing is changed by cutting, and bands equal the same arithmetic on the whole slide."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.blend import window
from wsiseg.geometry import Box, TileGrid
from wsiseg.infer.stitcher import build_stitcher, decide, to_byte

CLASSES = 3

grids = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17)).flatmap(
    lambda s: st.builds(lambda overlap: TileGrid((s[0], s[1]), s[2], overlap), st.integers(0, s[2] - 1))
)
methods = st.sampled_from(["keep", "window"])


def stitch(grid, predict, method, *, start=0):
    """Labels and confidences of the rows from the band of tile row ``start`` on."""
    stitcher = build_stitcher(method, grid, CLASSES)
    bands = []
    for row in range(stitcher.first_row(start), grid.rows):
        for tile in grid.row(row):
            stitcher.add(tile, predict(tile))
        band = stitcher.finish(row)
        if row >= start:
            bands.append(band)
    assert all(a.box_gr.y1 == b.box_gr.y0 for a, b in pairwise(bands))
    return np.concatenate([b.label_HW for b in bands]), np.concatenate([b.confidence_HW for b in bands])


def dense(grid, predict, method):
    """The same in the plainest way, on the whole slide."""
    width, height = grid.size_gr
    total = np.zeros((CLASSES, height + grid.tile_px, width + grid.tile_px), np.float32)
    weights = np.zeros(total.shape[1:], np.float32)
    weight = window(grid.tile_px, grid.overlap_px)
    for tile in grid:
        probabilities = predict(tile)
        if probabilities is None:
            probabilities = np.zeros((CLASSES, grid.tile_px, grid.tile_px), np.float32)
            probabilities[0] = 1
        if method == "keep":
            inside = tile.keep.slices((tile.read.x0, tile.read.y0))
            total[(slice(None), *tile.keep.slices())] = probabilities[(slice(None), *inside)]
            weights[tile.keep.slices()] = 1
        else:
            total[(slice(None), *tile.read.slices())] += weight * probabilities
            weights[tile.read.slices()] += weight
    total, weights = total[:, :height, :width], weights[:height, :width]
    assert (weights > 0).all()
    best = total.max(axis=0) / weights
    return total.argmax(axis=0).astype(np.uint8), to_byte(best)


def disagreeing(seed):
    """Every tile predicts its own noise; one in four is background that was not looked at."""

    def predict(tile):
        rng = np.random.default_rng([seed, tile.index])
        if rng.random() < 0.25:
            return None
        raw = rng.random((CLASSES, tile.read.height, tile.read.width), dtype=np.float32)
        return raw / raw.sum(axis=0)

    return predict


def seeing(label, grid):
    """Every tile predicts what it sees of one label image."""
    width, height = grid.size_gr
    padded = np.zeros((height + grid.tile_px, width + grid.tile_px), np.uint8)
    padded[:height, :width] = label

    def predict(tile):
        return np.eye(CLASSES, dtype=np.float32)[padded[tile.read.slices()]].transpose(2, 0, 1)

    return predict


@given(grids, st.integers(0, 2**32 - 1), methods)
@settings(max_examples=150, deadline=None)
def test_a_label_image_comes_back_unchanged(grid, seed, method):
    label = np.random.default_rng(seed).integers(0, CLASSES, grid.size_gr[::-1], dtype=np.uint8)
    stitched, confidence = stitch(grid, seeing(label, grid), method)
    assert np.array_equal(stitched, label)
    assert (confidence == 255).all()


@given(grids, st.integers(0, 2**32 - 1), methods)
@settings(max_examples=150, deadline=None)
def test_bands_equal_the_whole_slide_at_once(grid, seed, method):
    stitched = stitch(grid, disagreeing(seed), method)
    expected = dense(grid, disagreeing(seed), method)
    assert np.array_equal(stitched[0], expected[0])
    assert np.array_equal(stitched[1], expected[1])


@given(grids, st.integers(0, 2**32 - 1), methods, st.floats(0, 0.999))
@settings(max_examples=150, deadline=None)
def test_starting_at_any_row_gives_the_same_rows(grid, seed, method, where):
    start = int(where * grid.rows)
    whole = stitch(grid, disagreeing(seed), method)
    part = stitch(grid, disagreeing(seed), method, start=start)
    rows = len(part[0])
    assert np.array_equal(part[0], whole[0][-rows:])
    assert np.array_equal(part[1], whole[1][-rows:])


@given(grids, methods, st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_constant_comes_back_the_same_constant(grid, method, step):
    probability = np.float32(step / 255)
    constant = np.zeros((CLASSES, grid.tile_px, grid.tile_px), np.float32)
    constant[1] = probability
    _, confidence = stitch(grid, lambda tile: constant, method)
    assert (confidence == step).all()


def test_nothing_and_everything_overlapped_give_a_half():
    grid = TileGrid((6, 4), 4, 2)
    probabilities = np.zeros((2, CLASSES, 4, 4), np.float32)
    probabilities[1, 1] = 1
    _, confidence = stitch(grid, lambda tile: probabilities[tile.column], "window")
    # The ramps over two shared pixels are sin(45 / 2) squared and its complement: 37 and 219 of 256.
    assert confidence[0].tolist() == [0, 0, round(255 * 37 / 256), round(255 * 219 / 256), 255, 255]
    even = TileGrid((3, 4), 2, 1)
    ones = np.zeros((3, CLASSES, 2, 2), np.float32)
    ones[1, 1] = 1
    _, confidence = stitch(even, lambda tile: ones[tile.column], "window")
    assert confidence[0].tolist() == [0, 128, 255]


def test_background_that_was_not_looked_at_keeps_its_weight():
    grid = TileGrid((3, 2), 2, 1)
    ones = np.zeros((CLASSES, 2, 2), np.float32)
    ones[1] = 1
    label, confidence = stitch(grid, lambda tile: ones if tile.column else None, "window")
    assert label[0].tolist() == [0, 0, 1]
    assert confidence[0].tolist() == [255, 128, 255]


def test_levels_go_to_the_lower_class():
    label, best = decide(np.full((CLASSES, 2, 2), 0.25, np.float32))
    assert not label.any()
    assert (best == 0.25).all()


@pytest.mark.parametrize("method", ["keep", "window"])
def test_what_is_held_does_not_depend_on_the_height(method):
    def held(height):
        stitcher = build_stitcher(method, TileGrid((64, height), 16, 4), CLASSES)
        arrays = [value for value in vars(stitcher).values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in arrays if array.ndim > 1)

    assert held(100) == held(100_000)


def test_boxes_of_bands_partition_the_slide():
    grid = TileGrid((10, 23), 8, 3)
    for method in ("keep", "window"):
        stitcher = build_stitcher(method, grid, CLASSES)
        boxes = []
        for row in range(grid.rows):
            for tile in grid.row(row):
                stitcher.add(tile, None)
            boxes.append(stitcher.finish(row).box_gr)
        assert boxes[0].y0 == 0
        assert boxes[-1].y1 == 23
        assert sum(box.area for box in boxes) == Box(0, 0, 10, 23).area
