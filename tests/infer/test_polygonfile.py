"""Polygons that wait on disk come back as they were, in any order asked for."""

import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiseg.infer import polygonfile as module
from wsiseg.infer.polygonfile import Outlines, PolygonFile
from wsiseg.trace import trace_mask


def some_polygons(seed, share=0.5):
    field = ndimage.uniform_filter(np.random.default_rng(seed).random((40, 50)), 3)
    return trace_mask(field < np.quantile(field, share))


def test_come_back_to_the_vertex(polygon_file):
    first, second = some_polygons(0), some_polygons(1)
    one, other = polygon_file.append(first), polygon_file.append(second)
    assert [p.wkb for p in one.read()] == [p.wkb for p in first]
    assert [p.wkb for p in other.read()] == [p.wkb for p in second]
    assert len(polygon_file) == len(first) + len(second)
    order = np.random.default_rng(2).permutation(len(second))
    assert [p.wkb for p in other.at(order).read()] == [p.wkb for p in second[order]]
    large = shapely.area(second) > 20
    assert [p.wkb for p in other.at(large).read()] == [p.wkb for p in second[large]]


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 4000))
@settings(max_examples=25, deadline=None)
def test_batches_are_all_of_it(seed, size):
    polygons = some_polygons(seed)
    with closing(PolygonFile(Path(tempfile.gettempdir()))) as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_BYTES", size)
        patch.setattr(module, "_WRITTEN_AT_ONCE", 3)
        outlines = file.append(polygons)
        parts = [batch.read() for batch in outlines.batches()]
        assert [p.wkb for p in np.concatenate(parts)] == [p.wkb for p in polygons]
        assert outlines.map(shapely.area).tolist() == shapely.area(polygons).tolist()
        assert outlines.map(shapely.bounds, columns=4).tolist() == shapely.bounds(polygons).tolist()
    largest = max(len(polygon.wkb) for polygon in polygons)
    assert all(sum(len(polygon.wkb) for polygon in part) < size + largest for part in parts)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_order_by_corner_is_that_of_tracing(seed):
    polygons = some_polygons(seed)
    shuffled = np.random.default_rng(seed).permutation(len(polygons))
    with closing(PolygonFile(Path(tempfile.gettempdir()))) as file:
        ordered = file.append(polygons[shuffled]).by_corner().read()
    assert [p.wkb for p in ordered] == [p.wkb for p in polygons]


def test_nothing_is_nothing(polygon_file):
    nothing = polygon_file.append(np.zeros(0, dtype=object))
    assert len(nothing) == len(nothing.read()) == 0
    assert list(nothing.batches()) == []
    assert nothing.map(shapely.bounds, columns=4).shape == (0, 4)
    assert len(nothing.by_corner()) == 0
    assert len(Outlines.joined([], polygon_file)) == 0


def test_polygons_may_have_any_vertices(polygon_file):
    one = shapely.Polygon([(0.125, -3.7), (1e6 + 1 / 3, 2), (5, 9)], [[(1, 1), (2, 1), (2, 2)]])
    assert polygon_file.append(np.array([one], dtype=object)).read()[0].wkb == one.wkb
