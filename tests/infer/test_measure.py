"""Measurements: exact sums, smooth perimeters."""

import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiseg.geometry import Box
from wsiseg.infer import polygons as module
from wsiseg.infer.measure import means, perimeters
from wsiseg.infer.polygonfile import PolygonFile
from wsiseg.raster import ShapePainter
from wsiseg.tilestore import MaskStore
from wsiseg.trace import trace_mask


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    values = np.random.default_rng(3).integers(0, 256, (90, 70), dtype=np.uint8)
    store = MaskStore.create(tmp_path_factory.mktemp("store") / "values.zarr", (70, 90))
    store.write(Box(0, 0, 70, 90), values)
    return store, values


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.1, 0.9), strip=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_means_are_those_of_the_pixels(store, seed, share, strip):
    store, values = store
    field = ndimage.uniform_filter(np.random.default_rng(seed).random(values.shape), 3)
    polygons = trace_mask(field < np.quantile(field, share))
    with closing(PolygonFile(Path(tempfile.gettempdir()))) as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRIP_PIXELS", strip * 70)
        patch.setattr(module, "_BAND_PIXELS", 1)
        patch.setattr(module, "_STEP_ROWS", 2 * strip)
        found = means(file.append(polygons), store)
    box = Box(0, 0, 70, 90)
    expected = [values[ShapePainter([(polygon, 1)]).paint(box) > 0].mean() for polygon in polygons]
    assert found == pytest.approx(expected, abs=1e-9)


def test_no_polygons_no_means(store, polygon_file):
    assert len(means(polygon_file.append(np.zeros(0, dtype=object)), store[0])) == 0
    assert len(perimeters(np.zeros(0, dtype=object))) == 0


@pytest.mark.parametrize("radius", [5, 8, 20, 60])
def test_perimeter_of_a_disc(radius):
    y, x = np.mgrid[-70:71, -70:71]
    polygons = trace_mask(np.hypot(x - 0.3, y + 0.2) < radius)
    assert perimeters(polygons) == pytest.approx([2 * np.pi * radius], rel=0.02)
    assert polygons[0].length > 1.2 * 2 * np.pi * radius, "of which the pixel edges are far"


@pytest.mark.parametrize("run", [1, 2, 3, 5, 9])
def test_perimeter_of_a_slope(run):
    y, x = np.mgrid[:200, :200]
    expected = 200 + 200 / run + np.hypot(200, 200 / run)
    assert perimeters(trace_mask(y * run <= x)) == pytest.approx([expected], rel=0.01)


def test_perimeter_of_a_large_rectangle_keeps_its_corners():
    assert perimeters(trace_mask(np.ones((400, 300), dtype=bool))) == pytest.approx([1400], rel=0.004)


def test_perimeter_counts_holes():
    mask = np.ones((100, 100), dtype=bool)
    mask[30:70, 30:70] = False
    whole = perimeters(trace_mask(np.ones((100, 100), dtype=bool)))
    hole = perimeters(trace_mask(~mask))
    assert perimeters(trace_mask(mask)) == pytest.approx(whole + hole)
    assert shapely.length(trace_mask(mask)) == 560
