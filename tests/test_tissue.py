"""The tissue detector on pictures whose tissue is known: every stain, and everything that is not tissue."""

import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from wsiseg import tissue
from wsiseg.slide import Slide
from wsiseg.tissue import find_tissue

MPP = 8.0
SHAPE = (400, 600)
WHITE = (243, 243, 244)

# Densities of (red, green, blue) light at full stain: Ruifrok and Johnston's vectors, and some by eye.
STAINS = {
    "H&E": ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)),
    "PAS": ((0.65, 0.70, 0.29), (0.18, 0.95, 0.35)),
    "silver": ((0.9, 0.95, 0.9), (0.25, 0.5, 0.45)),
    "IHC": ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78)),
    "trichrome": ((0.85, 0.45, 0.15), (0.1, 0.75, 0.5)),
}


def smooth(rng, shape, sigma):
    """Smooth noise of deviation 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return (noise - noise.mean()) / noise.std()


@cache
def tissue_shape(seed=0, shape=SHAPE):
    """Some irregular pieces, away from the border."""
    rng = np.random.default_rng(seed)
    height, width = shape
    y, x = np.mgrid[:height, :width]
    mask = np.zeros(shape, dtype=bool)
    for centre_y, centre_x, radius in [(0.35, 0.3, 0.22), (0.6, 0.72, 0.25)]:
        distance = np.hypot(y - centre_y * height, x - centre_x * width)
        mask |= distance + 14 * smooth(rng, shape, 14) < radius * height
    labels, _ = ndimage.label(ndimage.binary_fill_holes(mask))
    return np.bincount(labels.ravel())[labels] * (labels > 0) > 2000


@cache
def cells(shape, seed):
    """How much of each of two dyes there is: a texture of cells and of larger structures."""
    rng = np.random.default_rng(seed + 1)
    return [
        np.clip(0.45 + 0.2 * smooth(rng, shape, 1.0) + 0.1 * smooth(rng, shape, 6), 0.12, 2) * share
        for share in (0.5, 0.8)
    ]


def stained(mask, stain="H&E", *, strength=1.0, glass=WHITE, seed=0):
    """A picture of tissue in a stain: two dyes in a texture of cells, on glass with a scanner's noise."""
    rng = np.random.default_rng(seed + 2)
    density = np.zeros((*mask.shape, 3))
    for amount, dye in zip(cells(mask.shape, seed), STAINS[stain], strict=True):
        density += (amount * mask * strength)[..., None] * np.array(dye)
    image = np.array(glass) * np.exp(-ndimage.gaussian_filter(density, (0.7, 0.7, 0)))
    return np.clip(image + rng.normal(0, 1.2, image.shape), 0, 255).astype(np.uint8)


def iou(found, truth):
    return (found & truth).sum() / max(1, (found | truth).sum())


@pytest.mark.parametrize("stain", STAINS)
@pytest.mark.parametrize("glass", [WHITE, (255, 255, 255), (205, 207, 205), (178, 178, 180), (240, 236, 228)])
def test_every_stain_on_every_glass(stain, glass):
    truth = tissue_shape()
    assert iou(find_tissue(stained(truth, stain, glass=glass), (MPP, MPP)), truth) > 0.93


@pytest.mark.parametrize("stain", STAINS)
@pytest.mark.parametrize("strength", [0.25, 0.15])
def test_pale_and_faded_stains(stain, strength):
    truth = tissue_shape(1)
    assert iou(find_tissue(stained(truth, stain, strength=strength), (MPP, MPP)), truth) > 0.88


