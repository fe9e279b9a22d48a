"""What the study tests share: one thread, and three slides of discs on disk."""

from pathlib import Path

import pytest
from trainstores import write_tiles


@pytest.fixture(scope="module", autouse=True)
def _calm(one_thread: None) -> None:
    """Every test here runs on one thread."""


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two slides with labels, ``a`` and ``b``, and ``c`` without."""
    folder = tmp_path / "tiles"
    write_tiles(folder, "a", count=6)
    write_tiles(folder, "b", count=5, seed=1)
    write_tiles(folder, "c", seed=2, labelled=False)
    return folder
