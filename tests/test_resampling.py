"""Scores and weights of resampled slides, by hand and by what must hold of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiseg.metrics import Scores
from wsiseg.resampling import (
    bootstrap_weights,
    class_scores,
    fewest,
    mean_score,
    resampled_scores,
    slide_spread,
    slides_by_class,
)


def test_scores_by_hand() -> None:
    matrix = np.array([[8, 2], [1, 3]])
    assert class_scores(matrix, "iou") == pytest.approx([8 / 11, 3 / 6])
    assert class_scores(matrix, "f1") == pytest.approx([16 / 19, 6 / 9])
    assert mean_score(matrix, "iou") == pytest.approx((8 / 11 + 1 / 2) / 2)


def test_a_class_that_the_truth_does_not_show_is_not_scored() -> None:
    matrix = np.array([[8, 2], [0, 0]])
    assert np.isnan(class_scores(matrix, "iou")[1])
    assert mean_score(matrix, "iou") == pytest.approx(0.8)
    assert np.isnan(mean_score(np.zeros((2, 2), dtype=np.int64), "iou"))


@given(hnp.arrays(np.int64, (4, 4), elements=st.integers(1, 10**6)))
@settings(deadline=None, max_examples=30)
def test_scores_are_those_of_evaluate_where_every_class_is_shown(matrix: np.ndarray) -> None:
    found = Scores.from_confusion(matrix, ("a", "b", "c", "d"))
    assert mean_score(matrix, "iou") == pytest.approx(found.mean["iou"])
    assert mean_score(matrix, "f1") == pytest.approx(found.mean["f1"])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_each_slide_drawn_brings_as_many_units_as_it_has(sizes: list[int], seed: int) -> None:
    slide_of_unit = np.repeat(np.arange(len(sizes)), sizes)
    weights = bootstrap_weights(slide_of_unit, 50, seed)
    times = np.stack(
        [weights[:, slide_of_unit == slide].sum(axis=1) / size for slide, size in enumerate(sizes)], axis=1
    )
    assert (times == times.round()).all()
    assert (times.sum(axis=1) == len(sizes)).all()


def test_units_are_drawn_once_on_average() -> None:
    weights = bootstrap_weights(np.repeat([0, 1, 2], [2, 3, 4]), 20000)
    assert weights.mean(axis=0) == pytest.approx(np.ones(9), abs=0.03)


def test_samples_are_scored_by_their_summed_matrices() -> None:
    counts = np.random.default_rng(0).integers(1, 50, (2, 3, 2, 2))
    weights = np.array([[1, 1, 1], [3, 0, 0]])
    found = resampled_scores(counts, weights, "f1")
    assert found.shape == (2, 2)
    assert found[1, 0] == pytest.approx(mean_score(counts[1].sum(axis=0), "f1"))
    assert found[:, 1] == pytest.approx(mean_score(counts[:, 0], "f1"))
    assert resampled_scores(counts[0], weights, "f1") == pytest.approx(found[0])


def test_the_rarest_class_says_how_many_slides_count() -> None:
    shows, does_not = [[90, 0, 0], [0, 5, 5], [0, 0, 0]], [[90, 0, 10], [0, 0, 0], [0, 0, 0]]
    counts = np.array([shows, does_not, does_not, shows, does_not])
    slides = slides_by_class(counts, np.array([0, 0, 1, 2, 3]))
    assert slides.tolist() == [4, 2, 0]
    assert fewest(slides, 4) == 2
    assert fewest(np.zeros(3, dtype=np.int64), 4) == 4


def test_one_slide_of_several_does_not_tell_how_slides_differ() -> None:
    samples = np.array([0.1, 0.2, 0.3, np.nan])
    assert slide_spread(samples, 1, 1).variance == pytest.approx(0.02 / 3)
    assert np.isnan(slide_spread(samples, 4, 1).variance)
    assert slide_spread(samples, 4, 2) == pytest.approx((2 * 0.02 / 3, 1))