@pytest.mark.parametrize("colour", [(0, 0, 1.0), (0.1, 1.0, 0.2), (1.0, 0.3, 0.3), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("light", [40, 150])
def test_fluorescence_on_black(colour, light):
    rng = np.random.default_rng(3)
    truth = tissue_shape(2)
    cells = np.clip(0.35 + 0.5 * smooth(rng, SHAPE, 1.2), 0.03, 1)
    picture = (truth * cells * light)[..., None] * np.array(colour) + np.abs(rng.normal(3, 1.0, (*SHAPE, 3)))
    assert iou(find_tissue(np.clip(picture, 0, 255).astype(np.uint8), (MPP, MPP)), truth) > 0.88


@pytest.mark.parametrize("glass", [WHITE, (255, 255, 255), (180, 180, 182), (240, 236, 228)])
def test_an_empty_slide_has_no_tissue(glass):
    empty = np.zeros(SHAPE, dtype=bool)
    assert not find_tissue(stained(empty, glass=glass), (MPP, MPP)).any()


def test_an_evenly_white_or_black_picture_has_no_tissue():
    for value in (0, 3, 180, 255):
        assert not find_tissue(np.full((*SHAPE, 3), value, dtype=np.uint8), (MPP, MPP)).any()


@pytest.mark.parametrize("stain", STAINS)
@pytest.mark.parametrize("strength", [1.0, 0.35])
def test_a_slide_covered_with_tissue_is_all_tissue(stain, strength):
    everywhere = np.ones(SHAPE, dtype=bool)
    assert find_tissue(stained(everywhere, stain, strength=strength), (MPP, MPP)).mean() > 0.97


def test_uneven_light_is_not_tissue():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    fall = 1 - 0.16 * (np.hypot(y - 200, x - 300) / 360) ** 2
    truth = tissue_shape(4)
    picture = (stained(truth, strength=0.6) * fall[..., None]).astype(np.uint8)
    assert iou(find_tissue(picture, (MPP, MPP)), truth) > 0.9
    empty = (stained(np.zeros(SHAPE, dtype=bool)) * fall[..., None]).astype(np.uint8)
    assert find_tissue(empty, (MPP, MPP)).mean() < 0.002


def stroke(seed, width_px=9):
    """A hand-drawn line across the picture."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(np.cumsum(rng.normal(0, 0.05, SHAPE[1])))
    line = np.zeros(SHAPE, dtype=bool)
    rows = np.clip(45 + 12 * np.sin(np.arange(SHAPE[1]) / 60) + steps * 0.01, 12, 80).astype(int)
    line[rows, np.arange(SHAPE[1])] = True
    return ndimage.binary_dilation(line, iterations=width_px)


INKS = {"blue": (25, 55, 150), "green": (20, 120, 70), "red": (190, 25, 45), "black": (25, 25, 28)}


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("stain", ["H&E", "PAS", "silver", "IHC"])
def test_pen_marks_are_not_tissue(ink, stain):
    truth = np.roll(tissue_shape(5), 40, axis=0)
    marked = stroke(6) & ~ndimage.binary_dilation(truth, iterations=8)
    rng = np.random.default_rng(8)
    picture = stained(truth, stain).astype(float)
    soft = ndimage.gaussian_filter(marked.astype(float), 0.8)[..., None]
    colour = np.array(INKS[ink]) + 4 * smooth(rng, SHAPE, 3)[..., None]
    picture = np.clip(picture * (1 - soft) + colour * soft, 0, 255).astype(np.uint8)
    found = find_tissue(picture, (MPP, MPP))
    assert iou(found, truth) > 0.9
    assert found[marked].mean() < 0.05


def test_dust_and_coverslip_edges_are_not_tissue():
    truth = tissue_shape(9)
    picture = stained(truth, "PAS").astype(float)
    rng = np.random.default_rng(10)
    dust = np.zeros(SHAPE, dtype=bool)
    dust[rng.integers(5, SHAPE[0] - 5, 80), rng.integers(5, SHAPE[1] - 5, 80)] = True
    dust = ndimage.binary_dilation(dust, iterations=2) & ~truth
    edges = np.zeros(SHAPE, dtype=bool)
    edges[10:16, 10:-10] = edges[10:-10, 580:585] = True
    picture[dust] = (70, 70, 68)
    picture[edges] = (165, 166, 168)
    found = find_tissue(picture.astype(np.uint8), (MPP, MPP))
    assert iou(found, truth) > 0.92
    assert found[edges].mean() < 0.02
    assert found[dust].mean() < 0.1


def test_unscanned_white_beside_greyish_glass():
    truth = tissue_shape(11)
    picture = stained(truth, "H&E", glass=(233, 232, 235))
    picture[:, 430:] = np.where(truth[:, 430:, None], picture[:, 430:], 255)
    picture[290:, :200] = 255
    truth = truth.copy()
    truth[290:, :200] = False
    assert iou(find_tissue(picture, (MPP, MPP)), truth) > 0.93


def test_limits_are_in_square_micrometres():
    piece = np.zeros((300, 400), dtype=bool)
    piece[100:110, 100:110] = True
    piece[150:250, 200:320] = True
    piece[190:200, 230:240] = False
    picture = stained(piece)
    area = (10 * MPP) ** 2
    found = find_tissue(picture, (MPP, MPP), min_area_um2=2 * area, max_hole_um2=2 * area)
    assert not found[100:110, 100:110].any()
    assert found[195, 235]
    found = find_tissue(picture, (MPP, MPP), min_area_um2=area / 3, max_hole_um2=100)
    assert found[100:110, 100:110].mean() > 0.6
    assert not found[195, 235]


def test_unequal_pixels():
    truth = tissue_shape(12)
    squeezed = np.ascontiguousarray(stained(truth)[:, ::2])
    assert iou(find_tissue(squeezed, (2 * MPP, MPP)), truth[:, ::2]) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (16, 16)])
def test_tiny_pictures_do_no_harm(shape):
    for mpp in (0.25, 30.0):
        found = find_tissue(np.full((*shape, 3), 240, dtype=np.uint8), (mpp, mpp))
        assert found.shape == shape
        assert not found.any()


def test_it_takes_less_than_a_second():
    rng = np.random.default_rng(0)
    truth = tissue_shape().repeat(3, axis=0).repeat(2, axis=1)
    picture = stained(tissue_shape()).repeat(3, axis=0).repeat(2, axis=1)
    picture = picture + rng.integers(0, 3, picture.shape, dtype=np.uint8)
    times = []
    for _ in range(3):
        begun = time.process_time()
        found = find_tissue(picture, (4.0, 8 / 3))
        times.append(time.process_time() - begun)
    assert min(times) < 1.0
    assert iou(found, truth) > 0.9


REAL = {
    "kidney-pas/aidpath-a.svs": (0.42, 0.55),
    "kidney-pas/aidpath-d.svs": (0.30, 0.45),
    "kidney-pas/aidpath-e.tiff": (0.70, 0.86),
    "kidney-pas/aidpath-g.tiff": (0.38, 0.55),
    "slides/CMU-1-Small-Region.svs": (0.36, 0.52),
    "slides/histolab_tcga-cr-7395-01a-01-ts1.svs": (0.62, 0.78),
    "slides/slideio_test3-DAPI-2-(387).ndpi": (0.55, 0.85),
}
"""Share of tissue, judged by eye on outlines."""


@pytest.mark.parametrize("name", REAL)
def test_real_slides(shared_data: Path, name):
    with Slide.open(shared_data / name, mpp=0.25 if "histolab" in name else None) as slide:
        thumbnail, (x, y) = slide.thumbnail()
        mpp = (slide.resolution.mpp_x * x, slide.resolution.mpp_y * y)
    low, high = REAL[name]
    assert low < find_tissue(thumbnail, mpp).mean() < high


def test_real_fields_are_all_tissue(shared_data: Path):
    for path in sorted((shared_data / "nuclei-he").rglob("*.tiff")):
        with Slide.open(path) as slide:
            thumbnail, _ = slide.thumbnail()
        assert find_tissue(thumbnail, (0.25, 0.25)).mean() > 0.97, path.name


def test_pieces_much_longer_than_wide_and_grey_are_lines():
    mask = np.zeros((120, 160), dtype=bool)
    mask[10:13, 5:150] = True
    mask[40:80, 40:90] = True
    mask[100:103, 5:150] = True
    colour = np.zeros((120, 160), dtype=np.float32)
    colour[95:] = 0.2
    kept = tissue._drop_lines(mask, colour, tissue._Scale(8.0, 8.0))
    assert not kept[10:13].any(), "a grey line"
    assert kept[40:80, 40:90].all(), "a grey square"
    assert kept[100:103, 5:150].all(), "a line of colour"
