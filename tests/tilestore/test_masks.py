import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.errors import StoreFormatError
from wsiseg.geometry import Box
from wsiseg.tilestore import MaskStore


def test_boxes_come_back_across_chunks(tmp_path):
    store = MaskStore.create(tmp_path / "mask", (1500, 1100))
    assert (store.size_gr, store.channels, store.dtype) == ((1500, 1100), None, np.uint8)
    part = np.random.default_rng(0).integers(0, 4, (300, 700), dtype=np.uint8)
    store.write(Box.from_size(600, 800, 700, 300), part)
    whole = MaskStore.open(tmp_path / "mask").read(Box(0, 0, 1500, 1100))
    assert np.array_equal(whole[800:1100, 600:1300], part)
    assert whole.sum() == part.sum()


def test_channels_come_first(tmp_path):
    store = MaskStore.create(tmp_path / "mask", (30, 20), channels=3, dtype="float32")
    part = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    store.write(Box.from_size(7, 8, 5, 4), part)
    assert store.channels == 3
    assert np.array_equal(store.read(Box.from_size(7, 8, 5, 4)), part)
    assert store.read(Box(0, 0, 30, 8)).shape == (3, 8, 30)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_equals_an_array(tmp_path_factory, data):
    width, height = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    store = MaskStore.create(tmp_path_factory.mktemp("m") / "mask", (width, height))
    mirror = np.zeros((height, width), dtype=np.uint8)
    for value in range(1, 5):
        x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        box = Box(x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
        store.write(box, np.full((box.height, box.width), value, dtype=np.uint8))
        mirror[box.slices()] = value
    assert np.array_equal(store.read(Box(0, 0, width, height)), mirror)


def test_what_does_not_fit_is_refused(tmp_path):
    store = MaskStore.create(tmp_path / "mask", (30, 20))
    with pytest.raises(ValueError, match="does not fit"):
        store.write(Box(0, 0, 30, 20), np.zeros((30, 20), dtype=np.uint8))
    with pytest.raises(ValueError, match="does not fit"):
        store.write(Box(20, 0, 31, 5), np.zeros((5, 11), dtype=np.uint8))
    with pytest.raises(ValueError, match="reaches outside"):
        store.read(Box(0, 0, 31, 20))


def test_pickles_with_its_mode(tmp_path):
    store = MaskStore.create(tmp_path / "mask", (30, 20))
    again = pickle.loads(pickle.dumps(store))
    again.write(Box(0, 0, 1, 1), np.ones((1, 1), dtype=np.uint8))
    read_only = pickle.loads(pickle.dumps(MaskStore.open(tmp_path / "mask")))
    assert read_only.read(Box(0, 0, 2, 1)).tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="read"):
        read_only.write(Box(0, 0, 1, 1), np.ones((1, 1), dtype=np.uint8))


def test_no_store_there(tmp_path):
    with pytest.raises(StoreFormatError, match="is not a mask store"):
        MaskStore.open(tmp_path / "none")


def test_chunks_and_attributes(tmp_path):
    plain = MaskStore.create(tmp_path / "plain", (30, 20))
    assert plain.attributes == {}
    about = {"mpp": 0.5, "classes": ["a", "b"]}
    store = MaskStore.create(tmp_path / "mask", (30, 20), chunk_px=(16, 4), attributes=about)
    part = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    store.write(Box(0, 0, 30, 20), part)
    again = MaskStore.open(tmp_path / "mask")
    assert again.attributes == about
    assert np.array_equal(again.read(Box(3, 2, 29, 19)), part[2:19, 3:29])
    assert sorted(path.name for path in (tmp_path / "mask" / "c").iterdir()) == ["0", "1", "2", "3", "4"]
