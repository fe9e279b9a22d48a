"""The label image: levels, palette, physical size, and the same bytes twice."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile

from wsiseg.classes import default_schema
from wsiseg.geometry import Box
from wsiseg.infer.ometiff import TILE_PX, write_label_image
from wsiseg.infer.pyramid import level_count
from wsiseg.labelimage import LabelImage
from wsiseg.slide import Slide
from wsiseg.tilestore import MaskStore


@pytest.fixture(scope="module")
def label():
    y, x = np.mgrid[:1300, :2100]
    return ((x // 97 + y // 61) % 4).astype(np.uint8)


@pytest.fixture(scope="module")
def image(tmp_path_factory, label):
    folder = tmp_path_factory.mktemp("image")
    store = MaskStore.create(folder / "label.zarr", (2100, 1300))
    store.write(Box(0, 0, 2100, 1300), label)
    for name in ("a", "b"):
        write_label_image(
            folder / f"{name}.ome.tiff",
            store,
            default_schema(),
            mpp=(0.5, 0.25),
            name="slide & <1>.svs",
        )
    return folder / "a.ome.tiff"


def test_levels_halve_by_taking_every_second_pixel(image, label):
    with tifffile.TiffFile(image) as tiff:
        (series,) = tiff.series
        assert [level.shape for level in series.levels] == [(1300, 2100), (650, 1050), (325, 525), (163, 263)]
        for number, level in enumerate(series.levels):
            assert np.array_equal(level.asarray(), label[:: 2**number, :: 2**number])


def test_tiled_compressed_and_coloured(image):
    with tifffile.TiffFile(image) as tiff:
        page = tiff.pages[0]
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert (page.colormap[:, :4].T // 257).tolist() == [list(c.color) for c in default_schema()]
    assert image.stat().st_size < 300_000


def test_header_names_classes_and_sizes(image):
    with tifffile.TiffFile(image) as tiff:
        root = ET.fromstring(tiff.ome_metadata)
    space = {"o": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
    pixels = root.find(".//o:Pixels", space).attrib
    assert (pixels["SizeX"], pixels["SizeY"], pixels["PhysicalSizeX"]) == ("2100", "1300", "0.5")
    assert pixels["PhysicalSizeY"] == "0.25"
    values = {m.attrib["K"]: m.text for m in root.findall(".//o:M", space)}
    assert values["2"] == "podocyte #e84118"
    assert root.find("o:Image", space).attrib["Name"] == "slide & <1>.svs"


def test_same_mask_same_bytes(image):
    assert image.read_bytes() == image.with_name("b.ome.tiff").read_bytes()


def test_the_reader_of_evaluate_reads_it(image, label):
    with LabelImage(image) as read:
        assert read.size_gr == (2100, 1300)
        assert read.mpp == 0.5
        assert np.array_equal(read.read(Box(500, 400, 1700, 1200)), label[400:1200, 500:1700])


def test_it_opens_as_a_slide(image):
    with Slide.open(image) as slide:
        assert slide.size_l0 == (2100, 1300)
        assert slide.resolution.mpp_x == pytest.approx(0.5)


@pytest.mark.parametrize(("side", "levels"), [(1, 1), (512, 1), (513, 2), (1024, 2), (1025, 3), (2100, 4)])
def test_smallest_level_fits_a_tile(side, levels):
    assert level_count((side, 10), TILE_PX) == levels == level_count((10, side), TILE_PX)
    assert -(-side // 2 ** (levels - 1)) <= 512
