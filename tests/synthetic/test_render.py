"""Pixels: independent of the region they are drawn in, the same for ever, and not too easy."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.geometry import Box
from wsiseg.raster import ShapePainter
from wsiseg.synthetic import SlideSpec
from wsiseg.synthetic.render import Scene
from wsiseg.synthetic.truth import annotations

# SHA-256 over the RGB bytes of render(0, 0, 1024, 1024), row by row, before any JPEG, then over the
# coordinates of the truth in hundredths of a pixel. A published preset never changes: if one of these
# does, the change belongs into a new version of the preset.
GOLDEN = {
    "easy-1": "b1a0ffb48123218b2145505c323bf965e9b4238640fe4392f42483f5b1241e2f",
    "standard-1": "30fc460ce33f033b39819bd5a7941d69b0b6e09ab87840a184f283479d11cd3d",
    "hard-1": "496917c5de80fdab2c5702f54d116c33bf6aadfc6c8c58835344e0bee142d4b9",
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SlideSpec(seed=4, size_px=(2048, 1536)))


@pytest.mark.parametrize("preset", ["easy", "standard", "hard"])
def test_a_preset_never_changes(preset):
    spec = SlideSpec(seed=1, preset=preset, size_px=(1024, 1024), shape="wedge")
    scene = Scene(spec)
    digest = hashlib.sha256(scene.render(Box(0, 0, 1024, 1024)).tobytes())
    truth = list(annotations(scene))
    assert {annotation.class_name for annotation in truth} == {"glomerulus", "podocyte", "non_podocyte"}
    for annotation in truth:
        points = np.round(np.array(annotation.polygon.exterior.coords) * 100).astype("<i8")
        digest.update(str(annotation.class_name).encode() + points.tobytes())
    assert digest.hexdigest() == GOLDEN[spec.knobs.label]


@given(x=st.integers(0, 1700), y=st.integers(0, 1250), cut_x=st.integers(1, 250), cut_y=st.integers(1, 200))
@settings(deadline=None, max_examples=6)
def test_regions_fit_together_without_a_seam(scene, x, y, cut_x, cut_y):
    whole = scene.render(Box(x, y, x + 251, y + 201))
    quarters = [
        [scene.render(Box(x + x0, y + y0, x + x1, y + y1)) for x0, x1 in ((0, cut_x), (cut_x, 251))]
        for y0, y1 in ((0, cut_y), (cut_y, 201))
    ]
    np.testing.assert_array_equal(whole, np.concatenate([np.concatenate(row, axis=1) for row in quarters]))


def test_a_fresh_scene_draws_the_same_pixels_in_another_order(scene):
    other = Scene(scene.spec)
    other.render(Box(1000, 900, 1500, 1100))
    box = Box(600, 500, 1100, 800)
    np.testing.assert_array_equal(other.render(box), scene.render(box))


def test_another_seed_gives_another_slide():
    box = Box(300, 300, 500, 500)
    first, second = (Scene(SlideSpec(seed=seed, size_px=(1024, 1024))).render(box) for seed in (1, 2))
    assert (first != second).mean() > 0.5


def test_there_is_tissue_and_empty_glass():
    scene = Scene(SlideSpec(seed=6, size_px=(2048, 2048)))
    image = scene.render(Box(0, 0, 2048, 2048))
    glass = image.min(axis=2) > 225
    assert 0.2 < glass.mean() < 0.8
    assert glass[:40].all()
    assert glass[:, -40:].all()


@pytest.mark.parametrize("mpp", [0.25, 1.0])
def test_resolution_scales_the_same_tissue(mpp):
    """One slide at two resolutions shows the same things at the same places."""
    fine, coarse = (
        Scene(SlideSpec(seed=3, size_px=(round(512 / m), round(512 / m)), mpp=m)) for m in (0.5, mpp)
    )
    assert [g.x for g in fine.glomeruli.every()] == [g.x for g in coarse.glomeruli.every()]
    pooled = [
        scene.render(Box(0, 0, *scene.spec.size_px))
        .reshape(32, scene.spec.size_px[1] // 32, 32, scene.spec.size_px[0] // 32, 3)
        .mean(axis=(1, 3))
        for scene in (fine, coarse)
    ]
    assert np.corrcoef(pooled[0].ravel(), pooled[1].ravel())[0, 1] > 0.97


def nuclei_of(preset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean colours ``(n, 3)``, areas ``(n,)`` in px, and whether each nucleus is a podocyte."""
    scene = Scene(SlideSpec(seed=21, preset=preset, size_px=(6144, 4096)))
    truth = [annotation for annotation in annotations(scene) if annotation.class_name != "glomerulus"]
    colours = []
    for annotation in truth:
        x0, y0, x1, y1 = (int(side) for side in annotation.polygon.bounds)
        box = Box(x0, y0, x1 + 1, y1 + 1)
        mask = ShapePainter([(annotation.polygon, 1)]).paint(box).astype(bool)
        colours.append(scene.render(box)[mask].mean(axis=0))
    areas = np.array([annotation.polygon.area for annotation in truth])
    return np.array(colours), areas, np.array([annotation.class_name == "podocyte" for annotation in truth])


def best_threshold(values: np.ndarray, wanted: np.ndarray) -> float:
    """Highest mean of sensitivity and specificity that any one threshold reaches."""
    order = wanted[np.argsort(values, kind="stable")]
    found = np.cumsum(order) / order.sum()
    wrong = np.cumsum(~order) / (~order).sum()
    return float(0.5 + 0.5 * np.abs(found - wrong).max())


def test_podocytes_cannot_be_told_by_colour_alone():
    colours, areas, podocyte = nuclei_of("standard")
    assert len(podocyte) > 300
    grey = best_threshold(colours.mean(axis=1), podocyte)
    assert 0.55 < grey < 0.85
    assert max(best_threshold(colours[:, channel], podocyte) for channel in range(3)) < 0.88
    # What tells them is size and place, which a network has to see.
    assert best_threshold(areas, podocyte) > 0.95
