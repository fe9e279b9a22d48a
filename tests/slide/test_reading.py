"""``Slide.read``: exactly the box, exactly the size, white off the slide, errors that name the place."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slides import coordinate_image, damage_tile, texture_image, write_slide

from wsiseg.errors import SlideReadError
from wsiseg.geometry import Box
from wsiseg.slide import Slide
from wsiseg.slide import slide as slide_module
from wsiseg.slide.resample import area_average

SIZE = (331, 215)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """A lossless slide whose colours are coordinates, and its pixels."""
    image = coordinate_image(*SIZE)
    path = write_slide(
        tmp_path_factory.mktemp("exact") / "a.tiff", image, compression="deflate", tile=(64, 48)
    )
    with Slide.open(path) as slide:
        yield slide, image


boxes = st.builds(
    Box.from_size, st.integers(-90, 400), st.integers(-90, 300), st.integers(1, 300), st.integers(1, 200)
)


@given(box=boxes)
@settings(deadline=None, max_examples=60)
def test_level_0_comes_back_bit_for_bit_and_white_off_the_slide(exact, box):
    slide, image = exact
    padded = np.full((700, 900, 3), 255, dtype=np.uint8)
    padded[100 : 100 + SIZE[1], 100 : 100 + SIZE[0]] = image
    np.testing.assert_array_equal(slide.read(box, (box.width, box.height)), padded[box.slices((-100, -100))])


@given(box=boxes, width=st.integers(1, 120), height=st.integers(1, 120))
@settings(deadline=None, max_examples=60)
def test_any_size_is_the_area_average_of_the_box(exact, box, width, height):
    slide, _ = exact
    whole = slide.read(box, (box.width, box.height))
    resampled = slide.read(box, (width, height))
    assert resampled.shape == (height, width, 3)
    if width <= box.width and height <= box.height:
        expected = area_average(whole, (width, height))
        assert np.abs(resampled.astype(int) - expected).max() <= 1


def test_an_empty_box_or_size_is_a_mistake(exact):
    slide, _ = exact
    for box, size in [(Box(5, 5, 5, 9), (1, 1)), (Box(0, 0, 9, 9), (0, 3))]:
        with pytest.raises(ValueError, match="nothing to read"):
            slide.read(box, size)


def test_bands_change_nothing(exact, monkeypatch):
    slide, _ = exact
    box, size = Box(-11, 3, 341, 230), (97, 101)
    whole = slide.read(box, size)
    monkeypatch.setattr(slide_module, "_BAND_PIXELS", 1500)
    banded = slide.read(box, size)
    assert np.abs(whole.astype(int) - banded).max() <= 1


def test_tiles_of_the_grid_put_side_by_side_are_the_slide(exact):
    slide, image = exact
    parts = [
        np.hstack([slide.read(Box.from_size(x, y, 100, 70), (100, 70)) for x in range(0, 331, 100)])
        for y in range(0, 215, 70)
    ]
    np.testing.assert_array_equal(np.vstack(parts)[: SIZE[1], : SIZE[0]], image)


@pytest.mark.parametrize("factor", [2.0, 2.7, 4.0, 5.3])
@pytest.mark.parametrize("size", [(701, 467), (640, 512)])
def test_a_stored_level_gives_nearly_what_averaging_level_0_gives(tmp_path, factor, size):
    image = texture_image(*size)
    path = write_slide(tmp_path / "a.tiff", image, levels=3, compression="deflate")
    box = Box(0, 0, *size)
    wanted = (round(size[0] / factor), round(size[1] / factor))
    with Slide.open(path) as slide:
        error = np.abs(slide.read(box, wanted).astype(float) - area_average(image, wanted))
    # The level is rounded to whole values, and halves of its pixels straddle an output pixel.
    assert error.mean() < 3.0
    assert np.percentile(error, 99) < 16


def test_a_stored_level_at_its_own_scale_is_not_touched(tmp_path):
    image = texture_image(512, 384)
    path = write_slide(tmp_path / "a.tiff", image, levels=2, compression="deflate")
    with Slide.open(path) as slide:
        np.testing.assert_array_equal(
            slide.read(Box(64, 32, 320, 288), (128, 128)), area_average(image[32:288, 64:320], (128, 128))
        )


def test_a_level_that_drops_the_last_column_leaves_no_white_line(tmp_path):
    image = np.full((101, 201, 3), 90, dtype=np.uint8)
    path = write_slide(tmp_path / "a.tiff", image, levels=2, compression="deflate", tile=64)
    with Slide.open(path) as slide:
        assert slide.levels[1].size == (100, 50)
        reduced = slide.read(Box(0, 0, 204, 104), (102, 52))
    assert (reduced[:51, :101] == 90).all()
    assert (reduced[51:] == 255).all()
    assert (reduced[:, 101:] == 255).all()


def test_a_constant_stays_constant_when_magnified(tmp_path):
    path = write_slide(tmp_path / "a.tiff", np.full((90, 130, 3), 77, dtype=np.uint8), compression="deflate")
    with Slide.open(path) as slide:
        assert (slide.read(Box(10, 20, 60, 60), (173, 111)) == 77).all()


def test_grey_becomes_rgb(tmp_path):
    grey = np.ascontiguousarray(texture_image(150, 90)[..., 0])
    path = write_slide(tmp_path / "a.tiff", grey, levels=2, compression="deflate", tile=64)
    for backend in ("auto", "tiffslide"):
        with Slide.open(path, backend=backend) as slide:
            image = slide.read(slide.box_l0, slide.size_l0)
        np.testing.assert_array_equal(image, np.dstack([grey] * 3))


def test_alpha_is_composited_over_white(tmp_path):
    image = np.full((80, 120, 4), 100, dtype=np.uint8)
    image[..., 3] = 255
    image[:40, :40, 3] = 0
    image[:40, 40:80, 3] = 128
    path = write_slide(tmp_path / "a.tiff", image, compression="deflate", tile=64)
    for backend in ("auto", "tiffslide"):
        with Slide.open(path, backend=backend) as slide:
            pixels = slide.read(slide.box_l0, slide.size_l0).astype(int)
        assert (pixels[:40, :40] == 255).all()
        assert np.abs(pixels[:40, 40:80] - 177).max() <= 1
        assert (pixels[40:] == 100).all()


def test_a_slide_smaller_than_a_tile(tmp_path):
    image = texture_image(30, 20)
    path = write_slide(tmp_path / "a.svs", image, tile=256)
    with Slide.open(path) as slide:
        tile = slide.read(Box(0, 0, 256, 256), (256, 256))
        thumbnail, downsample = slide.thumbnail(2048)
    assert (tile[20:] == 255).all()
    assert (tile[:, 30:] == 255).all()
    assert thumbnail.shape == (20, 30, 3)
    assert downsample == (1.0, 1.0)


def test_a_thumbnail_fits_and_says_its_scale(tmp_path):
    path = write_slide(tmp_path / "a.tiff", texture_image(1000, 411), levels=2)
    with Slide.open(path) as slide:
        thumbnail, (x, y) = slide.thumbnail(300)
    assert thumbnail.shape == (123, 300, 3)
    assert (x, y) == (1000 / 300, 411 / 123)


@pytest.mark.parametrize("backend", ["auto", "openslide"])
def test_an_unreadable_region_raises_and_the_rest_stays_readable(tmp_path, backend):
    path = write_slide(tmp_path / "a.svs", texture_image(512, 384), tile=128)
    with Slide.open(path, backend=backend) as slide:
        good = slide.read(Box(0, 0, 128, 128), (128, 128))
    damage_tile(path, 5)
    with Slide.open(path, backend=backend) as slide:
        for _ in range(2):
            with pytest.raises(SlideReadError, match=r"a\.svs: cannot read 50 x 40 px at \(130, 140\)"):
                slide.read(Box(130, 140, 180, 180), (50, 40))
            np.testing.assert_array_equal(slide.read(Box(0, 0, 128, 128), (128, 128)), good)


def test_an_overview_goes_round_what_cannot_be_read_and_says_where(tmp_path):
    path = write_slide(tmp_path / "a.svs", np.full((1024, 1536, 3), 90, dtype=np.uint8), tile=256)
    damage_tile(path, 7)
    unreadable: list[Box] = []
    with Slide.open(path) as slide:
        with pytest.raises(SlideReadError):
            slide.thumbnail(768)
        thumbnail, _ = slide.thumbnail(768, unreadable=unreadable)
    white = (thumbnail == 255).all(axis=2)
    assert white[128:256, 128:256].all()
    covered = np.zeros((1024, 1536), dtype=bool)
    for box in unreadable:
        covered[box.slices()] = True
    assert covered[256:512, 256:512].all()
    np.testing.assert_array_equal(white, covered[::2, ::2])


@pytest.mark.parametrize("backend", ["direct", "openslide", "tiffslide"])
def test_threads_may_share_a_slide(tmp_path, backend):
    path = write_slide(tmp_path / "a.svs", texture_image(700, 500), tile=64)
    damage_tile(path, 40)
    rng = np.random.default_rng(1)
    jobs = [Box.from_size(int(x), int(y), 90, 70) for x, y in rng.integers(0, 450, (60, 2))]

    def read(slide, box):
        try:
            return slide.read(box, (box.width, box.height))
        except SlideReadError:
            return None

    with Slide.open(path, backend=backend) as slide:
        alone = [read(slide, box) for box in jobs]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda box: read(slide, box), jobs * 3))
    for expected, found in zip(alone * 3, together, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            np.testing.assert_array_equal(expected, found)


def test_real_slides_read_everywhere(shared_data: Path):
    for path in sorted((shared_data / "slides").iterdir()):
        with Slide.open(path) as slide:
            width, height = slide.size_l0
            corner = slide.read(Box(width - 50, height - 30, width + 50, height + 30), (60, 40))
            assert (corner[21:, 31:] == 255).all()
            thumbnail, _ = slide.thumbnail(256)
            assert max(thumbnail.shape) <= 256
            assert thumbnail.std() > 1


def test_damaged_tiles_of_a_real_slide_are_named(shared_data: Path):
    path = shared_data / "broken" / "derived_CMU_corrupt_tiles.svs"
    with Slide.open(path) as slide:
        with pytest.raises(SlideReadError, match=r"240 x 240 px at \(1440, 1680\)"):
            slide.read(Box.from_size(1440, 1680, 240, 240), (240, 240))
        assert slide.read(Box(0, 0, 240, 240), (240, 240)).std() > 0


def test_a_column_that_a_level_dropped_looks_the_same_wherever_a_read_begins(tmp_path):
    path = write_slide(tmp_path / "odd.tiff", texture_image(437, 301), levels=3)
    with Slide.open(path) as slide:
        assert slide.levels[2].size == (109, 75)
        wide = slide.read(Box(364, 240, 480, 340), (29, 25))
        assert np.array_equal(slide.read(Box(436, 240, 480, 340), (11, 25)), wide[:, 18:])
        assert np.array_equal(slide.read(Box(364, 300, 480, 340), (29, 10)), wide[15:])
        assert np.array_equal(slide.read(Box(436, 300, 480, 340), (11, 10)), wide[15:, 18:])
        assert (wide[:, 19:] == 255).all()
        assert not (wide[:15, 18] == 255).all()


def test_a_file_that_vanishes_fails_the_read_and_no_more(tmp_path):
    """A share that drops out must not end a batch with an error of OpenSlide's own."""
    path = write_slide(tmp_path / "a.svs", texture_image(600, 400), compression="jpeg")
    damage_tile(path, 0)
    with Slide.open(path, backend="openslide") as slide:
        path.unlink()
        for _ in range(2):
            with pytest.raises(SlideReadError):
                slide.read(Box(0, 0, 128, 128), (128, 128))


def test_a_picture_is_blank_only_where_the_file_is_damaged(tmp_path):
    """By whole stored tiles, of whatever side: readable tissue beside them must not vanish."""
    image = np.full((720, 960, 3), 90, dtype=np.uint8)
    path = write_slide(tmp_path / "a.svs", image, tile=240, compression="jpeg")
    damage_tile(path, 5)
    unreadable: list[Box] = []
    with Slide.open(path) as slide:
        picture, _ = slide.thumbnail(960, unreadable=unreadable)
    blank = (picture == 255).all(axis=2)
    assert blank[240:480, 240:480].all()
    assert blank.sum() == 240 * 240
    assert sum(box.width * box.height for box in unreadable) == 240 * 240
