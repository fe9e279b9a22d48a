"""Random changes of training tiles, on whole batches, on whatever device they lie.

Image and label move together in one resampling (flips, quarter turns, zoom, shift); colour changes that
are linear are folded into one matrix a tile. What happens to a tile is a pure function of the generator
that comes with it, so it depends neither on the batch around it nor on the device count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsiseg.config.training import AugmentConfig

STAINS: dict[str, NDArray[np.float64]] = {
    # Rows: optical density of each stain in red, green, blue. H&E with DAB as the third:
    # Ruifrok and Johnston (2001). PAS: haematoxylin of the same source, periodic acid-Schiff magenta as
    # published with the colour deconvolution plugin of ImageJ, and their residual.
    "he": np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]]),
    "pas": np.array([[0.644, 0.717, 0.267], [0.175, 0.972, 0.155], [0.590, 0.330, 0.735]]),
}

_LUMA = np.array([0.299, 0.587, 0.114])

AffineChange = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A matrix (3, 3) and a shift (3,) for the three channels of a tile."""


@dataclass(frozen=True)
class Views:
    """A batch after augmentation, in 0-1.

    Attributes:
        strong_NCHW: Geometry and colour changed; what a network learns from.
        weak_NCHW: Only geometry changed; what a teacher looks at.
        label_NHW: uint8, moved with the image; None for unlabelled tiles.
    """

    strong_NCHW: Tensor
    weak_NCHW: Tensor
    label_NHW: Tensor | None


def augment(
    unit_NCHW: Tensor,
    label_NHW: Tensor | None,
    config: AugmentConfig,
    generators: Sequence[np.random.Generator],
) -> Views:
    """Change a batch at random, each tile by its own generator.

    Args:
        unit_NCHW: Images as floats in 0-1.
        label_NHW: Label maps, uint8.
        config: How much of what.
        generators: One a tile.
    """
    weak_NCHW, moved_NHW = move(unit_NCHW, label_NHW, config, generators)
    strong_NCHW = recolour(weak_NCHW, config, generators)
    strong_NCHW = _blur_some(strong_NCHW, config, generators)
    strong_NCHW = _add_noise(strong_NCHW, config, generators)
    return Views(strong_NCHW.clamp_(0, 1), weak_NCHW, moved_NHW)


def move(
    unit_NCHW: Tensor,
    label_NHW: Tensor | None,
    config: AugmentConfig,
    generators: Sequence[np.random.Generator],
) -> tuple[Tensor, Tensor | None]:
    """Flip, turn, zoom and shift; images bilinear, labels by the nearest pixel, borders reflected."""
    theta_N23 = torch.tensor(
        np.stack([_affine(config, rng) for rng in generators]), dtype=torch.float32, device=unit_NCHW.device
    )
    size = (unit_NCHW.shape[0], 1, *unit_NCHW.shape[-2:])
    grid = functional.affine_grid(theta_N23, list(size), align_corners=False)
    moved_NCHW = functional.grid_sample(unit_NCHW, grid, "bilinear", "reflection", align_corners=False)
    moved_NCHW = moved_NCHW.contiguous(memory_format=torch.channels_last)
    if label_NHW is None:
        return moved_NCHW, None
    planes = functional.grid_sample(
        label_NHW.unsqueeze(1).float(), grid, "nearest", "reflection", align_corners=False
    )
    return moved_NCHW, planes.squeeze(1).to(torch.uint8)


def recolour(unit_NCHW: Tensor, config: AugmentConfig, generators: Sequence[np.random.Generator]) -> Tensor:
    """Jitter the stains in optical density, then hue, saturation, contrast and brightness."""
    density_matrix, density_shift = _stack([_stain_change(config, rng) for rng in generators], unit_NCHW)
    color_matrix, color_shift = _stack([_color_change(config, rng) for rng in generators], unit_NCHW)
    density_NCHW = -torch.log(unit_NCHW.clamp_min(1 / 255))
    changed_NCHW = torch.exp(-_mix(density_NCHW, density_matrix, density_shift))
    return _mix(changed_NCHW, color_matrix, color_shift)


