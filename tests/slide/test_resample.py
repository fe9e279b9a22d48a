"""Area averaging against its definition, and the arithmetic of metadata."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box
from wsiseg.slide.properties import bounds_of, objective_of, origin_qupath_of, resolution_of
from wsiseg.slide.protocol import Level
from wsiseg.slide.resample import area_average, over_white


def by_definition(line: np.ndarray, count: int, start: float, step: float) -> np.ndarray:
    """Means of one row of values, by integrating a step function pixel by pixel."""
    span = max(step, 1.0)
    means = []
    for i in range(count):
        left = start + (i + 0.5) * step - span / 2
        pixels = range(int(np.floor(left)), int(np.ceil(left + span)))
        shares = [max(0.0, min(p + 1, left + span) - max(p, left)) for p in pixels]
        values = [line[min(max(p, 0), len(line) - 1)] for p in pixels]
        means.append(np.dot(shares, values) / span)
    return np.array(means)


@given(
    width=st.integers(1, 60),
    count=st.integers(1, 30),
    start=st.floats(-3, 10),
    step=st.floats(0.2, 7),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=150)
def test_each_axis_follows_the_definition(width, count, start, step, seed):
    line = np.random.default_rng(seed).integers(0, 256, width).astype(np.uint8)
    expected = by_definition(line.astype(float), count, start, step)
    across = np.repeat(line[None, :, None], 3, axis=2)
    found = area_average(across, (count, 1), (start, 0.0), (step, 1.0))
    assert np.abs(found[0, :, 0] - expected).max() <= 0.51
    down = across.transpose(1, 0, 2)
    found = area_average(np.ascontiguousarray(down), (1, count), (0.0, start), (1.0, step))
    assert np.abs(found[:, 0, 0] - expected).max() <= 0.51


@given(dx=st.integers(1, 16), dy=st.integers(1, 16), x=st.integers(0, 5), y=st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_whole_factors_are_exact(dx, dy, x, y):
    image = np.random.default_rng(dx).integers(0, 256, (y + 3 * dy, x + 5 * dx, 3)).astype(np.uint8)
    blocks = image[y:, x:].reshape(3, dy, 5, dx, 3).astype(np.int64).sum(axis=(1, 3))
    expected = (blocks + dx * dy // 2) // (dx * dy)
    found = area_average(image, (5, 3), (float(x), float(y)), (float(dx), float(dy)))
    np.testing.assert_array_equal(found, expected)


@given(value=st.integers(0, 255), factor=st.floats(0.3, 9))
@settings(deadline=None, max_examples=60)
def test_a_constant_stays_the_same_constant(value, factor):
    image = np.full((40, 70, 3), value, dtype=np.uint8)
    assert (area_average(image, (max(1, int(70 / factor)), max(1, int(40 / factor)))) == value).all()


def test_alpha_over_white():
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [10, 20, 30, 51]]], dtype=np.uint8)
    assert over_white(rgba).tolist() == [[[10, 20, 30], [255, 255, 255], [206, 208, 210]]]


@pytest.mark.parametrize(
    ("size", "size_l0", "scale"),
    [
        ((2221, 1783), (4443, 3567), (2.0, 2.0)),
        ((2222, 1784), (4443, 3567), (2.0, 2.0)),
        ((6250, 3000), (100_013, 48_015), (16.0, 16.0)),
        ((500, 900), (1000, 900), (2.0, 1.0)),
    ],
)
def test_a_level_measures_what_its_writer_meant(size, size_l0, scale):
    assert Level.of(size, size_l0).scale == scale


BOUNDS = {
    f"openslide.bounds-{key}": value for key, value in zip(("x", "y", "width", "height"), "1234", strict=True)
}


def test_bounds():
    assert bounds_of(BOUNDS, (100, 50)) == Box(1, 2, 4, 6)
    assert bounds_of(BOUNDS, (3, 4)) == Box(1, 2, 3, 4)
    assert bounds_of({}, (100, 50)) == Box(0, 0, 100, 50)
    assert origin_qupath_of(BOUNDS) == (1, 2)
    assert origin_qupath_of({**BOUNDS, "openslide.bounds-height": "4.5"}) == (0, 0)
    assert origin_qupath_of({key: BOUNDS[key] for key in list(BOUNDS)[:3]}) == (0, 0)


OME = "<OME><Pixels ID='0' PhysicalSizeX='{}' PhysicalSizeXUnit=\"{}\" PhysicalSizeY='0.3'/></OME>"


@pytest.mark.parametrize(
    ("properties", "mpp"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}, (0.25, 0.5)),
        ({"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8", "aperio.MPP": "0,499"}, (0.499, 0.499)),
        (
            {
                "openslide.mpp-x": "nan",
                "openslide.mpp-y": "1",
                "tiffslide.mpp-x": "1",
                "tiffslide.mpp-y": "2",
            },
            (1, 2),
        ),
        ({"tiff.ImageDescription": OME.format("250", "nm")}, (0.25, 0.3)),
        ({"tiff.ImageDescription": OME.format("0.26", "µm")}, (0.26, 0.3)),
    ],
)
def test_the_first_plausible_resolution_counts(properties, mpp):
    resolution = resolution_of("a.svs", properties, None)
    assert (resolution.mpp_x, resolution.mpp_y) == mpp


def test_objective():
    assert objective_of({"openslide.objective-power": "40"}) == 40
    assert objective_of({"aperio.AppMag": "20"}) == 20
    assert objective_of({"openslide.objective-power": "unknown"}) is None
