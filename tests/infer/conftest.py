"""A painted slide, its prediction, and a place for outlines to wait."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from painted import MODEL, SIZE, make_label, paint_slide, read_colors

from wsiseg.infer.pipeline import predict_slide
from wsiseg.infer.polygonfile import PolygonFile
from wsiseg.infer.request import SlidePrediction
from wsiseg.slide import Slide


@pytest.fixture(scope="session")
def label() -> NDArray[np.uint8]:
    """What the painted slide shows."""
    return make_label(*SIZE)


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory, label: NDArray[np.uint8]) -> Path:
    """The painted slide."""
    return paint_slide(tmp_path_factory.mktemp("slides") / "case 1.tiff", label)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, slide_path: Path) -> tuple[Path, SlidePrediction]:
    """Folder and result of one prediction of it that tests look at, and leave as it is."""
    out = tmp_path_factory.mktemp("predictions")
    with Slide.open(slide_path) as slide:
        return out, predict_slide(slide, read_colors, MODEL, out=out)


@pytest.fixture
def polygon_file(tmp_path: Path) -> Iterator[PolygonFile]:
    """Where outlines wait."""
    file = PolygonFile(tmp_path)
    yield file
    file.close()
