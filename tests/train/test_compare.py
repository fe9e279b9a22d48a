"""The paired comparison: by hand, and what its words promise."""

import numpy as np
import pytest
from lightning_fabric import Fabric
from numpy.typing import NDArray
from trainstores import SCHEMA, make_config

from wsiseg.metrics import Scores
from wsiseg.train.compare import Comparison, compare, count_tiles
from wsiseg.train.data import Pools
from wsiseg.train.gauges import look
from wsiseg.train.networks import build_networks


def tile(missed: int, *, invented: int = 0) -> NDArray[np.int64]:
    """100 pixels of background, 100 of disc."""
    return np.array([[100 - invented, invented], [missed, 100 - missed]])


def tiles(*missed: int) -> NDArray[np.int64]:
    return np.stack([tile(count) for count in missed])


def test_the_difference_by_hand() -> None:
    """Discs: 180 of 200 against 140; background: 200 of 220 against 200 of 260."""
    found = compare(tiles(10, 10), tiles(30, 30), np.array([0, 1]), SCHEMA)
    assert found.classes["disc"] == pytest.approx((0.9, 0.7))
    assert found.classes["background"] == pytest.approx((200 / 220, 200 / 260))
    assert found.iou == pytest.approx(((0.9 + 200 / 220) / 2, (0.7 + 200 / 260) / 2))
    # All tiles are alike, so no drawing changes anything.
    assert found.interval == pytest.approx((found.difference, found.difference))
    assert (found.tiles, found.slides) == (2, 2)


def test_it_agrees_with_the_scores_of_the_run() -> None:
    matrices = tiles(10, 30, 50)
    found = compare(matrices, matrices, np.zeros(3, dtype=np.int64), SCHEMA)
    expected = Scores.from_confusion(matrices.sum(axis=0), SCHEMA.names).mean["iou"]
    assert found.iou[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("run", "twin", "slides", "words"),
    [
        ((5, 6, 7, 8), (25, 26, 27, 28), (0, 0, 1, 1), "yes, on these slides: mean IoU 0.937 with them"),
        ((25, 26, 27, 28), (5, 6, 7, 8), (0, 0, 1, 1), "no, they did harm, on these slides: mean IoU"),
        ((5, 40, 5, 40), (40, 5, 40, 5), (0, 1, 2, 3), "no measurable gain: mean IoU"),
        ((5, 6, 7, 8), (25, 26, 27, 28), (3, 3, 3, 3), "1 validation slide only: nothing is known of other"),
        ((5, 6, 7, 8), (25, 26, 27, 28), (3, 3, 3, 3), "yes, on this slide: mean IoU"),
    ],
)
def test_the_answer_in_words(
    run: tuple[int, ...], twin: tuple[int, ...], slides: tuple[int, ...], words: str
) -> None:
    found = compare(tiles(*run), tiles(*twin), np.array(slides), SCHEMA)
    assert words in found.in_words()
    low, high = found.interval
    assert low <= found.difference <= high


def test_what_rounds_to_nothing_is_no_gain() -> None:
    found = Comparison((0.6001, 0.6), {}, (0.0001, 0.0004), tiles=9, slides=2)
    assert found.in_words().startswith("no measurable gain: mean IoU 0.600 with them, 0.600 without (+0.000")


def test_slides_that_differ_widen_the_interval() -> None:
    """A gain on one slide of two is less sure than the same gain spread over both."""
    slides, twin = np.repeat([0, 1], 20), tiles(*[30] * 40)
    one_slide = compare(tiles(*[0] * 20, *[30] * 20), twin, slides, SCHEMA).interval
    both = compare(tiles(*[0, 30] * 20), twin, slides, SCHEMA).interval
    assert one_slide[1] - one_slide[0] > both[1] - both[0]


def test_a_class_that_no_truth_shows_does_not_count() -> None:
    blank = np.array([[[150, 50], [0, 0]]])
    found = compare(blank, blank, np.zeros(1, dtype=np.int64), SCHEMA)
    assert set(found.classes) == {"background"}
    assert found.iou[0] == pytest.approx(0.75)
    assert found.in_words().startswith("no measurable gain")


def test_a_class_on_one_slide_of_several_tells_nothing() -> None:
    blank = np.array([[200, 0], [0, 0]])
    run, twin = np.stack([tile(5), blank, blank]), np.stack([tile(25), blank, blank])
    found = compare(run, twin, np.arange(3), SCHEMA)
    assert found.in_words().startswith("cannot be told: mean IoU 0.970 with them")
    assert found.in_words().endswith("only one of 3 validation slides shows disc")
    assert found.to_json()["mean_iou"]["interval_95"] == [None, None]


@pytest.mark.parametrize("showing", [2, 5])
def test_equal_segmentors_are_told_apart_no_more_often_than_the_interval_says(showing: int) -> None:
    """Discs on some of five slides, each segmentor better on other slides."""
    rng = np.random.default_rng(showing)
    slides, blank, told = np.arange(5), np.array([[200, 0], [0, 0]]), 0
    for _ in range(200):
        run, twin = (
            np.stack([tile(count) for count in 20 + rng.integers(0, 21, showing)] + [blank] * (5 - showing))
            for _ in range(2)
        )
        told += not compare(run, twin, slides, SCHEMA).in_words().startswith("no measurable")
    assert told / 200 < 0.1


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(0)
    run, twin = (tiles(*rng.integers(0, 60, 30)) for _ in range(2))
    slides = rng.integers(0, 5, 30)
    one, again, other = (compare(run, twin, slides, SCHEMA, seed=seed).interval for seed in (0, 0, 1))
    assert one == again != other


def test_counted_tiles_add_up_to_a_look(pools: Pools) -> None:
    config = make_config(discriminator={"kind": "none"}, phases=[{"name": "one", "share": 1.0}])
    fabric = Fabric(accelerator="cpu", devices=1)
    networks = build_networks(fabric, config)
    counted = count_tiles(networks.ema.teacher, pools.validation, SCHEMA, config.train, fabric)
    assert counted.shape == (4, 2, 2)
    assert counted.sum(axis=(1, 2)).tolist() == [32 * 32] * 4
    seen = look(networks, pools.validation, SCHEMA, config.train)
    assert np.array_equal(counted.sum(axis=0), seen.scores.matrix)
