"""From the bytes of a tile to what a network sees."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_unit(images_NHWC: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Tiles ``uint8 (N, H, W, 3)`` as floats in 0-1, ``(N, 3, H, W)`` in channels_last memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(images_NHWC)).to(device, non_blocking=True)
    # An NHWC array seen as NCHW *is* channels_last: nothing is copied but the conversion to float.
    return tensor.permute(0, 3, 1, 2).float().div_(255.0)


def standardise(unit_NCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(x - mean) / std`` for each channel, of floats in 0-1."""
    shape = (1, 3, 1, 1)
    centre = torch.tensor(mean, dtype=unit_NCHW.dtype, device=unit_NCHW.device).view(shape)
    spread = torch.tensor(std, dtype=unit_NCHW.dtype, device=unit_NCHW.device).view(shape)
    return (unit_NCHW - centre).div_(spread)
