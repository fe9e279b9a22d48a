import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tilestores import make_header, make_plan

from wsiseg.classes import default_schema
from wsiseg.errors import StoreError, StoreFormatError, StoreIncompleteError
from wsiseg.lock import write_lock
from wsiseg.tilestore import StoreWriter, TileStore, encode_tile
from wsiseg.tilestore.layout import shard_file


def test_gives_back_what_was_written(store_path, pixels):
    store = TileStore.open(store_path)
    images, labels = (np.delete(array, 10, axis=0) for array in pixels)
    assert len(store) == 149
    assert (store.name, store.tile_px, store.mpp) == ("slide", 32, 0.5)
    assert store.schema == default_schema()
    assert (store.slide_path, store.slide_fingerprint) == ("slide.svs", "f" * 32)
    for i in (0, 9, 10, 63, 64, 148):
        assert np.array_equal(store.image(i), images[i])
        assert np.array_equal(store.label(i), labels[i])
    order = [140, 3, 3, 10]
    assert np.array_equal(store.images(order), images[order])
    assert np.array_equal(store.labels(order), labels[order])
    assert store.images([]).shape == (0, 32, 32, 3)


def test_columns_tell_of_the_tiles_that_could_be_read(store_path, pixels):
    store = TileStore.open(store_path)
    kept = np.delete(np.arange(150), 10)
    assert np.array_equal(store.indices, kept)
    assert store.unreadable.tolist() == [10]
    assert store.labelled.tolist() == [i >= 3 for i in kept]
    assert store.tissue_share.dtype == np.float32
    assert store.boxes.dtype == np.int32
    assert store.boxes[16].tolist() == [32, 32, 64, 64]
    expected = [[(pixels[1][i] == k).sum() for k in range(4)] for i in kept]
    assert np.array_equal(store.class_pixels, expected)
    assert store.class_pixels[7].sum() == 32 * 5


def test_boxes_are_those_of_the_grid(store_path):
    store = TileStore.open(store_path)
    for index, box in zip(store.indices, store.boxes, strict=True):
        read = store.grid[int(index)].read
        assert tuple(box) == (read.x0, read.y0, read.x1, read.y1)


def test_pickles_and_is_shared_by_threads(store_path, pixels):
    store = pickle.loads(pickle.dumps(TileStore.open(store_path)))
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(store.image, range(10)))
    assert np.array_equal(read, pixels[0][:10])


@pytest.mark.parametrize("i", [-1, 149])
def test_no_such_tile(store_path, i):
    with pytest.raises(IndexError, match="of 149"):
        TileStore.open(store_path).image(i)


def test_what_is_no_store(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none.zarr", tmp_path / "empty"):
        with pytest.raises(StoreFormatError, match=r"is not a tile store\. Make it again"):
            TileStore.open(path)


def change(store_path, **changes):
    path = store_path / "zarr.json"
    data = json.loads(path.read_text())
    data["attributes"]["wsiseg"].update(changes)
    path.write_text(json.dumps(data))


def test_a_newer_format_is_refused(store_path):
    change(store_path, format=2)
    with pytest.raises(StoreFormatError, match="found format version 2, expected 1"):
        TileStore.open(store_path)


def test_an_unfinished_store_is_refused(store_path):
    change(store_path, complete=False)
    with pytest.raises(StoreIncompleteError, match="never finished"):
        TileStore.open(store_path)


def test_a_damaged_header_is_refused(store_path):
    change(store_path, frame={"mpp": 1})
    with pytest.raises(StoreFormatError, match="damaged header"):
        TileStore.open(store_path)


def test_a_missing_column_is_refused(store_path):
    (store_path / "boxes" / "zarr.json").unlink()
    with pytest.raises(StoreFormatError, match="is damaged"):
        TileStore.open(store_path)


@pytest.mark.parametrize("array", ["images", "labels"])
def test_a_copy_cut_short_is_refused(store_path, array):
    """zarr would read white tiles, or tiles of which nothing is known."""
    name = shard_file(array, 0)
    (store_path / name).unlink()
    with pytest.raises(StoreFormatError, match=f"is damaged: {name} is missing.*Make it again"):
        TileStore.open(store_path)


def test_a_damaged_tile_is_named(store_path):
    shard = store_path / "images" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[-2] ^= 0xFF  # the checksum of the shard's index
    shard.write_bytes(data)
    with pytest.raises(StoreError, match="tile 5 cannot be decoded"):
        TileStore.open(store_path).image(5)


def test_a_jpeg_store_opens_in_a_process_that_imported_nothing_else(tmp_path, pixels):
    images, labels = pixels
    plan = make_plan(replace(make_header(), jpeg_quality=95), 3)
    target = tmp_path / "slide.zarr"
    with write_lock(target):
        writer = StoreWriter.begin(target, plan)
        writer.write(0, [encode_tile(images[i], labels[i], 4, jpeg_quality=95) for i in range(3)])
        writer.publish()
    code = (
        "import sys, wsiseg.tilestore.reader as r; print(int(r.TileStore.open(sys.argv[1]).image(1).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code, target], check=True, capture_output=True, text=True)
    assert int(done.stdout) == pytest.approx(int(images[1].sum()), rel=0.05)
