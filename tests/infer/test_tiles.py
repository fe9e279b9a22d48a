"""Tiles in grid order, the same batches wherever the work begins."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import Interrupt, interrupt_after

from wsiseg.errors import SlideReadError
from wsiseg.geometry import GridFrame, Resolution, TileGrid
from wsiseg.infer.tiles import TileSource, predict_tiles

FRAME = GridFrame.of((90, 70), Resolution(0.5, 0.5), 0.5)
GRID = TileGrid(FRAME.size_gr, 16, 4)


class Reader:
    """Each tile is filled with a number made from where it lies."""

    size_l0 = FRAME.size_l0

    def __init__(self, bad=()):
        self.bad = set(bad)
        self.open = self.most = 0
        self.lock = threading.Lock()

    def read(self, box_l0, size):
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        time.sleep(0.0002 * (box_l0.x0 % 3))
        with self.lock:
            self.open -= 1
        if (box_l0.x0, box_l0.y0) in self.bad:
            raise SlideReadError("bad region")
        return np.full((*size[::-1], 3), number(box_l0.x0, box_l0.y0), np.uint8)


def number(x, y):
    return (x * 7 + y * 3) % 251


class Predictor:
    """Tells what it saw, and remembers its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(tuple(int(image[0, 0, 0]) for image in images))
        return np.repeat(images[:, None, :, :, 0].astype(np.float32), 2, axis=1)


@given(
    st.lists(st.booleans(), min_size=len(GRID), max_size=len(GRID)),
    st.integers(0, GRID.rows - 1),
    st.integers(1, 7),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_every_tile_once_in_order_with_its_own_answer(wanted, row, batch_size, workers):
    source = TileSource(Reader(), FRAME, GRID, np.array(wanted))
    predictor = Predictor()
    found = list(predict_tiles(source, [predictor], first_row=row, batch_size=batch_size, workers=workers))
    assert [p.tile.index for p in found] == list(range(row * GRID.columns, len(GRID)))
    for predicted in found:
        assert (predicted.planes_CTT is not None) == wanted[predicted.tile.index]
        if predicted.planes_CTT is not None:
            read = predicted.tile.read
            assert (predicted.planes_CTT == number(read.x0, read.y0)).all()
    whole = Predictor()
    list(predict_tiles(source, [whole], batch_size=batch_size, workers=1))
    assert predictor.batches == whole.batches[len(whole.batches) - len(predictor.batches) :]


def test_an_unreadable_tile_keeps_its_place_in_the_batch():
    source = TileSource(Reader(bad=[(12, 0)]), FRAME, GRID, np.ones(len(GRID), bool))
    predictor = Predictor()
    found = list(predict_tiles(source, [predictor], batch_size=4))
    assert [p.tile.index for p in found if p.unreadable] == [1]
    assert found[1].planes_CTT is None
    assert predictor.batches[0] == (number(0, 0), 255, number(24, 0), number(36, 0))


def test_an_unreadable_tile_can_be_an_error():
    source = TileSource(Reader(bad=[(12, 0)]), FRAME, GRID, np.ones(len(GRID), bool), "fail")
    with pytest.raises(SlideReadError, match="bad region"):
        list(predict_tiles(source, [Predictor()]))


def test_nothing_is_read_far_ahead():
    reader = Reader()
    source = TileSource(reader, FRAME, GRID, np.ones(len(GRID), bool))
    stream = predict_tiles(source, [Predictor()], batch_size=2, workers=3)
    next(stream)
    stream.close()
    assert 1 <= reader.most <= 3


@pytest.mark.parametrize("number_of_them", [2, 3])
def test_several_predictors_share_the_batches_of_one(number_of_them):
    source = TileSource(Reader(), FRAME, GRID, np.arange(len(GRID)) % 5 > 0)
    alone, several = Predictor(), [Predictor() for _ in range(number_of_them)]
    expected = list(predict_tiles(source, [alone], batch_size=3))
    found = list(predict_tiles(source, several, batch_size=3))
    for one, other in zip(expected, found, strict=True):
        assert one.tile == other.tile
        assert np.array_equal(one.planes_CTT, other.planes_CTT) or one.planes_CTT is other.planes_CTT is None
    for turn, predictor in enumerate(several):
        assert predictor.batches == alone.batches[turn::number_of_them]


def test_predictors_work_at_the_same_time():
    together = threading.Barrier(2, timeout=10)

    def predictor(images):
        together.wait()
        return np.zeros((len(images), 2, 16, 16), np.float32)

    wanted = np.zeros(len(GRID), bool)
    wanted[:8] = True
    source = TileSource(Reader(), FRAME, GRID, wanted)
    found = list(predict_tiles(source, [predictor, predictor], batch_size=2))
    assert sum(p.planes_CTT is not None for p in found) == 8


def test_what_a_predictor_throws_comes_out():
    source = TileSource(Reader(), FRAME, GRID, np.ones(len(GRID), bool))
    with pytest.raises(Interrupt):
        list(predict_tiles(source, [interrupt_after(0, np.zeros)]))
