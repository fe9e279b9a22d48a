"""Slides whose colours say what is where, and a predictor that reads them: predictions known to the pixel."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from slides import write_slide

from wsiseg.classes import default_schema
from wsiseg.infer.pipeline import ModelCard

COLORS = np.array([(224, 190, 214), (176, 92, 150), (92, 40, 118), (40, 86, 70)], dtype=np.uint8)
"""Of background tissue, glomerulus, podocyte, non_podocyte."""

TILE_PX = 64
SIZE = (500, 371)
"""Of the slide that tests share."""

MODEL = ModelCard(default_schema(), mpp=0.5, tile_px=TILE_PX, fingerprint="0" * 32, name="painted")


def make_label(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Discs of glomeruli with nuclei in them, uint8 ``(height, width)``; one nucleus lies outside."""
    rng = np.random.default_rng(seed)
    label = np.zeros((height, width), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    for left in range(0, width - 110, 120):
        for top in range(0, height - 110, 120):
            cx, cy = left + 60 + rng.integers(-4, 5), top + 60 + rng.integers(-4, 5)
            label[np.hypot(x - cx, (y - cy) * 1.1) < 48 + rng.integers(-5, 5)] = 1
            for turn in range(5):
                nx, ny = cx + 26 * np.cos(1.3 * turn), cy + 26 * np.sin(1.3 * turn)
                label[np.hypot((x - nx) * 1.2, y - ny) < 5.5] = 2 + turn % 2
    label[height - 12 : height - 5, 3:10] = 3
    return label


def paint_slide(path: Path, label: NDArray[np.uint8], *, mpp: float = 0.5) -> Path:
    """A slide at the resolution of ``MODEL`` whose colours are the labels, without loss."""
    return write_slide(path, COLORS[label], mpp=mpp, compression="deflate", levels=1)


def contents(out: Path) -> dict[str, bytes]:
    """The files of a folder, those in folders left out."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()}


def read_colors(images_NTT3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The predictor: 0.75 for the class of the nearest colour; white is background."""
    distance = np.abs(images_NTT3[..., None, :].astype(np.int16) - COLORS.astype(np.int16)).sum(axis=-1)
    label = distance.argmin(axis=-1)
    label[images_NTT3.min(axis=-1) >= 250] = 0
    probabilities = np.full((*label.shape, len(COLORS)), 0.25 / 3, dtype=np.float32)
    np.put_along_axis(probabilities, label[..., None], np.float32(0.75), axis=-1)
    return np.ascontiguousarray(probabilities.transpose(0, 3, 1, 2))
