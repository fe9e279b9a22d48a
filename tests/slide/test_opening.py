"""What opens, with which backend, and what is said of files that do not."""

import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest
import tifffile
from slides import texture_image, write_ome_tiff, write_slide

from wsiseg.errors import ResolutionError, SlideOpenError
from wsiseg.geometry import Box
from wsiseg.slide import Slide

TEXTURE = texture_image(300, 200)


@pytest.mark.parametrize(
    ("name", "options", "backend", "vendor"),
    [
        ("jpeg.svs", {}, "direct", "aperio"),
        ("jpeg.tiff", {}, "direct", "generic-tiff"),
        ("jpeg2000.svs", {"compression": 33005}, "direct", "aperio"),
        ("deflate.tiff", {"compression": "deflate"}, "openslide", "generic-tiff"),
        ("webp.tiff", {"compression": "webp"}, "tiffslide", "generic-tiff"),
        ("Ünlike (1)'s [x]; 50%.svs", {}, "direct", "aperio"),
    ],
)
def test_auto_picks_the_fastest_backend_that_is_right(tmp_path, name, options, backend, vendor):
    path = write_slide(tmp_path / name, TEXTURE, levels=2, **options)
    with Slide.open(path) as slide:
        assert (slide.backend, slide.vendor) == (backend, vendor)
        assert (slide.name, slide.stem) == (name, name.rsplit(".", 1)[0])
        assert slide.size_l0 == (300, 200)
        assert [level.size for level in slide.levels] == [(300, 200), (150, 100)]
        assert slide.read(slide.box_l0, (300, 200)).shape == (200, 300, 3)


def test_ome_tiff_keeps_its_levels_and_resolution(tmp_path):
    path = write_ome_tiff(tmp_path / "a.ome.tif", TEXTURE, levels=2, mpp=0.4)
    with Slide.open(path) as direct, Slide.open(path, backend="tiffslide") as peer:
        assert (direct.backend, len(direct.levels)) == ("direct", 2)
        assert direct.resolution.mpp_x == peer.resolution.mpp_x == 0.4
        for size in [(300, 200), (150, 100), (111, 67)]:
            np.testing.assert_array_equal(direct.read(direct.box_l0, size), peer.read(peer.box_l0, size))


def test_separate_planes_in_strips_are_read_whole(tmp_path):
    path = tmp_path / "planes.ome.tif"
    planes = np.ascontiguousarray(TEXTURE.transpose(2, 0, 1))
    metadata = {"axes": "SYX", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", metadata=metadata)
    with Slide.open(path) as slide:
        assert slide.backend == "tifffile"
        assert (slide.resolution.mpp_x, slide.resolution.mpp_y) == (0.25, 0.25)
        np.testing.assert_array_equal(slide.read(slide.box_l0, slide.size_l0), TEXTURE)


def test_an_address_is_read_like_a_file(tmp_path):
    path = write_slide(tmp_path / "a.svs", TEXTURE, levels=2, missing=[(0, 1)])
    with fsspec.open("memory://folder/a.svs", "wb") as file:
        file.write(path.read_bytes())
    with Slide.open("memory://folder/a.svs") as remote, Slide.open(path) as local:
        assert (remote.backend, remote.name, remote.stem) == ("tiffslide", "a.svs", "a")
        assert remote.fingerprint == local.fingerprint
        assert remote.resolution == local.resolution
        assert remote.objective == local.objective == 20
        for size in [(300, 200), (150, 100)]:
            np.testing.assert_array_equal(remote.read(local.box_l0, size), local.read(local.box_l0, size))


def test_a_pickled_slide_opens_again_with_its_options(tmp_path):
    path = write_slide(tmp_path / "a.svs", TEXTURE, mpp=None)
    slide = Slide.open(path, mpp=0.3, backend="openslide")
    with slide, pickle.loads(pickle.dumps(slide)) as again:
        assert (again.backend, again.resolution.mpp_x) == ("openslide", 0.3)
        box = Box(10, 20, 50, 40)
        np.testing.assert_array_equal(again.read(box, (40, 20)), slide.read(box, (40, 20)))


def test_direct_refuses_what_it_is_not_sure_of(tmp_path):
    path = write_slide(tmp_path / "a.tiff", TEXTURE, compression="deflate")
    with pytest.raises(SlideOpenError, match=r"directly: it holds DEFLATE tiles of RGB .* --backend auto"):
        Slide.open(path, backend="direct")
    with pytest.raises(SlideOpenError, match="not a local file"):
        Slide.open("memory://a.svs", backend="direct")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"these are words" * 20, "Unsupported or missing image file"),
        (b"II*\0" + (10_000).to_bytes(4, "little") + b"\0" * 92, "cut off: found 100 bytes"),
    ],
)
def test_a_file_that_is_no_slide_gets_one_clear_line(tmp_path, content, said):
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    with pytest.raises(SlideOpenError, match=said) as caught:
        Slide.open(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(SlideOpenError, match=r"nowhere\.svs: No such file"):
        Slide.open(tmp_path / "nowhere.svs")
    with pytest.raises(SlideOpenError, match="Is a directory"):
        Slide.open(tmp_path)
    with pytest.raises(SlideOpenError, match="nothing"):
        Slide.open("memory://nothing/here.svs")


def test_pixels_that_are_no_picture_are_refused(tmp_path):
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, np.zeros((20, 30), dtype=np.float32))
    with pytest.raises(SlideOpenError, match="found float32 pixels"):
        Slide.open(path)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, "PALETTE"),
        ({"photometric": "miniswhite"}, "MINISWHITE"),
        ({"photometric": "separated"}, "SEPARATED"),
        ({"photometric": "ycbcr", "compression": "zlib"}, "YCBCR"),
    ],
)
def test_samples_that_are_no_rgb_are_refused_where_openslide_refuses_them(tmp_path, options, found):
    """tifffile gives them as they are stored: palette indices, ink, inverted grey."""
    samples = {"PALETTE": (), "MINISWHITE": (), "SEPARATED": (4,), "YCBCR": (3,)}[found]
    path = tmp_path / "colours.tif"
    tifffile.imwrite(path, np.full((40, 60, *samples), 9, dtype=np.uint8), rowsperstrip=8, **options)
    with pytest.raises(SlideOpenError, match=f"found {found} colours"):
        Slide.open(path)


