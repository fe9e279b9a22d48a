"""Stores written by earlier versions are read for ever."""

import sys
from pathlib import Path

import numpy as np

from wsiseg.classes import default_schema
from wsiseg.tilestore import TileStore

FORMATS = Path(__file__).parents[1] / "formats"


def test_version_1():
    sys.path.insert(0, str(FORMATS))
    from make_store_v1 import expected

    images, labels = (np.delete(array, 3, axis=0) for array in expected())
    store = TileStore.open(FORMATS / "v1" / "tiles.zarr")
    assert np.array_equal(store.images(range(4)), images)
    assert np.array_equal(store.labels(range(4)), labels)
    assert store.indices.tolist() == [0, 1, 2, 4]
    assert store.unreadable.tolist() == [3]
    assert store.labelled.tolist() == [True, False, True, True]
    assert store.boxes[3].tolist() == [128, 0, 160, 32]
    assert np.allclose(store.tissue_share, [0.1, 0.325, 0.55, 1.0])
    assert store.class_pixels[0].tolist() == [(labels[0] == k).sum() for k in range(4)]
    assert store.schema == default_schema()
    assert (store.name, store.tile_px, store.mpp) == ("slide", 32, 0.5)
    assert (store.frame.size_l0, store.frame.downsample) == ((1000, 800), (2.0, 2.0))
    assert (store.header.key, store.header.image_key) == ("v1 key", "v1 image key")
    assert store.slide_path == "slide.svs"
