"""The seam score: 1 where nothing shows, high and said where tiles disagree."""

import numpy as np
import pytest

from wsiseg.geometry import Box, TileGrid
from wsiseg.infer import polygons
from wsiseg.infer.seams import score_seams
from wsiseg.tilestore import MaskStore

GRID = TileGrid((400, 300), 64, 16)


def score(label, tmp_path, method="keep"):
    store = MaskStore.create(tmp_path / f"{method}.zarr", GRID.size_gr)
    store.write(Box(0, 0, *GRID.size_gr), label)
    return score_seams(store, GRID, method)


@pytest.mark.parametrize("method", ["keep", "window"])
def test_noise_has_no_seams(tmp_path, method):
    label = np.random.default_rng(0).integers(0, 3, (300, 400), dtype=np.uint8)
    result = score(label, tmp_path, method)
    assert result.ratio == pytest.approx(1, abs=0.03)
    assert not result.shows
    assert result.advice(0.25, method) is None


def test_tiles_that_disagree_show(tmp_path):
    label = np.zeros((300, 400), np.uint8)
    rng = np.random.default_rng(1)
    for tile in GRID:
        label[tile.keep.slices()] = rng.integers(0, 3)
    result = score(label, tmp_path)
    assert result.elsewhere[1] == 0
    assert result.ratio is None, "without any change elsewhere there is nothing to compare with"
    label[::7, ::5] = 1
    result = score(label, tmp_path)
    assert result.shows
    assert "across the borders of tiles" in result.advice(0.1, "keep")
    assert "try" not in result.advice(0.8, "window")
    assert "predict.overlap_share=0.25" in result.advice(0.1, "window")
    assert "stitching=window" in result.advice(0.1, "keep")
    assert "stitching" not in result.advice(0.1, "window")


def test_every_pair_is_counted_once_however_the_mask_is_read(tmp_path, monkeypatch):
    label = np.random.default_rng(2).integers(0, 3, (300, 400), dtype=np.uint8)
    whole = score(label, tmp_path)
    monkeypatch.setattr(polygons, "_STRIP_PIXELS", 23 * 400)
    cut = score(label, tmp_path)
    assert whole.at_seams.tolist() == cut.at_seams.tolist()
    assert whole.elsewhere.tolist() == cut.elsewhere.tolist()
    changes = (label[:, 1:] != label[:, :-1]).sum() + (label[1:] != label[:-1]).sum()
    assert whole.at_seams[1] + whole.elsewhere[1] == changes


def test_empty_glass_has_no_score(tmp_path):
    assert score(np.zeros((300, 400), np.uint8), tmp_path).ratio is None