def stain_matrix(config: AugmentConfig) -> NDArray[np.float64]:
    """The configured stains, one unit vector a row."""
    rows = STAINS[config.stain] if isinstance(config.stain, str) else np.array(config.stain, dtype=float)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _affine(config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Output to input coordinates in ``affine_grid``'s units, where the tile spans -1 to 1."""
    quarter, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    log_scale, *shift = rng.uniform(-1, 1, size=3)
    linear = np.eye(2)
    if config.dihedral:
        cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
        linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1 if mirrored else 1, 1])
    zoom = math.exp(log_scale * math.log1p(config.scale))
    room = max(0.0, 1 - 1 / zoom)
    return np.column_stack([linear / zoom, np.multiply(shift, room)])


def _stain_change(config: AugmentConfig, rng: np.random.Generator) -> AffineChange:
    """Amounts scaled by 1 +- hed and shifted by up to hed / 5: one affine map of optical densities."""
    stains = stain_matrix(config)
    scale = 1 + rng.uniform(-config.hed, config.hed, size=3)
    shift = rng.uniform(-config.hed, config.hed, size=3) / 5
    # Densities are row vectors d = amounts @ stains; transposed here to act on column vectors.
    return (np.linalg.inv(stains) @ np.diag(scale) @ stains).T, shift @ stains


def _color_change(config: AugmentConfig, rng: np.random.Generator) -> AffineChange:
    """Hue, saturation, contrast around mid grey, brightness: one affine map of RGB."""
    turn, saturation, contrast, brightness = rng.uniform(-1, 1, size=4)
    angle = math.radians(turn * config.hue_degrees)
    grey = np.tile(_LUMA, (3, 1))
    saturate = grey + (1 + saturation * config.saturation) * (np.eye(3) - grey)
    factor = 1 + contrast * config.contrast
    matrix = factor * saturate @ _turn_about_grey(angle)
    return matrix, np.full(3, 0.5 * (1 - factor) + brightness * config.brightness)


def _turn_about_grey(angle: float) -> NDArray[np.float64]:
    """Rotation about (1, 1, 1), by Rodrigues' formula: turns the hue and leaves grey grey."""
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


def _stack(changes: Sequence[AffineChange], like: Tensor) -> tuple[Tensor, Tensor]:
    matrices = torch.from_numpy(np.stack([matrix for matrix, _ in changes]))
    shifts = torch.from_numpy(np.stack([shift for _, shift in changes]))
    return matrices.to(like), shifts.to(like)


def _mix(x_NCHW: Tensor, matrix_NCC: Tensor, shift_NC: Tensor) -> Tensor:
    """``y = matrix @ x + shift`` for every pixel, a matrix a tile."""
    x_NPC = x_NCHW.permute(0, 2, 3, 1).flatten(1, 2)
    y_NPC = torch.baddbmm(shift_NC.unsqueeze(1), x_NPC, matrix_NCC.transpose(1, 2))
    n, _, height, width = x_NCHW.shape
    return y_NPC.view(n, height, width, 3).permute(0, 3, 1, 2)


def _blur_some(unit_NCHW: Tensor, config: AugmentConfig, generators: Sequence[np.random.Generator]) -> Tensor:
    for n, rng in enumerate(generators):
        chance, size = rng.uniform(size=2)
        if chance < config.blur_share and config.blur_px > 0:
            unit_NCHW[n] = _blur(unit_NCHW[n], 0.3 + size * max(0.0, config.blur_px - 0.3))
    return unit_NCHW


def _blur(image_CHW: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=image_CHW.dtype, device=image_CHW.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(image_CHW.unsqueeze(1), (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1)).squeeze(1)


def _add_noise(unit_NCHW: Tensor, config: AugmentConfig, generators: Sequence[np.random.Generator]) -> Tensor:
    for n, rng in enumerate(generators):
        sigma, seed = rng.uniform(0, config.noise), int(rng.integers(2**62))
        if sigma > 0:
            source = torch.Generator(device=unit_NCHW.device).manual_seed(seed)
            noise = torch.randn(unit_NCHW.shape[1:], generator=source, device=unit_NCHW.device)
            unit_NCHW[n].add_(noise, alpha=sigma)
    return unit_NCHW
