"""Predicting a slide of which only a part was scanned: each viewer gets its own origin."""

import json

import numpy as np
import pytest
import shapely
import tifffile
from painted import COLORS, MODEL, make_label, read_colors
from slides import write_scn

from wsiseg.annotation import read_annotations
from wsiseg.config import PredictConfig
from wsiseg.infer.pipeline import Settings, predict_slide
from wsiseg.slide import Slide

ORIGIN, PLANE = (200, 320), (1000, 900)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    label = make_label(500, 371)
    path = write_scn(folder / "s.scn", COLORS[label], origin=ORIGIN, plane=PLANE)
    with Slide.open(path) as slide:
        settings = Settings(PredictConfig(), formats=("qupath", "asap", "dsa"))
        predict_slide(slide, read_colors, MODEL, out=folder / "out", settings=settings)
    return folder / "out"


def largest(annotations):
    return max((annotation.polygon for annotation in annotations), key=lambda polygon: polygon.area)


def test_qupath_counts_from_the_scanned_part_and_asap_from_the_plane(out):
    features = json.loads((out / "s.geojson").read_text(encoding="utf-8"))["features"]
    in_file = max((shapely.from_geojson(json.dumps(f["geometry"])) for f in features), key=lambda g: g.area)
    on_plane = largest(read_annotations(out / "s.xml").annotations)
    assert shapely.transform(in_file, lambda points: points + ORIGIN).equals(on_plane)
    read_back = largest(read_annotations(out / "s.geojson", origin_l0=ORIGIN).annotations)
    assert read_back.equals(on_plane)


def test_outlines_lie_where_the_slide_shows_them(out):
    label = make_label(500, 371)
    on_plane = largest(read_annotations(out / "s.xml").annotations)
    y, x = np.mgrid[:371, :500] + 0.5
    inside = shapely.contains_xy(on_plane, x + ORIGIN[0], y + ORIGIN[1])
    assert inside.any()
    assert (label[inside] > 0).all()


def test_the_mask_covers_the_plane(out):
    mask = tifffile.imread(out / "s.ome.tiff")
    whole = np.zeros(PLANE[::-1], dtype=np.uint8)
    whole[ORIGIN[1] : ORIGIN[1] + 371, ORIGIN[0] : ORIGIN[0] + 500] = make_label(500, 371)
    assert np.array_equal(mask, whole)
