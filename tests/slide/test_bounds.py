"""A slide of which only a part was scanned: the plane is whole, viewers count from the part."""

import numpy as np
import pytest
import shapely
from slides import texture_image, write_scn

from wsiseg.annotation import Annotation, find_beside, read_annotations, write_asap, write_qupath
from wsiseg.classes import default_schema
from wsiseg.config import load_config
from wsiseg.geometry import Box
from wsiseg.progress import NullProgress
from wsiseg.slide import Slide
from wsiseg.tilestore import TileStore
from wsiseg.tiling import TileJob, tile_slide

ORIGIN, PLANE = (200, 320), (1600, 1200)
PICTURE = texture_image(640, 384)
SCANNED = Box(200, 320, 840, 704)
OUTLINE = shapely.Polygon([(260, 380), (500, 400), (480, 600), (300, 610)])


@pytest.fixture
def slide_path(tmp_path):
    return write_scn(tmp_path / "in" / "s.scn", PICTURE, origin=ORIGIN, plane=PLANE)


@pytest.mark.parametrize("backend", ["auto", "openslide"])
def test_the_plane_is_whole_and_white_around_the_scan(slide_path, backend):
    with Slide.open(slide_path, backend=backend) as slide:
        assert slide.vendor == "leica"
        assert slide.size_l0 == PLANE
        assert slide.bounds_l0 == SCANNED
        assert slide.origin_qupath == ORIGIN
        assert slide.resolution.mpp_x == pytest.approx(0.5)
        plane = slide.read(Box(0, 0, *PLANE), PLANE)
    assert np.array_equal(plane[SCANNED.slices()], PICTURE)
    plane[SCANNED.slices()] = 255
    assert (plane == 255).all()


@pytest.mark.parametrize("write", [write_qupath, write_asap])
def test_annotations_of_either_viewer_land_on_the_same_pixels(slide_path, tmp_path, write):
    objects = [Annotation(OUTLINE, "glomerulus")]
    suffix = "geojson" if write is write_qupath else "xml"
    beside = slide_path.with_suffix(f".{suffix}")
    options = {"slide_id": "s", "origin_l0": ORIGIN} if write is write_qupath else {}
    write(beside, objects, default_schema(), **options)
    (first,) = read_annotations(beside, origin_l0=ORIGIN).annotations
    assert first.polygon.equals(OUTLINE)

    config = load_config(None, ["tiling.tile_px=64", "tiling.min_tissue_share=0.01"])
    job = TileJob(str(slide_path), annotations=find_beside(slide_path))
    store = TileStore.open(tile_slide(job, config, tmp_path / "tiles", progress=NullProgress()).store)
    # Tissue is only where the slide was scanned; its outline is drawn a little generously.
    assert (store.boxes[:, :2] >= np.array([SCANNED.x0, SCANNED.y0]) - 128).all()
    assert (store.boxes[:, 2:] <= np.array([SCANNED.x1, SCANNED.y1]) + 128).all()
    plane = np.zeros(PLANE[::-1], dtype=bool)
    for i, (x0, y0, x1, y1) in enumerate(store.boxes.tolist()):
        own = plane[y0:y1, x0:x1]
        own[...] = (store.label(i) == 1)[: own.shape[0], : own.shape[1]]
    rows, columns = np.nonzero(plane)
    inside = shapely.contains_xy(OUTLINE, columns + 0.5, rows + 0.5)
    assert inside.all()
    assert plane.sum() == pytest.approx(OUTLINE.area, rel=0.01)
