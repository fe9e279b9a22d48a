import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from slides import texture_image, write_slide

from wsiseg.annotation import Annotation, write_qupath
from wsiseg.classes import default_schema
from wsiseg.config import TissueConfig
from wsiseg.errors import ConfigError
from wsiseg.geometry import Box
from wsiseg.slide import Slide
from wsiseg.tissuemap import TissueMap, look_at, map_tissue


@pytest.fixture
def slide(tmp_path):
    with Slide.open(write_slide(tmp_path / "s.tiff", texture_image(400, 300))) as opened:
        yield opened


class TestShares:
    @given(data=st.data())
    @settings(max_examples=80, deadline=None)
    def test_are_those_of_a_fine_count(self, data):
        rng = np.random.default_rng(data.draw(st.integers(0, 99)))
        tissue = TissueMap(rng.random((6, 9)) < 0.5, (8.0, 4.0))
        x0, y0 = data.draw(st.integers(-10, 70)), data.draw(st.integers(-10, 22))
        x1, y1 = data.draw(st.integers(x0 + 1, 90)), data.draw(st.integers(y0 + 1, 40))
        fine = tissue.mask.repeat(4, axis=0).repeat(8, axis=1)
        part = fine[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
        share = tissue.shares(np.array([[x0, y0, x1, y1]], dtype=float))[0]
        assert share == pytest.approx(part.mean() if part.size else 0, abs=1e-6)

    def test_of_boxes_finer_than_a_pixel(self):
        tissue = TissueMap(np.array([[True, False]]), (10.0, 10.0))
        shares = tissue.shares(np.array([[9.5, 0, 10.5, 1], [0, 0, 0.25, 0.25], [19, 9, 40, 40]]))
        assert shares.tolist() == [0.5, 1.0, 0.0]


def test_touching_is_any_tissue_at_all():
    tissue = TissueMap(np.array([[True, False, False]]), (10.0, 10.0))
    boxes = np.array([[0, 0, 5, 5], [9.99, 0, 30, 10], [10, 0, 30, 10], [-9, 0, 0, 10]])
    assert tissue.touching(boxes).tolist() == [True, True, False, False]


def test_the_overview_shows_the_plane(slide):
    overview = look_at(slide, 200)
    assert overview.rgb.shape == (150, 200, 3)
    assert overview.downsample == (2.0, 2.0)
    assert overview.unreadable == ()


@pytest.mark.parametrize(("max_side", "side"), [(800, 400), (400, 400), (399, 200), (150, 100), (90, 50)])
def test_the_smallest_stored_level_of_half_the_size_is_taken_by_whole_pixels(tmp_path, max_side, side):
    rgb = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    path = write_slide(tmp_path / "a.tiff", rgb, levels=3)
    with Slide.open(path) as slide:
        assert [max(level.size) for level in slide.levels] == [400, 200, 100]
        assert max(look_at(slide, max_side).rgb.shape) == side


def test_what_cannot_be_read_counts_as_tissue(slide, monkeypatch):
    thumbnail = slide.thumbnail

    def hurt(max_side, *, unreadable):
        unreadable.append(Box(101, 60, 140, 90))
        return thumbnail(max_side)

    monkeypatch.setattr(slide, "thumbnail", hurt)
    overview = look_at(slide, 200)
    expected = np.zeros((150, 200), dtype=bool)
    expected[30:45, 50:70] = True
    assert [box.slices() for box in overview.unreadable] == [(slice(30, 45), slice(50, 70))]
    assert map_tissue(slide, overview, TissueConfig(), None).mask[expected].all()


def test_a_mask_of_another_size(slide, tmp_path):
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[10:, 20:] = 1
    Image.fromarray(mask).save(tmp_path / "m.png")
    tissue = map_tissue(slide, look_at(slide), TissueConfig(), tmp_path / "m.png")
    assert tissue.downsample == (10.0, 10.0)
    assert tissue.share == pytest.approx(1 / 3)
    boxes = np.array([[0, 0, 400, 100], [200, 100, 400, 300], [190, 150, 210, 160]], dtype=float)
    assert tissue.shares(boxes).tolist() == [0.0, 1.0, 0.5]


def test_outlines_as_mask(slide, tmp_path):
    outline = Annotation(shapely.box(100, 50, 300, 250))
    write_qupath(tmp_path / "m.geojson", [outline], default_schema(), slide_id="s")
    tissue = map_tissue(slide, look_at(slide, 200), TissueConfig(), tmp_path / "m.geojson")
    assert tissue.share == pytest.approx(1 / 3)


def test_a_mask_of_other_proportions_is_refused(slide, tmp_path):
    Image.fromarray(np.zeros((40, 30), dtype=np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(
        ConfigError, match="found 30 x 40 px, expected the proportions of the slide, 400 x 300"
    ):
        map_tissue(slide, look_at(slide), TissueConfig(), tmp_path / "m.png")


def test_a_mask_that_is_no_picture_is_refused(slide, tmp_path):
    (tmp_path / "m.png").write_text("no")
    with pytest.raises(ConfigError, match=r"m\.png cannot be read as a picture"):
        map_tissue(slide, look_at(slide), TissueConfig(), tmp_path / "m.png")
