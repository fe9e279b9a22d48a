import threading
import time

import numpy as np
import pytest
from tilestores import make_header, make_plan

from wsiseg.annotation import Classified
from wsiseg.errors import OutputError, SlideReadError
from wsiseg.progress import NullProgress
from wsiseg.tilestore import StoreWriter, encode_tile
from wsiseg.tiling.labelling import Labeller
from wsiseg.tiling.pipeline import TileMaker, fill_store, in_order


def test_results_keep_the_order_of_the_items():
    def slow(i):
        time.sleep(0.003 * (i % 3))
        return i

    assert list(in_order(slow, range(30), 3)) == list(range(30))


def test_workers_run_only_a_little_ahead():
    begun = []
    results = in_order(begun.append, range(1000), 2)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 9
    results.close()


def test_an_error_comes_through_and_stops_the_rest():
    begun = []

    def failing(i):
        begun.append(i)
        if i == 5:
            raise SlideReadError("damaged")
        return i

    with pytest.raises(SlideReadError):
        list(in_order(failing, range(1000), 2))
    assert len(begun) < 20
    assert not any(thread.name.startswith("tile") for thread in threading.enumerate())


def test_no_thread_reads_any_more_when_writing_has_failed(tmp_path):
    plan = make_plan(make_header(), 200)
    writer = StoreWriter.begin(tmp_path / "a.zarr", plan)
    running = []

    def make(i):
        running.append(i)
        time.sleep(0.01)
        running.remove(i)
        return encode_tile(np.zeros((32, 32, 3), dtype=np.uint8), None, 4)

    class FullDisk(NullProgress):
        def advance(self, units=1, note=None):
            if running and units:
                raise OutputError("full")

    with pytest.raises(OutputError) as caught:
        fill_store(writer, plan, make, workers=3, progress=FullDisk())
    assert running == []
    assert caught.tb is not None, "the frames are still held, as they are on the way up"


class OneBadTile:
    """A ``RegionReader`` that tells what it was asked for."""

    size_l0 = (1000, 800)

    def __init__(self):
        self.asked = []

    def read(self, box_l0, size):
        self.asked.append((box_l0.x0, box_l0.y0))
        if box_l0.x0 == 64:
            raise SlideReadError("damaged")
        return np.full((size[1], size[0], 3), 7, dtype=np.uint8)


def maker(policy, kept=None):
    plan = make_plan(make_header(), 5)
    labeller = Labeller(Classified(), plan.header.schema, plan.header.frame, "nothing")
    return TileMaker(plan, OneBadTile(), labeller, policy, kept)


def test_a_bad_tile_is_left_out_or_fails():
    make = maker("skip")
    tiles = [make(i) for i in range(3)]
    assert [tile.readable for tile in tiles] == [True, False, True]
    assert [tile.image is None for tile in tiles] == [False, True, False]
    assert make.slide.asked == [(0, 0), (64, 0), (128, 0)]
    with pytest.raises(SlideReadError):
        maker("fail")(1)


def test_images_that_are_there_are_not_read():
    make = maker("skip", np.array([True, False, True, True, True]))
    assert [make(i).readable for i in range(3)] == [True, False, True]
    assert make(0).image is None
    assert make.slide.asked == []
