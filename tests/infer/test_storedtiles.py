"""Tiles from a store: the bytes of the slide itself, wherever a prediction looks."""

import numpy as np
import pytest
from painted import COLORS, MODEL, contents, make_label, read_colors
from slides import damage_tile, texture_image, write_slide

from wsiseg.config import Config, PredictConfig, override_config
from wsiseg.errors import SlideReadError, StoreError, StoreFormatError
from wsiseg.geometry import Box
from wsiseg.infer.batch import predict_batch
from wsiseg.infer.pipeline import Settings, predict_slide
from wsiseg.infer.storedtiles import open_stored
from wsiseg.progress import NullProgress
from wsiseg.slide import Slide
from wsiseg.tiling import TileJob, TileOptions, tile_slide

ALL = ("tissue.min_area_um2=0", "tiling.min_tissue_share=0")


def tile(path, out, *overrides, mpp=0.5, tile_px=64, options=None):
    settings = [f"tiling.mpp={mpp}", f"tiling.tile_px={tile_px}", *ALL, *overrides]
    config = override_config(Config(), settings)
    tile_slide(TileJob(str(path)), config, out, options=options, progress=NullProgress())
    return out


def regions(frame, rng, count=40):
    """Boxes of any size and place, some of them past the slide."""
    width, height = frame.size_gr
    for _ in range(count):
        x, y = rng.integers(-30, width + 10), rng.integers(-30, height + 10)
        yield Box.from_size(int(x), int(y), int(rng.integers(1, 150)), int(rng.integers(1, 150)))


