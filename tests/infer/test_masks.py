"""Parts gathered into masks: what goes in comes out, whatever the widths of parts and chunks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box
from wsiseg.infer import masks as module
from wsiseg.infer.masks import Masks
from wsiseg.infer.stitcher import Part, Planes

PLANES = Planes(3, confidence=True, probabilities=True)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.lists(st.integers(1, 20), min_size=1, max_size=2),
    st.integers(4, 32),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=12, deadline=None)
def test_parts_come_back(tmp_path_factory, widths, heights, chunk, seed):
    folder = tmp_path_factory.mktemp("masks")
    size = (sum(widths), sum(heights))
    values = np.random.default_rng(seed).integers(0, 256, (6, size[1], size[0]), dtype=np.uint8)
    kept = {"probabilities": folder / "p.zarr", "confidence": folder / "c.zarr"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", (chunk, 8))
        masks = Masks.create(folder, size, PLANES, kept, {"mpp": 0.5})
        columns, rows = np.cumsum([0, *widths]), np.cumsum([0, *heights])
        for y0, y1 in pairwise(rows):
            for x0, x1 in pairwise(columns):
                part = values[:, y0:y1, x0:x1]
                masks.write(
                    Part(Box(int(x0), int(y0), int(x1), int(y1)), part[0], part[1], part[2:5], part[5])
                )
            masks.finish_band()
        again = Masks.open(folder, size, PLANES, kept)
    whole = Box(0, 0, *size)
    assert np.array_equal(again.label.read(whole), values[0])
    assert np.array_equal(again.probability.read(whole), values[1])
    assert np.array_equal(again.probabilities.read(whole), values[2:5])
    assert np.array_equal(again.confidence.read(whole), values[5])
    assert again.confidence.attributes["mpp"] == 0.5


def test_only_wanted_masks_are_made(tmp_path):
    masks = Masks.create(tmp_path, (30, 20), Planes(3), {}, {})
    assert masks.probabilities is None
    assert masks.confidence is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["label.zarr", "probability.zarr"]
    assert Masks.open(tmp_path, (30, 20), Planes(3, confidence=True), {}) is None
    assert Masks.open(tmp_path, (31, 20), Planes(3), {}) is None
    assert Masks.open(tmp_path, (30, 20), Planes(3), {}) is not None