def test_a_missing_resolution_names_the_option(tmp_path):
    path = write_slide(tmp_path / "a.svs", TEXTURE, mpp=None)
    with Slide.open(path) as slide, pytest.raises(ResolutionError, match=r"a\.svs .* --mpp-slide"):
        slide.frame(1.0)
    with Slide.open(path, mpp=0.5) as slide:
        assert slide.frame(1.0).downsample == (2.0, 2.0)


def test_an_implausible_resolution_is_no_better_than_none(tmp_path):
    path = write_slide(tmp_path / "a.tiff", TEXTURE, mpp=352.8)
    with Slide.open(path) as slide, pytest.raises(ResolutionError, match=r"352.8\d* x .* --mpp-slide"):
        _ = slide.resolution
    with Slide.open(path, mpp=99) as slide, pytest.raises(ResolutionError, match="found 99 x 99"):
        _ = slide.resolution


@pytest.mark.parametrize(
    ("stated", "given", "said"),
    [
        (0.5, 0.25, ["a.tiff says 0.5 um/px; it is taken to have 0.25 um/px, as given"]),
        ((0.5, 0.25), 0.5, ["a.tiff says 0.5 x 0.25 um/px; it is taken to have 0.5 um/px, as given"]),
        (0.4990, 0.5, []),
        (352.8, 0.5, []),
        (None, 0.5, []),
    ],
)
def test_a_resolution_that_contradicts_the_slide_counts_and_is_said_once(
    tmp_path, caplog, stated, given, said
):
    path = write_slide(tmp_path / "a.tiff", TEXTURE, mpp=stated)
    with Slide.open(path, mpp=given) as slide:
        assert (slide.resolution.mpp_x, slide.resolution.mpp_y) == (given, given)
        pickle.loads(pickle.dumps(slide)).close()
    assert [record.getMessage() for record in caplog.records] == said


@pytest.mark.parametrize(("mpp", "times"), [(0.1, "5"), (0.25, "2"), (0.4, None), (0.5, None), (1.0, None)])
def test_a_frame_clearly_finer_than_the_slide_is_said_to_be(tmp_path, mpp, times):
    with Slide.open(write_slide(tmp_path / "a.tiff", TEXTURE, mpp=0.5)) as slide:
        said = slide.magnified(slide.frame(mpp))
    assert (said is None) is (times is None)
    if times:
        assert f"its 0.5 um/px are magnified {times} times, to {mpp}" in said


def test_unequal_resolution_stays_unequal(tmp_path):
    path = write_slide(tmp_path / "a.tiff", TEXTURE, mpp=(0.5, 0.25))
    with Slide.open(path) as slide:
        assert slide.resolution.mpp_x == pytest.approx(0.5)
        assert slide.resolution.mpp_y == pytest.approx(0.25)
        assert slide.frame(1.0).size_gr == (150, 50)


def test_the_fingerprint_is_of_the_content(tmp_path):
    path = write_slide(tmp_path / "a.svs", TEXTURE)
    content = path.read_bytes()
    (tmp_path / "b.svs").write_bytes(content)
    (tmp_path / "c.svs").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    prints = {}
    for name in "abc":
        with Slide.open(tmp_path / f"{name}.svs", backend="openslide") as slide:
            prints[name] = slide.fingerprint
    assert len(prints["a"]) == 32
    assert prints["a"] == prints["b"] != prints["c"]


def test_broken_files_of_the_real_collection(shared_data: Path):
    refused = {
        "derived_CMU_truncated_50pct.svs": "cut off",
        "derived_text_renamed.svs": "Unsupported or missing",
        "derived_zero_byte.svs": "empty",
        "libvips_1bit.tif": "bool pixels",
        "osp_unopenable.tiff": "52479",
    }
    for name, said in refused.items():
        with pytest.raises(SlideOpenError, match=said):
            Slide.open(shared_data / "broken" / name)
