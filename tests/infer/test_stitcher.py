"""Stitching: nothing is changed by cutting, and bands equal the same arithmetic on the whole slide."""

import tempfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.blend import window
from wsiseg.geometry import TileGrid
from wsiseg.infer.stitcher import Planes, build_stitcher, decide, to_byte

CLASSES = 3
PLANES = Planes(CLASSES, confidence=True, probabilities=True)
PLAIN = Planes(CLASSES, probabilities=True)

grids = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17)).flatmap(
    lambda s: st.builds(lambda overlap: TileGrid((s[0], s[1]), s[2], overlap), st.integers(0, s[2] - 1))
)
methods = st.sampled_from(["keep", "window"])


def stitch(grid, predict, method, *, start=0, planes=PLANES):
    """The maps of the rows from the band of tile row ``start`` on: uint8 ``(C + 2, h, width)``."""
    maps = np.zeros((len(planes) + 2, grid.size_gr[1], grid.size_gr[0]), np.uint8)
    filled = np.zeros(grid.size_gr[::-1], int)
    with closing(build_stitcher(method, grid, planes, Path(tempfile.gettempdir()))) as stitcher:
        for row in range(stitcher.first_row(start), grid.rows):
            band = [part for tile in grid.row(row) for part in stitcher.add(tile, predict(tile))]
            assert all(one.box_gr.x1 == other.box_gr.x0 for one, other in pairwise(band))
            assert len({(part.box_gr.y0, part.box_gr.y1) for part in band}) == 1
            for part in band if row >= start else []:
                where = part.box_gr.slices()
                layers = [part.label_HW[None], part.probability_HW[None], part.probabilities_KHW]
                layers += [] if part.confidence_HW is None else [part.confidence_HW[None]]
                maps[(slice(None), *where)] = np.concatenate(layers)
                filled[where] += 1
    top = int(np.argmax(filled.any(axis=1)))
    assert (filled[top:] == 1).all()
    assert not filled[:top].any()
    return maps[:, top:]


def dense(grid, predict, method):
    """The same in the plainest way, on the whole slide."""
    width, height = grid.size_gr
    total = np.zeros((len(PLANES), height + grid.tile_px, width + grid.tile_px), np.float32)
    weights = np.zeros(total.shape[1:], np.float32)
    weight = window(grid.tile_px, grid.overlap_px)
    for tile in grid:
        planes = predict(tile)
        if planes is None:
            planes = np.zeros((len(PLANES), grid.tile_px, grid.tile_px), np.float32)
            planes[0] = planes[CLASSES:] = 1
        if method == "keep":
            inside = tile.keep.slices((tile.read.x0, tile.read.y0))
            total[(slice(None), *tile.keep.slices())] = planes[(slice(None), *inside)]
            weights[tile.keep.slices()] = 1
        else:
            total[(slice(None), *tile.read.slices())] += weight * planes
            weights[tile.read.slices()] += weight
    total, weights = total[:, :height, :width], weights[:height, :width]
    assert (weights > 0).all()
    label = total[:CLASSES].argmax(axis=0).astype(np.uint8)
    best = to_byte(total[:CLASSES].max(axis=0) / weights)
    return np.stack([label, best, *to_byte(total / weights)])


def disagreeing(seed):
    """Every tile predicts its own noise; one in four is background that was not looked at."""

    def predict(tile):
        rng = np.random.default_rng([seed, tile.index])
        if rng.random() < 0.25:
            return None
        raw = rng.random((len(PLANES), tile.read.height, tile.read.width), dtype=np.float32)
        raw[:CLASSES] /= raw[:CLASSES].sum(axis=0)
        return raw

    return predict


def seeing(label, grid):
    """Every tile predicts what it sees of one label image."""
    width, height = grid.size_gr
    padded = np.zeros((height + grid.tile_px, width + grid.tile_px), np.uint8)
    padded[:height, :width] = label

    def predict(tile):
        answers = np.eye(CLASSES, len(PLANES), dtype=np.float32)
        answers[:, CLASSES:] = 1
        return answers[padded[tile.read.slices()]].transpose(2, 0, 1)

    return predict


