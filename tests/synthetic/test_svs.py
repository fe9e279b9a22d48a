"""The file itself: what OpenSlide says about it, its levels, and the memory it takes to write."""

import tracemalloc

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box
from wsiseg.progress import NullProgress
from wsiseg.synthetic.svs import level_sizes, shrink, write_svs


def ramp(box: Box) -> np.ndarray:
    """A smooth image whose colours say where they are."""
    x, y = np.meshgrid(np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
    return np.stack([x // 16 % 256, y // 16 % 256, (x + y) // 32 % 256], axis=-1).astype(np.uint8)


def write(path, size, **options):
    settled = {"notes": {"wsiseg preset": "easy-1"}, "mpp": 0.5, "progress": NullProgress(), **options}
    return write_svs(path, size, ramp, **settled)


@pytest.mark.parametrize(
    ("factor", "sizes"), [(4, [(2500, 1301), (625, 325)]), (2, [(2500, 1301), (1250, 650), (625, 325)])]
)
def test_openslide_sees_an_aperio_pyramid(tmp_path, factor, sizes):
    path = tmp_path / "slide.svs"
    assert write(path, (2500, 1301), level_factor=factor) == sizes
    with openslide.OpenSlide(path) as slide:
        properties = dict(slide.properties)
        assert properties["openslide.vendor"] == "aperio"
        assert float(properties["openslide.mpp-x"]) == float(properties["openslide.mpp-y"]) == 0.5
        assert properties["openslide.objective-power"] == "20"
        assert properties["aperio.wsiseg preset"] == "easy-1"
        assert properties["openslide.level[0].tile-width"] == "256"
        assert slide.level_dimensions == tuple(sizes)
        assert slide.associated_images["thumbnail"].size == sizes[-1]
        for level, (width, height) in enumerate(sizes):
            scale = factor**level
            pixels = np.asarray(slide.read_region((0, 0), level, (width, height)))[..., :3].astype(int)
            wanted = shrink(ramp(Box(0, 0, width * scale, height * scale)), scale).astype(int)
            assert np.abs(pixels - wanted).mean() < 2.5


def test_tiles_are_jpeg_of_256_px(tmp_path):
    path = tmp_path / "slide.svs"
    write(path, (1500, 1100))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_svs
        tiled = [page for page in tiff.pages if page.is_tiled]
        assert [(page.tilewidth, page.tilelength) for page in tiled] == [(256, 256)] * 2
        assert {page.compression.name for page in tiled} == {"JPEG"}


@pytest.mark.parametrize("workers", [2, 3])
def test_threads_change_nothing(tmp_path, workers):
    first, second = tmp_path / "one.svs", tmp_path / "two.svs"
    write(first, (1300, 700))
    write(second, (1300, 700), workers=workers)
    assert first.read_bytes() == second.read_bytes()


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    factor=st.sampled_from([2, 4]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_shrink_is_the_mean_rounded_half_up(width, height, factor, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = shrink(image, factor)
    assert small.shape == (height // factor, width // factor, 3)
    for row, column in np.ndindex(small.shape[:2]):
        square = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        exact = square.reshape(-1, 3).astype(float).mean(axis=0)
        np.testing.assert_array_equal(small[row, column], np.floor(exact + 0.5))


def test_level_sizes_end_at_1024():
    assert level_sizes((60_000, 40_000), 4) == [(60_000, 40_000), (15_000, 10_000), (3750, 2500), (937, 625)]
    assert level_sizes((1024, 300), 2) == [(1024, 300)]
    assert level_sizes((200_000, 256), 4)[-1][1] >= 1


def test_memory_does_not_grow_with_height(tmp_path):
    peaks = []
    for height in (2048, 8192):
        tracemalloc.start()
        write(tmp_path / f"{height}.svs", (1100, height), quality=60)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The lowest level, at most 1024 px on its longer side, is the only thing that may differ.
    assert peaks[1] < 1.35 * peaks[0]
