"""Augmentation: image and label move together, nothing moves when nothing is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from wsiseg.classes import IGNORE_INDEX
from wsiseg.config.training import AugmentConfig
from wsiseg.train.augment import augment, move, recolour, stain_matrix

STILL = AugmentConfig(
    dihedral=False, scale=0, hed=0, brightness=0, contrast=0, saturation=0, hue_degrees=0, blur_px=0, noise=0
)
ONLY_GEOMETRY = STILL.model_copy(update={"dihedral": True, "scale": 0.3})


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, n]) for n in range(count)]


def coded(side: int = 32, tiles: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Label maps of large blocks, and images that show the label as a grey value."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 4, size=(tiles, side // 8, side // 8)).astype(np.uint8)
    label = torch.from_numpy(blocks.repeat(8, axis=1).repeat(8, axis=2))
    return (label.float() / 4 + 0.1).unsqueeze(1).repeat(1, 3, 1, 1), label


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_image_and_label_move_together(seed: int) -> None:
    image, label = coded()
    moved_image, moved_label = move(image, label, ONLY_GEOMETRY, generators(3, seed))
    assert moved_label is not None
    from_image = ((moved_image[:, 0] - 0.1) * 4).round().to(torch.uint8)
    # Bilinear and nearest differ only along the borders of the blocks.
    disagree = from_image != moved_label
    padded = torch.nn.functional.pad(moved_label.float().unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    high = torch.nn.functional.max_pool2d(padded, 3, 1).squeeze(1)
    low = -torch.nn.functional.max_pool2d(-padded, 3, 1).squeeze(1)
    assert not (disagree & (high == low)).any()


def test_without_zoom_only_the_eight_symmetries_occur_exactly() -> None:
    image, label = coded(tiles=1)
    config = STILL.model_copy(update={"dihedral": True})
    symmetries = {
        np.rot90(np.fliplr(label[0]) if mirrored else label[0], quarter).tobytes()
        for quarter in range(4)
        for mirrored in (False, True)
    }
    found = set()
    for seed in range(60):
        moved_image, moved = move(image, label, config, generators(1, seed))
        assert moved is not None
        found.add(moved[0].numpy().tobytes())
        torch.testing.assert_close(moved_image[0, 0], moved[0].float() / 4 + 0.1, atol=1e-4, rtol=0)
    assert found == symmetries


def test_unknown_pixels_stay_unknown_and_nothing_is_invented() -> None:
    image, label = coded()
    label[:, :8] = IGNORE_INDEX
    _, moved = move(image, label, ONLY_GEOMETRY, generators(3))
    assert moved is not None
    assert set(moved.unique().tolist()) <= set(label.unique().tolist())


def test_nothing_asked_nothing_changed() -> None:
    image, label = coded()
    views = augment(image, label, STILL, generators(3))
    torch.testing.assert_close(views.strong_NCHW, image, atol=1e-4, rtol=0)
    assert views.label_NHW is not None
    assert torch.equal(views.label_NHW, label)


def test_a_tile_changes_the_same_whatever_is_beside_it() -> None:
    image, label = coded()
    config = AugmentConfig(blur_share=1)
    together = augment(image.clone(), label, config, generators(3))
    alone = augment(image[1:2].clone(), label[1:2], config, generators(3)[1:2])
    torch.testing.assert_close(together.strong_NCHW[1:2], alone.strong_NCHW, atol=1e-5, rtol=0)
    assert together.label_NHW is not None
    assert alone.label_NHW is not None
    assert torch.equal(together.label_NHW[1:2], alone.label_NHW)


def test_the_teacher_sees_no_change_of_colour() -> None:
    image, _ = coded()
    views = augment(image, None, AugmentConfig(), generators(3))
    still = augment(
        image,
        None,
        STILL.model_copy(update={"dihedral": True, "scale": AugmentConfig().scale}),
        generators(3),
    )
    torch.testing.assert_close(views.weak_NCHW, still.weak_NCHW)
    assert not torch.allclose(views.strong_NCHW, views.weak_NCHW, atol=1e-3)


@pytest.mark.parametrize("stains", ["pas", "he", ((2.0, 2.0, 0.0), (0.0, 3.0, 3.0), (1.0, 0.0, 1.0))])
def test_stain_jitter_scales_each_stain_alone(stains: object) -> None:
    """A pixel of the first stain alone stays on its axis up to the additive shift."""
    config = STILL.model_copy(update={"hed": 0.2, "stain": stains})
    stain = stain_matrix(config)[0]
    tile = torch.tensor(np.exp(-0.8 * stain), dtype=torch.float32).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    out = recolour(tile, config, [np.random.default_rng(3)])
    density = -torch.log(out[0, :, 0, 0]).double().numpy()
    amounts = density @ np.linalg.inv(stain_matrix(config))
    assert abs(amounts[0] - 0.8) <= 0.8 * 0.2 + 0.2 / 5 + 1e-5
    assert np.abs(amounts[1:]).max() <= 0.2 / 5 + 1e-5


def test_stains_of_ones_own() -> None:
    """Three rows of optical densities, of any length."""
    own = ((2.0, 2.0, 0.0), (0.0, 3.0, 3.0), (1.0, 0.0, 1.0))
    config = STILL.model_copy(update={"hed": 0.2, "stain": own})
    np.testing.assert_allclose(stain_matrix(config)[0], [0.5**0.5, 0.5**0.5, 0])
    with pytest.raises(ValidationError, match="three rows of three numbers"):
        AugmentConfig(stain=own[:2])


def test_grey_keeps_no_hue_under_colour_jitter() -> None:
    config = STILL.model_copy(update={"hue_degrees": 90, "saturation": 0.5})
    out = recolour(torch.full((1, 3, 2, 2), 0.5), config, [np.random.default_rng(1)])
    torch.testing.assert_close(out, torch.full((1, 3, 2, 2), 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stain", ["he", "pas"])
def test_stains_can_be_told_apart(stain: str) -> None:
    matrix = stain_matrix(AugmentConfig(stain=stain))
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1)
    assert np.linalg.cond(matrix) < 20


def test_augmented_tiles_stay_in_range() -> None:
    image = torch.rand(4, 3, 32, 32)
    views = augment(image, None, AugmentConfig(noise=0.3, brightness=0.5), generators(4))
    assert views.strong_NCHW.min() >= 0
    assert views.strong_NCHW.max() <= 1


@pytest.mark.parametrize("rows", [[[1, 0, 0], [0, 1, 0], [1, 1, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]]])
def test_stains_that_cannot_be_told_apart_are_refused(rows: object) -> None:
    with pytest.raises(ValidationError, match="three rows of which none is made of the others"):
        AugmentConfig.model_validate({"stain": rows})
