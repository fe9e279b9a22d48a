import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tilestores import make_header, make_plan

from wsiseg.annotation import Classified
from wsiseg.errors import SlideReadError
from wsiseg.progress import NullProgress
from wsiseg.tilestore import StoreWriter, TileStore, encode_tile
from wsiseg.tiling import pipeline
from wsiseg.tiling.labelling import Labeller
from wsiseg.tiling.pipeline import TileMaker, fill_store


def tile(value=0):
    return encode_tile(np.full((32, 32, 3), value, dtype=np.uint8), None, 4)


def start(folder, count=200):
    plan = make_plan(make_header(), count)
    return StoreWriter.begin(folder / "a.zarr", plan), plan


def working():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tile")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_tile_is_made_once_and_lies_in_its_place(tmp_path, workers):
    writer, plan = start(tmp_path)
    made, told = [], []

    def make(i):
        made.append(i)
        time.sleep(0.001 * (i % 3))
        return tile(i)

    class Listener(NullProgress):
        def advance(self, units=1, note=None):
            told.append(units)

    fill_store(writer, plan, make, workers=workers, progress=Listener())
    assert sorted(made) == list(range(200))
    assert sum(told) == 200
    writer.publish()
    images = TileStore.open(tmp_path / "a.zarr").images(range(200))
    assert (images == np.arange(200, dtype=np.uint8)[:, None, None, None]).all()


def test_one_worker_is_the_caller(tmp_path):
    writer, plan = start(tmp_path, 5)
    threads = set()

    def make(i):
        threads.add(threading.current_thread())
        return tile()

    fill_store(writer, plan, make, workers=1, progress=NullProgress())
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_through_and_stops_the_rest(tmp_path, workers):
    writer, plan = start(tmp_path)
    begun = []

    def failing(i):
        begun.append(i)
        time.sleep(0.002)
        if i == 5:
            raise SlideReadError("damaged")
        return tile()

    with pytest.raises(SlideReadError):
        fill_store(writer, plan, failing, workers=workers, progress=NullProgress())
    assert len(begun) < 60
    assert not working()
    assert [shard for shard, _ in writer.pending()] == [0, 1, 2, 3]


def test_no_thread_reads_any_more_when_the_user_has_had_enough(tmp_path):
    writer, plan = start(tmp_path)
    running = []

    def make(i):
        running.append(i)
        time.sleep(0.01)
        running.remove(i)
        return tile()

    class Impatient(NullProgress):
        def advance(self, units=1, note=None):
            if running and units:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fill_store(writer, plan, make, workers=3, progress=Impatient())
    assert running == []
    assert caught.tb is not None, "the frames are still held, as they are on the way up"


@pytest.mark.parametrize("moment", ["handing out", "waiting"])
def test_an_interrupted_caller_stops_the_workers(tmp_path, monkeypatch, moment):
    writer, plan = start(tmp_path, 64 * 8)
    made = []

    def make(i):
        made.append(i)
        time.sleep(0.002)
        return tile()

    def interrupt(*_):
        raise KeyboardInterrupt

    class Interrupted(ThreadPoolExecutor):
        def submit(self, write, shard, tiles):
            return interrupt() if shard == 4 else super().submit(write, shard, tiles)

    if moment == "waiting":
        monkeypatch.setattr(pipeline, "as_completed", interrupt)
    else:
        monkeypatch.setattr(pipeline, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill_store(writer, plan, make, workers=2, progress=NullProgress())
    assert len(made) < 64
    assert not working()


def test_shards_that_end_at_the_same_time_leave_whole_lines(tmp_path):
    writer, plan = start(tmp_path, 64 * 12)
    barrier = threading.Barrier(4)
    one = tile()

    def make(i):
        if i % 64 == 63:
            barrier.wait(timeout=20)
        return one

    fill_store(writer, plan, make, workers=4, progress=NullProgress())
    again = StoreWriter.begin(tmp_path / "a.zarr", plan)
    assert list(again.pending()) == []


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
