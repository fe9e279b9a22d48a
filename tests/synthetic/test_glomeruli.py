import numpy as np
import pytest
from shapely import Point, Polygon
from shapely.ops import unary_union

from wsiseg.synthetic import PRESETS, SlideSpec
from wsiseg.synthetic.glomerulus import Glomerulus
from wsiseg.synthetic.render import Scene


@pytest.fixture(scope="module", params=["easy", "standard", "hard"])
def glomeruli(request) -> list[Glomerulus]:
    return list(Scene(SlideSpec(seed=5, preset=request.param, size_px=(8192, 6144))).glomeruli.every())


def polygons(glomerulus, nuclei):
    return [Polygon(nuclei.outline(index)) for index in range(len(nuclei))]


def test_sizes_are_those_of_a_kidney(glomeruli):
    across = [2 * glomerulus.radius for glomerulus in glomeruli if not glomerulus.sclerosed]
    assert min(across) >= 130
    assert max(across) <= 220


def test_outlines_are_valid_and_apart(glomeruli):
    outlines = [Polygon(glomerulus.outline()) for glomerulus in glomeruli]
    assert all(outline.is_valid for outline in outlines)
    assert not any(
        first.intersects(second) for i, first in enumerate(outlines) for second in outlines[i + 1 :]
    )


def test_every_nucleus_lies_inside_the_capsule(glomeruli):
    for glomerulus in glomeruli:
        outline = Polygon(glomerulus.outline())
        for nuclei in (glomerulus.podocytes, glomerulus.others):
            assert all(
                nucleus.is_valid and outline.contains(nucleus) for nucleus in polygons(glomerulus, nuclei)
            )


def tuft_of(glomerulus):
    """The tuft's outline, built anew from its description: round lobes, kept off the capsule."""
    lobes = unary_union([Point(glomerulus.x + x, glomerulus.y + y).buffer(r) for x, y, r in glomerulus.lobes])
    return lobes & Polygon(glomerulus.outline()).buffer(-glomerulus.capsule - glomerulus.space)


def test_podocytes_lie_on_the_outside_of_the_tuft_and_the_others_within(glomeruli):
    inner = []
    for glomerulus in glomeruli:
        tuft = tuft_of(glomerulus)
        for x, y, a in zip(*(vars(glomerulus.podocytes)[key] for key in "xya"), strict=True):
            assert tuft.boundary.distance(Point(x, y)) < 2.0 * a
        inner += [
            tuft.contains(Point(x, y)) for x, y in zip(glomerulus.others.x, glomerulus.others.y, strict=True)
        ]
    # All but the parietal ones.
    assert np.mean(inner) > 0.85


def test_nuclei_do_not_overlap(glomeruli):
    for glomerulus in glomeruli[:8]:
        nuclei = polygons(glomerulus, glomerulus.podocytes) + polygons(glomerulus, glomerulus.others)
        overlap = sum(
            first.intersection(second).area for i, first in enumerate(nuclei) for second in nuclei[i + 1 :]
        )
        assert overlap < 0.01 * sum(nucleus.area for nucleus in nuclei)


def test_nuclei_have_the_sizes_of_their_kind(glomeruli):
    podocytes = np.concatenate([2 * glomerulus.podocytes.a for glomerulus in glomeruli])
    assert podocytes.min() >= 6.8
    assert podocytes.max() <= 10.0
    whole = [glomerulus for glomerulus in glomeruli if not glomerulus.sclerosed]
    assert all(10 <= len(glomerulus.podocytes) <= 30 for glomerulus in whole)
    assert all(25 <= len(glomerulus.others) <= 110 for glomerulus in whole)


def test_there_is_one_for_each_quarter_to_two_fifths_of_a_square_millimetre():
    spec = SlideSpec(seed=2, size_px=(16384, 16384), shape="wedge")
    scene = Scene(spec)
    grid = np.arange(0.0, spec.size_um[0], 16.0)
    tissue_mm2 = float((scene.outline.block(grid, grid) > 0).sum()) * 16.0 * 16.0 / 1e6
    assert 0.18 < tissue_mm2 / sum(1 for _ in scene.glomeruli.every()) < 0.36


def test_scars_are_found_in_hard_slides_only():
    def scars(preset):
        scene = Scene(SlideSpec(seed=1, preset=preset, size_px=(16384, 8192)))
        return sum(glomerulus.sclerosed for glomerulus in scene.glomeruli.every())

    assert scars("standard") == 0
    assert PRESETS["hard"].sclerosed > 0
    assert scars("hard") >= 2