@pytest.mark.parametrize(
    ("mpp", "levels", "options"),
    [
        (0.5, 1, {"compression": "deflate"}),
        (0.25, 1, {"compression": "deflate"}),
        (0.25, 1, {}),
        (0.25, 2, {}),
        (0.125, 3, {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("overlap", [0, 24])
def test_every_region_has_the_bytes_of_the_slide(tmp_path, mpp, levels, options, overlap):
    path = write_slide(tmp_path / "s.tiff", texture_image(437, 301), mpp=mpp, levels=levels, **options)
    tile(path, tmp_path / "tiles", f"tiling.overlap_px={overlap}")
    with Slide.open(path) as slide:
        frame = slide.frame(0.5)
        stored = open_stored(tmp_path / "tiles", slide, frame)
        for box in regions(frame, np.random.default_rng(levels)):
            expected = slide.read(frame.to_l0(box), box.size)
            assert np.array_equal(stored.read(frame.to_l0(box), box.size), expected)
        assert stored.from_store > 30
        assert stored.from_slide == 0
        assert stored.advice is None


def test_levels_that_openslide_interpolates_are_left_to_it(tmp_path):
    image = texture_image(437, 301)
    path = write_slide(tmp_path / "s.tiff", image, mpp=0.125, levels=3, compression="deflate")
    tile(path, tmp_path / "tiles")
    with Slide.open(path) as slide:
        frame = slide.frame(0.5)
        assert slide.backend == "openslide"
        stored = open_stored(tmp_path / "tiles", slide, frame)
        for box in [*regions(frame, np.random.default_rng(0)), Box(64, 0, 128, 64)]:
            expected = slide.read(frame.to_l0(box), box.size)
            assert np.array_equal(stored.read(frame.to_l0(box), box.size), expected)
        assert stored.from_store == 1


def test_a_frame_between_pixels_gives_what_stands_at_the_same_place(tmp_path):
    path = write_slide(tmp_path / "s.tiff", texture_image(400, 300), mpp=0.36, compression="deflate")
    tile(path, tmp_path / "tiles", "tiling.overlap_px=16")
    with Slide.open(path) as slide:
        frame = slide.frame(0.5)
        stored = open_stored(tmp_path / "tiles" / "s.zarr", slide, frame)
        for x in (0, 48, 96, 5, 20, 77):
            box = Box.from_size(x, 48, 64, 64)
            expected = slide.read(frame.to_l0(box), box.size)
            assert np.array_equal(stored.read(frame.to_l0(box), box.size), expected)
        assert (stored.from_store, stored.from_slide) == (3, 3)
        stored.read(frame.to_l0(Box(1, 1, 65, 65)), (64, 64))
        assert "same tiling.tile_px" in stored.advice


@pytest.mark.parametrize("stitching", ["window", "keep"])
def test_a_prediction_is_the_same_to_the_byte(slide_path, tmp_path, stitching):
    tile(slide_path, tmp_path / "tiles", "tiling.min_tissue_share=0.9")
    settings = Settings(PredictConfig(stitching=stitching))
    with Slide.open(slide_path) as slide:
        stored = open_stored(tmp_path / "tiles", slide, slide.frame(0.5))
        predict_slide(slide, read_colors, MODEL, out=tmp_path / "a", settings=settings)
        predict_slide(slide, read_colors, MODEL, out=tmp_path / "b", settings=settings, reader=stored)
    assert stored.from_store > stored.from_slide
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_slide_is_not_touched_where_the_store_is_whole(slide_path, tmp_path):
    """What slow storage is spared: after the tissue was found, no pixel of it is asked for."""
    tile(slide_path, tmp_path / "tiles")
    with Slide.open(slide_path) as slide:
        stored = open_stored(tmp_path / "tiles", slide, slide.frame(0.5))
        asked = []
        stored._slide = type("Refusing", (), {"read": lambda self, *box: asked.append(box)})()
        predict_slide(slide, read_colors, MODEL, out=tmp_path / "out", reader=stored)
    assert not asked


def test_what_the_slide_cannot_give_the_store_left_out(tmp_path):
    path = write_slide(tmp_path / "s.tiff", COLORS[make_label(300, 300)], compression="deflate", levels=1)
    damage_tile(path, 0, keep=0.0)
    tile(path, tmp_path / "tiles")
    with Slide.open(path) as slide:
        stored = open_stored(tmp_path / "tiles", slide, slide.frame(0.5))
        with pytest.raises(SlideReadError):
            stored.read(Box(10, 10, 74, 74), (64, 64))
        assert stored.read(Box(200, 200, 264, 264), (64, 64)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mpp": 1.0}, "another resolution"),
        ({"codec": "jpeg"}, "keeps its images as JPEG"),
        ({"backend": "tiffslide"}, "read in another way"),
        ({"slide": "other"}, "is not of"),
    ],
    ids=str,
)
def test_a_store_of_something_else_is_refused(slide_path, tmp_path, change, message):
    path = slide_path
    if "slide" in change:
        (tmp_path / "other").mkdir()
        path = write_slide(tmp_path / "other" / slide_path.name, texture_image(500, 371))
    overrides = ["tiling.codec=jpeg"] if "codec" in change else []
    options = TileOptions(backend=change.get("backend", "auto"))
    tile(path, tmp_path / "tiles", *overrides, mpp=change.get("mpp", 0.5), options=options)
    with Slide.open(slide_path) as slide, pytest.raises(StoreError, match=message):
        open_stored(tmp_path / "tiles", slide, slide.frame(0.5))


def test_no_store_is_said_for_each_slide(slide_path, tmp_path):
    with (
        Slide.open(slide_path) as slide,
        pytest.raises(StoreFormatError, match=r"there is no .*case 1\.zarr"),
    ):
        open_stored(tmp_path, slide, slide.frame(0.5))
    batch = predict_batch(
        [str(slide_path)],
        lambda: [read_colors],
        MODEL,
        out=tmp_path / "out",
        settings=Settings(),
        progress=NullProgress(),
        tiles=tmp_path,
    )
    assert batch.outcomes[0].status == "failed"


def test_little_use_of_a_store_is_said(tmp_path):
    path = write_slide(tmp_path / "s.tiff", COLORS[make_label(500, 371)], mpp=0.36, compression="deflate")
    tile(path, tmp_path / "tiles")
    batch = predict_batch(
        [str(path)],
        lambda: [read_colors],
        MODEL,
        out=tmp_path / "out",
        settings=Settings(),
        progress=NullProgress(),
        tiles=tmp_path / "tiles",
    )
    assert batch.outcomes[0].status == "ok"
    assert any("were read from the slide" in text for _, text in batch.warnings)
