"""Weights: positive, symmetric, exactly summable."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsiseg.blend import ramp, summed_ramps, window
from wsiseg.geometry import AxisTiling

sides = st.integers(1, 64).flatmap(lambda tile: st.tuples(st.just(tile), st.integers(0, tile - 1)))


@given(sides)
def test_positive_symmetric_and_at_most_one(side):
    weights = ramp(*side)
    assert weights.shape == (side[0],)
    assert (weights > 0).all()
    assert (weights <= 1).all()
    assert np.array_equal(weights, weights[::-1])


@given(st.integers(1, 30), st.integers(31, 64))
def test_two_neighbours_add_up_to_one(overlap, tile):
    overlap = min(overlap, tile // 2)
    weights = ramp(tile, overlap)
    assert np.abs(weights[:overlap] + weights[-overlap:] - 1).max() <= 1.5 / 256
    assert (weights[overlap : tile - overlap] == 1).all()


def test_no_overlap_means_no_ramp():
    assert (ramp(7, 0) == 1).all()


def test_window_is_the_product():
    assert np.array_equal(window(8, 4), np.outer(ramp(8, 4), ramp(8, 4)))


@given(sides, st.integers(1, 200))
def test_sum_over_an_axis_is_exact_and_covers_it(side, length):
    tile, overlap = side
    axis = AxisTiling(length, tile, overlap)
    expected = np.zeros(length)
    for index in range(axis.count):
        start, stop = axis.read(index)
        expected[start : min(stop, length)] += ramp(tile, overlap)[: min(stop, length) - start]
    total = summed_ramps(length, tile, overlap)
    assert np.array_equal(total, expected)
    assert (total > 0).all()
