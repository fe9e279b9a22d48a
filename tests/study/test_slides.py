"""Which slides teach and which examine, and in what pieces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainstores import make_config, write_tiles

from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.geometry import TileGrid
from wsiseg.study.slides import kept_part, make_blocks, store_keys, take_sides
from wsiseg.tilestore import TileStore
from wsiseg.train.data import open_stores

TRAIN = make_config().train


def names(stores: tuple[TileStore, ...]) -> list[str]:
    return [store.name for store in stores]


def store(columns: int, rows: int, *, classes: int = 2, overlap: int = 0, labelled: Any = None) -> TileStore:
    """What this module asks of a store, without any pixels."""
    side = 32
    step = side - overlap
    grid = TileGrid((columns * step + overlap, rows * step + overlap), side, overlap)
    chosen = np.ones(len(grid), dtype=bool) if labelled is None else labelled
    fake = SimpleNamespace(grid=grid, indices=np.arange(len(grid)), labelled=chosen, schema=range(classes))
    return cast("TileStore", fake)


def test_test_slides_teach_nobody(tiles: Path) -> None:
    sides = take_sides(open_stores(tiles), ["b"], TRAIN)
    assert (names(sides.teaching), names(sides.testing)) == (["a", "c"], ["b"])
    assert set(store_keys(sides)) == {"a", "b", "c"}


def test_an_unlabelled_slide_of_a_test_patient_is_on_neither_side(tmp_path: Path) -> None:
    for number, (name, labelled) in enumerate(
        [("p1-a", True), ("p2-a", True), ("p2-b", False), ("p3", False)]
    ):
        write_tiles(tmp_path, name, seed=number, labelled=labelled)
    train = make_config(split={"patient_pattern": r"^(p\d)"}).train
    sides = take_sides(open_stores(tmp_path), ["p2-a"], train)
    assert (names(sides.teaching), names(sides.testing)) == (["p1-a", "p3"], ["p2-a"])


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    for number, name in enumerate(["p1-a", "p1-b", "p2"]):
        write_tiles(tmp_path, name, seed=number)
    train = make_config(split={"patient_pattern": r"^(p\d)"}).train
    with pytest.raises(
        TrainingDataError, match=r"patient p1 is .* p1-b outside the test slides \(test_slides"
    ):
        take_sides(open_stores(tmp_path), ["p1-a"], train)


@pytest.mark.parametrize(
    ("test_slides", "message"),
    [
        (["b", "z"], "test slides without tiles: found z, expected some of a, b, c"),
        (["c"], "test slide c has no labels"),
        (["a", "b", "c"], "every slide is a test slide"),
    ],
)
def test_test_slides_that_cannot_be(tiles: Path, test_slides: list[str], message: str) -> None:
    with pytest.raises((ConfigError, TrainingDataError), match=message):
        take_sides(open_stores(tiles), test_slides, TRAIN)


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 7, 16]))
@settings(deadline=None, max_examples=20)
def test_the_kept_parts_count_each_pixel_once(columns: int, rows: int, overlap: int) -> None:
    one = store(columns, rows, overlap=overlap)
    width, height = one.grid.size_gr
    counted = np.zeros((height, width), dtype=int)
    for tile in range(len(one.grid)):
        owned = np.zeros((32, 32), dtype=int)
        owned[kept_part(one, tile)] = 1
        read = one.grid[tile].read
        ys, xs = np.nonzero(owned)
        np.add.at(counted, (ys + read.y0, xs + read.x0), 1)
    assert (counted == 1).all()


def test_few_tiles_are_counted_one_by_one() -> None:
    (blocks,) = make_blocks([store(5, 3)])
    assert blocks.side == 1
    assert len(blocks.places) == 15
    counts = np.arange(15)
    assert (blocks.add_up(counts) == counts).all()


def test_many_tiles_are_counted_in_squares_that_fit() -> None:
    stores = [store(40, 40, classes=4), store(25, 30, classes=4)]
    found = make_blocks(stores)
    assert found[0].side == found[1].side == 4
    assert sum(len(blocks.places) for blocks in found) * 20 <= 6000
    for blocks, one in zip(found, stores, strict=True):
        assert blocks.add_up(np.ones(len(one.grid), dtype=np.int64)).sum() == len(one.grid)


def test_unlabelled_tiles_are_in_no_block() -> None:
    labelled = np.array([True, False, True, True])
    (blocks,) = make_blocks([store(2, 2, labelled=labelled)])
    assert blocks.tiles.tolist() == [0, 2, 3]
    assert blocks.places.tolist() == [[0, 0], [1, 0], [1, 1]]
