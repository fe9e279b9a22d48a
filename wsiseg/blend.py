"""Weights for blending overlapping tiles."""

import numpy as np
from numpy.typing import NDArray

WEIGHT_STEPS = 256
"""Weights are whole multiples of 1 / 256.

So the product of two is a multiple of 2 ** -16, and float32 adds such numbers up without rounding: the
summed weight of a pixel is the same number in whatever order tiles come, and the product of the sums
along x and y.
"""


def ramp(tile: int, overlap: int) -> NDArray[np.float32]:
    """Weights along one side of a tile: 1 in the middle, falling to both ends over ``overlap`` pixels.

    A squared sine, so that the weights of two neighbours add up to 1 (but for the rounding to
    ``WEIGHT_STEPS``), and never 0: every pixel that a tile reads has a say.

    Args:
        tile: Length of the side, in pixels.
        overlap: Pixels shared with the next tile, below ``tile``.

    Returns:
        float32 ``(tile,)`` in (0, 1].
    """
    position = np.arange(tile) + 0.5
    from_end = np.minimum(position, position[::-1])
    share = np.minimum(1.0, from_end / overlap) if overlap else np.ones(tile)
    steps = np.maximum(1, np.round(np.sin(np.pi / 2 * share) ** 2 * WEIGHT_STEPS))
    return (steps / WEIGHT_STEPS).astype(np.float32)


def window(tile: int, overlap: int) -> NDArray[np.float32]:
    """Weights of a square tile: the product of ``ramp`` along both sides, float32 ``(tile, tile)``."""
    side = ramp(tile, overlap)
    return side[:, None] * side


def summed_ramps(length: int, tile: int, overlap: int) -> NDArray[np.float32]:
    """Sum of the ramps of all tiles of an axis at each of its pixels: float32 ``(length,)``, exact.

    Tile i reads from ``i * (tile - overlap)``; see ``wsiseg.geometry.AxisTiling``.
    """
    stride = tile - overlap
    count = max(1, -(-(length - overlap) // stride))
    total = np.zeros(max(length, (count - 1) * stride + tile), dtype=np.float32)
    for index in range(count):
        total[index * stride : index * stride + tile] += ramp(tile, overlap)
    return total[:length]
