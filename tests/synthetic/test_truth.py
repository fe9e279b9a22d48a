import json

import numpy as np
import pytest
from shapely import STRtree
from shapely.geometry import shape

from wsiseg.annotation import read_annotations
from wsiseg.classes import default_schema
from wsiseg.geometry import Box
from wsiseg.synthetic import SlideSpec
from wsiseg.synthetic.render import Scene
from wsiseg.synthetic.truth import annotated_regions, annotations, tissue_share, write_truth


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SlideSpec(seed=8, size_px=(4096, 3072)))


@pytest.fixture(scope="module")
def sparse() -> Scene:
    return Scene(SlideSpec(seed=8, size_px=(8192, 6144), annotated_share=0.25))


def test_the_file_is_qupath_and_says_what_made_it(scene, tmp_path):
    path = tmp_path / "slide.geojson"
    counts = write_truth(path, scene, "slide")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    metadata = document["features"][0]["properties"]["metadata"]
    assert metadata["preset"] == "standard-1"
    assert metadata["seed"] == "8"
    names = [feature["properties"]["classification"]["name"] for feature in document["features"]]
    assert {name: names.count(name) for name in set(names)} == counts
    assert set(counts) == {"glomerulus", "podocyte", "non_podocyte"}
    assert all(shape(feature["geometry"]).is_valid for feature in document["features"])


def test_it_reads_back_without_repair(scene, tmp_path):
    path = tmp_path / "slide.geojson"
    counts = write_truth(path, scene, "slide")
    back = read_annotations(path, strict=True)
    assert back.report.kept == sum(counts.values())
    schema = default_schema()
    assert {schema.find(str(annotation.class_name)).name for annotation in back.annotations} == set(counts)


def test_objects_lie_on_the_slide_and_nuclei_in_their_glomerulus(scene):
    objects = list(annotations(scene))
    width, height = scene.spec.size_px
    bounds = np.array([annotation.polygon.bounds for annotation in objects])
    assert (bounds[:, :2] >= 0).all()
    assert (bounds[:, 2] <= width).all()
    assert (bounds[:, 3] <= height).all()
    glomeruli = STRtree([a.polygon for a in objects if a.class_name == "glomerulus"])
    for annotation in objects:
        if annotation.class_name != "glomerulus":
            assert len(glomeruli.query(annotation.polygon, predicate="within")) == 1


def test_outlines_sit_on_what_is_drawn(scene):
    """The capsule, magenta, runs just inside an outline; nuclei are darker than what is around them."""
    for glomerulus in list(scene.glomeruli.every())[:4]:
        rim = glomerulus.outline() / scene.spec.mpp
        centre = np.array([glomerulus.x, glomerulus.y]) / scene.spec.mpp
        inward = (centre - rim) / np.linalg.norm(centre - rim, axis=1, keepdims=True)
        reach = round(glomerulus.radius * 1.3 / scene.spec.mpp)
        x0, y0 = (centre - reach).astype(int)
        image = scene.render(Box(x0, y0, x0 + 2 * reach, y0 + 2 * reach)).astype(float)

        def green(points, image=image, origin=(x0, y0)):
            columns, rows = np.floor(points - np.array(origin)).astype(int).T
            return image[rows, columns, 1].mean()

        capsule, space = green(rim + inward * 1.5), green(rim + inward * 9.0)
        assert capsule < space - 30
        nuclei = np.stack([glomerulus.podocytes.x, glomerulus.podocytes.y], axis=1) / scene.spec.mpp
        assert green(nuclei) < space - 30


def test_regions_cover_the_share_that_was_asked_for(sparse):
    regions = annotated_regions(sparse)
    width, height = sparse.spec.size_px
    grid = np.arange(0.0, 4096.0, 16.0)
    tissue = sparse.outline.block(grid, grid[grid < 3072.0]) > 0
    rows, columns = np.nonzero(tissue)
    points = np.column_stack([grid[columns], grid[rows]]) / sparse.spec.mpp
    inside = sum(
        ((points >= [r.bounds[0], r.bounds[1]]) & (points < [r.bounds[2], r.bounds[3]])).all(axis=1).mean()
        for r in regions
    )
    assert 0.2 < inside < 0.4
    assert all(
        0 <= r.bounds[0] < r.bounds[2] <= width and 0 <= r.bounds[1] < r.bounds[3] <= height for r in regions
    )


def test_annotation_inside_regions_is_exhaustive(sparse):
    everything = list(annotations(Scene(SlideSpec(seed=8, size_px=(8192, 6144)))))
    some = list(annotations(sparse))
    regions = [a.polygon for a in some if a.class_name == "Region*"]
    kept = {a.polygon.wkb for a in some}
    assert regions
    assert any(a.class_name == "glomerulus" for a in some)
    touches = False
    for annotation in everything:
        # Each glomerulus is followed by its nuclei, and they come or stay away together.
        if annotation.class_name == "glomerulus":
            touches = any(annotation.polygon.intersects(region) for region in regions)
        assert (annotation.polygon.wkb in kept) == touches


def test_tissue_share_is_that_of_the_outline(scene):
    grid = np.arange(0.0, 2048.0, 8.0)
    exact = float((scene.outline.block(grid, grid[grid < 1536.0]) > 0).mean())
    assert abs(tissue_share(scene) - exact) < 0.03
