"""One small slide, and a way to write annotations beside it."""

from pathlib import Path

import pytest
from judging import SIZE, Objects, Write, write_objects
from slides import texture_image, write_slide


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "a.tiff", texture_image(*SIZE), compression="deflate")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_beside(objects: Objects, name: str = "truth.geojson") -> Path:
        return write_objects(tmp_path / name, objects)

    return write_beside
