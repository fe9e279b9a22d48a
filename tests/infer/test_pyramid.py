"""Levels of a label mask: every second pixel of the one before, however they are read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box
from wsiseg.infer import pyramid as module
from wsiseg.infer.pyramid import LabelPyramid, level_size
from wsiseg.tilestore import MaskStore


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    tile=st.sampled_from([8, 16]),
    columns=st.sampled_from([8, 64, 1024]),
    strip=st.sampled_from([8, 16, 64]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_levels_are_those_of_the_whole_array(tmp_path_factory, *, size, tile, columns, strip, seed):
    width, height = size
    label = np.random.default_rng(seed).integers(0, 4, (height, width), dtype=np.uint8)
    store = MaskStore.create(tmp_path_factory.mktemp("label") / "label.zarr", (width, height))
    store.write(Box(0, 0, width, height), label)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_COLUMNS", columns)
        patch.setattr(module, "_STRIP_ROWS", strip)
        pyramid = LabelPyramid(store, tile)
        for level in range(pyramid.levels):
            expected = label[:: 1 << level, :: 1 << level]
            assert level_size((width, height), level) == expected.shape[::-1]
            found = np.full_like(expected, 9)
            for box, part in zip(pyramid.boxes(level), pyramid.tiles(level), strict=True):
                corner = (box.x0 >> level, box.y0 >> level)
                found[Box.from_size(*corner, part.shape[1], part.shape[0]).slices()] = part
            assert np.array_equal(found, expected)


def test_the_last_level_fits_a_tile(tmp_path):
    store = MaskStore.create(tmp_path / "label.zarr", (1025, 3))
    pyramid = LabelPyramid(store, 512)
    assert pyramid.levels == 3
    assert level_size((1025, 3), 2) == (257, 1)
