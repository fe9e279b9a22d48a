"""What the study tests share: one thread, and three slides of discs on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from trainstores import write_tiles


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two slides with labels, ``a`` and ``b``, and ``c`` without."""
    folder = tmp_path / "tiles"
    write_tiles(folder, "a", count=6)
    write_tiles(folder, "b", count=5, seed=1)
    write_tiles(folder, "c", seed=2, labelled=False)
    return folder