@given(grids, st.integers(0, 2**32 - 1), methods)
@settings(max_examples=150, deadline=None)
def test_a_label_image_comes_back_unchanged(grid, seed, method):
    label = np.random.default_rng(seed).integers(0, CLASSES, grid.size_gr[::-1], dtype=np.uint8)
    stitched, probability, *probabilities, confidence = stitch(grid, seeing(label, grid), method)
    assert np.array_equal(stitched, label)
    assert (probability == 255).all()
    assert (confidence == 255).all()
    for index, each in enumerate(probabilities):
        assert np.array_equal(each, np.where(label == index, 255, 0))


@given(grids, st.integers(0, 2**32 - 1), methods)
@settings(max_examples=150, deadline=None)
def test_parts_equal_the_whole_slide_at_once(grid, seed, method):
    assert np.array_equal(stitch(grid, disagreeing(seed), method), dense(grid, disagreeing(seed), method))


@given(grids, st.integers(0, 2**32 - 1), methods, st.floats(0, 0.999))
@settings(max_examples=150, deadline=None)
def test_starting_at_any_row_gives_the_same_rows(grid, seed, method, where):
    start = int(where * grid.rows)
    whole = stitch(grid, disagreeing(seed), method)
    part = stitch(grid, disagreeing(seed), method, start=start)
    assert np.array_equal(part, whole[:, -part.shape[1] :])


@given(grids, methods, st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_constant_comes_back_the_same_constant(grid, method, step):
    probability = np.float32(step / 255)
    constant = np.zeros((len(PLANES), grid.tile_px, grid.tile_px), np.float32)
    constant[1] = constant[CLASSES] = probability
    _, best, *_, confidence = stitch(grid, lambda tile: constant, method)
    assert (best == step).all()
    assert (confidence == step).all()


def test_nothing_and_everything_overlapped_give_a_half():
    grid = TileGrid((6, 4), 4, 2)
    probabilities = np.zeros((2, CLASSES, 4, 4), np.float32)
    probabilities[1, 1] = 1
    _, best, *_ = stitch(grid, lambda tile: probabilities[tile.column], "window", planes=PLAIN)
    # The ramps over two shared pixels are sin(45 / 2) squared and its complement: 37 and 219 of 256.
    assert best[0].tolist() == [0, 0, round(255 * 37 / 256), round(255 * 219 / 256), 255, 255]
    even = TileGrid((3, 4), 2, 1)
    ones = np.zeros((3, CLASSES, 2, 2), np.float32)
    ones[1, 1] = 1
    _, best, *_ = stitch(even, lambda tile: ones[tile.column], "window", planes=PLAIN)
    assert best[0].tolist() == [0, 128, 255]


def test_background_that_was_not_looked_at_keeps_its_weight():
    grid = TileGrid((3, 2), 2, 1)
    ones = np.zeros((CLASSES, 2, 2), np.float32)
    ones[1] = 1
    label, best, *_ = stitch(grid, lambda tile: ones if tile.column else None, "window", planes=PLAIN)
    assert label[0].tolist() == [0, 0, 1]
    assert best[0].tolist() == [255, 128, 255]


def test_levels_go_to_the_lower_class():
    label, best = decide(np.full((CLASSES, 2, 2), 0.25, np.float32))
    assert not label.any()
    assert (best == 0.25).all()


@pytest.mark.parametrize("method", ["keep", "window"])
def test_what_is_held_does_not_depend_on_the_slide(method, tmp_path):
    """Beyond a number or two for each row and column, all that is held belongs to the tile at hand."""

    def held(width, height):
        grid = TileGrid((width, height), 16, 4)
        with closing(build_stitcher(method, grid, PLANES, tmp_path)) as stitcher:
            for tile in grid.row(0)[:5]:
                stitcher.add(tile, np.zeros((len(PLANES), 16, 16), np.float32))
            values = vars(stitcher).values()
            arrays = [value for value in values if isinstance(value, np.ndarray) and value.ndim > 1]
            arrays += [block.sums_CTS for block in vars(stitcher).get("_blocks", ())]
            return sum(array.nbytes for array in arrays)

    assert held(100, 100) == held(50_000, 100) == held(100, 50_000)


def test_confidence_and_probabilities_only_where_they_are_wanted(tmp_path):
    grid = TileGrid((6, 4), 4, 2)
    for method in ("keep", "window"):
        with closing(build_stitcher(method, grid, Planes(CLASSES), tmp_path)) as stitcher:
            parts = stitcher.add(grid[0], np.zeros((CLASSES, 4, 4), np.float32))
            parts += stitcher.add(grid[1], None)
        assert all(part.probabilities_KHW is None and part.confidence_HW is None for part in parts)
