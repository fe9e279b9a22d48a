"""Label masks read box by box."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.errors import AnnotationParseError
from wsiseg.geometry import Box
from wsiseg.labelimage import LabelImage

LABEL = np.random.default_rng(0).integers(0, 4, (300, 410), dtype=np.uint8)

LAYOUTS = {
    "tiles": {"tile": (64, 128), "compression": "zlib"},
    "strips": {"rowsperstrip": 50, "compression": "zlib"},
    "plain": {},
    "palette": {"tile": (128, 128), "photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
}


@pytest.fixture(scope="module", params=LAYOUTS)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("masks") / f"{request.param}.tiff"
    tifffile.imwrite(path, LABEL, metadata=None, **LAYOUTS[request.param])
    with LabelImage(path) as opened:
        yield opened


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_box_is_what_the_array_holds(image: LabelImage, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(-20, 420)), data.draw(st.integers(-20, 320))
    box = Box.from_size(x, y, data.draw(st.integers(1, 450)), data.draw(st.integers(1, 350)))
    padded = np.pad(LABEL, 900)
    np.testing.assert_array_equal(image.read(box), padded[box.slices((-900, -900))])


def test_it_knows_its_size_and_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tiff"
    metadata = {"axes": "YX", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(LABEL, tile=(64, 64), subifds=1, metadata=metadata)
        writer.write(LABEL[::2, ::2], tile=(64, 64), subfiletype=1)
    with LabelImage(path) as image:
        assert (image.size_gr, image.mpp) == ((410, 300), 0.25)
        np.testing.assert_array_equal(image.read(Box(0, 0, 410, 300)), LABEL)


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, LABEL, tile=(64, 64), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 8)
    with LabelImage(path) as image:
        assert image.read(Box(128, 128, 192, 192)).shape == (64, 64)
        with pytest.raises(AnnotationParseError, match="tile 0 cannot be decoded"):
            image.read(Box(0, 0, 8, 8))


@pytest.mark.parametrize("array", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint16)])
def test_other_pictures_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tiff", array)
    with pytest.raises(AnnotationParseError, match="is not a label mask: found uint"):
        LabelImage(tmp_path / "a.tiff")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_text("hello")
    with pytest.raises(AnnotationParseError, match="cannot be read as a label mask"):
        LabelImage(tmp_path / "a.tiff")


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [
        ("0.5", "µm", 0.5),
        ("0.5", "\u03bcm", 0.5),
        ("500", "nm", 0.5),
        ("0,5", "µm", None),
        ("1", "reference frame", None),
    ],
)
def test_the_resolution_is_read_where_it_can_be(
    tmp_path: Path, size: str, unit: str, mpp: float | None
) -> None:
    path = tmp_path / "a.ome.tiff"
    tifffile.imwrite(
        path, LABEL, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 7, "PhysicalSizeXUnit": "µm"}
    )
    xml = tifffile.tiffcomment(path).replace('PhysicalSizeX="7"', f'PhysicalSizeX="{size}"')
    tifffile.tiffcomment(path, xml.replace('PhysicalSizeXUnit="µm"', f'PhysicalSizeXUnit="{unit}"').encode())
    with LabelImage(path) as image:
        assert image.mpp == (None if mpp is None else pytest.approx(mpp))
