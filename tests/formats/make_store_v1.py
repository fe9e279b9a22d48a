"""Makes ``v1/tiles.zarr``: run once, when format version 1 was settled. What it made is never changed.

A new format version gets a folder of its own; this one must be opened for ever.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tilestores import make_header, make_plan, write_store


def expected() -> tuple[np.ndarray, np.ndarray]:
    """Images ``(5, 32, 32, 3)`` and labels ``(5, 32, 32)``; the second tile is not labelled at all."""
    i, y, x = np.mgrid[:5, :32, :32]
    images = np.stack([8 * x, 8 * y, 50 * i], axis=-1).astype(np.uint8)
    labels = np.where(x < 20, (x + y + i) // 8 % 4, 255).astype(np.uint8)
    labels[1] = 255
    return images, labels


if __name__ == "__main__":
    header = make_header("v1 key", "v1 image key")
    write_store(Path(__file__).parent / "v1/tiles.zarr", make_plan(header, 5), *expected(), unreadable={3})
