import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.synthetic.noise import Grain, Noise

AXIS = st.integers(min_value=-5000, max_value=5000)


@given(x0=AXIS, y0=AXIS, cut=st.integers(1, 39))
@settings(deadline=None, max_examples=40)
def test_a_field_is_the_same_in_every_block(x0, y0, cut):
    noise = Noise(17.0, 2.0, 5)
    x, y = (x0 + np.arange(40)) * 0.5, (y0 + np.arange(24)) * 0.5
    whole = noise.block(x, y)
    parts = np.concatenate([noise.block(x[:cut], y), noise.block(x[cut:], y)], axis=1)
    np.testing.assert_array_equal(whole, parts)
    assert whole.dtype == np.float32
    assert abs(whole).max() <= 2.0


def test_block_points_and_single_point_agree():
    noise = Noise(23.0, 3.0, 1, 2)
    x, y = np.linspace(-60, 90, 31), np.linspace(-20, 70, 17)
    block = noise.block(x, y)
    columns, rows = (axis.ravel() for axis in np.meshgrid(x, y))
    points = noise.points(columns, rows)
    np.testing.assert_allclose(points, block.ravel(), atol=1e-5)
    assert noise.at(x[4], y[9]) == pytest.approx(float(block[9, 4]), abs=1e-5)


def test_a_field_has_no_jumps():
    line = Noise(20.0, 1.0, 8).block(np.arange(0, 400, 0.25), np.zeros(1))[0]
    assert abs(np.diff(line)).max() < 0.05
    assert line.std() > 0.2


@given(x0=AXIS, y0=AXIS)
@settings(deadline=None, max_examples=20)
def test_grain_is_a_function_of_the_pixel(x0, y0):
    grain = GRAIN.at(x0, y0, 30, 20)
    np.testing.assert_array_equal(grain[5:, 7:], GRAIN.at(x0 + 7, y0 + 5, 23, 15))


def test_grain_is_centred_and_bounded():
    grain = GRAIN.at(0, 0, 1024, 1024)
    assert abs(float(grain.mean())) < 1e-3
    assert abs(grain).max() == pytest.approx(1.0, abs=1e-6)


GRAIN = Grain(2, 11)
