"""A small store to write and read."""

from pathlib import Path

import numpy as np
import pytest
from tilestores import make_header, make_plan, write_store


@pytest.fixture
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """150 tiles of 32 px with labels; the first three have none."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 40, (150, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 4, (150, 32, 32), dtype=np.uint8)
    labels[:3] = 255
    labels[7, :, 5:] = 255
    return images, labels


@pytest.fixture
def store_path(tmp_path: Path, pixels: tuple[np.ndarray, np.ndarray]) -> Path:
    """A finished store of these tiles; tile 10 of the plan was unreadable."""
    return write_store(tmp_path / "slide.zarr", make_plan(make_header(), 150), *pixels, unreadable={10})
