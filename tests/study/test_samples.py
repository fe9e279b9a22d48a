"""Which tiles are shown as the best and the worst, and how."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from studymodels import model_of_discs
from trainstores import make_config, write_tiles

from wsiseg.config.training import DiscriminatorConfig
from wsiseg.model.discriminator import build_discriminator
from wsiseg.study.samples import Samples, tile_score
from wsiseg.tilestore import TileStore


def matrix(background: int, missed: int, found: int) -> NDArray[np.int64]:
    return np.array([[background, 0], [missed, found]], dtype=np.int64)


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    return TileStore.open(write_tiles(tmp_path, "a", count=5))


def test_the_score_of_a_tile_leaves_out_absent_classes() -> None:
    three = np.array([[50, 0, 0], [10, 40, 0], [0, 0, 0]])
    assert tile_score(three) == pytest.approx((50 / 60 + 40 / 50) / 2)


def test_extremes_are_found_over_several_batches_and_empty_tiles_do_not_count(store: TileStore) -> None:
    samples = Samples()
    samples.see(store, np.array([0, 1]), np.stack([matrix(500, 250, 250), matrix(1000, 0, 0)]))
    samples.see(store, np.array([2, 3]), np.stack([matrix(500, 450, 50), matrix(500, 5, 495)]))
    assert samples.best is not None
    assert samples.worst is not None
    assert (samples.best.tile, samples.worst.tile) == (3, 2)


@pytest.mark.parametrize("judge", [False, True])
def test_two_rows_are_drawn_the_same_each_time(store: TileStore, tmp_path: Path, *, judge: bool) -> None:
    samples = Samples()
    samples.see(store, np.array([0, 1]), np.stack([matrix(500, 250, 250), matrix(500, 450, 50)]))
    pictures = [tmp_path / "samples" / name for name in ("one.png", "two.png")]
    discriminator = build_discriminator(DiscriminatorConfig(width=4), classes=2) if judge else None
    for picture in pictures:
        samples.draw(model_of_discs(make_config(), discriminator), picture)
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    with Image.open(pictures[0]) as picture:
        width, height = picture.size
    assert width / height == pytest.approx((4 if judge else 3) / 2, rel=0.12)


def test_nothing_is_drawn_where_no_tile_shows_anything(store: TileStore, tmp_path: Path) -> None:
    samples = Samples()
    samples.see(store, np.array([0]), matrix(1000, 0, 0)[None])
    samples.draw(model_of_discs(make_config()), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
