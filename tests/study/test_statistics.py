"""The statistics of a study, against figures worked out by hand and properties that must hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from studycells import matrices

from wsiseg.resampling import bootstrap_weights
from wsiseg.study.statistics import Difference, labels_for, mean_interval, paired_difference

COUNTS = hnp.arrays(np.int64, (2, 5, 3, 3), elements=st.integers(0, 1000))
SLIDES = np.array([0, 0, 1, 1, 1])


def compared(one: np.ndarray, other: np.ndarray, slide_of_unit: np.ndarray, score="iou", draws=500):
    weights = bootstrap_weights(slide_of_unit, draws)
    return paired_difference(one, other, weights, slide_of_unit, score)


@given(COUNTS)
@settings(deadline=None, max_examples=30)
def test_an_arm_does_not_differ_from_itself(counts: np.ndarray) -> None:
    counts += np.eye(3, dtype=np.int64)
    for score in ("iou", "f1"):
        found = compared(counts, counts.copy(), SLIDES, score)
        assert found.mean == 0.0
        assert found.interval == found.interval_with_seeds == (0.0, 0.0)
        assert found.sign == found.sign_with_seeds == 0


@given(COUNTS, COUNTS)
@settings(deadline=None, max_examples=30)
def test_the_other_way_round_the_difference_changes_its_sign(one: np.ndarray, other: np.ndarray) -> None:
    one += np.eye(3, dtype=np.int64)
    other += np.eye(3, dtype=np.int64)
    forth, back = compared(one, other, SLIDES), compared(other, one, SLIDES)
    assert forth.mean == pytest.approx(-back.mean, abs=1e-12)
    assert forth.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=1e-12)


def test_a_hierarchical_bootstrap_is_wider_than_one_of_tiles_where_slides_differ() -> None:
    # One slide on which the arm gains a lot, one on which it loses nothing: tiles alone cannot see that.
    better, worse = matrices(0.95, units=20), matrices(0.7, units=20)
    one = np.concatenate([better, worse])[None]
    other = np.concatenate([worse, worse])[None]
    slides = np.repeat([0, 1], 20)
    hierarchical = compared(one, other, slides).interval
    flat = compared(one, other, np.zeros(40, dtype=np.int64)).interval
    assert hierarchical[1] - hierarchical[0] > 2 * (flat[1] - flat[0])


def test_a_difference_that_is_everywhere_is_seen() -> None:
    one, other = matrices(0.9)[None], matrices(0.8)[None]
    found = compared(one, other, np.arange(6), "f1")
    assert found.sign == 1
    assert found.interval[0] < found.mean < found.interval[1]
    assert found.by_seed == (found.mean,)


def test_the_scatter_of_seeds_widens_the_interval() -> None:
    one = np.stack([matrices(right, units=200) for right in (0.95, 0.75)])
    other = np.stack([matrices(0.8, units=200)] * 2)
    slides = np.repeat(np.arange(4), 50)
    found = compared(one, other, slides)
    assert found.sign == 1
    assert found.sign_with_seeds == 0
    assert compared(one[:1], other[:1], slides).interval_with_seeds is None


def test_few_slides_do_not_show_a_difference_that_is_not_there() -> None:
    """Two equal arms, each better on other slides: 95 % intervals exclude 0 in one study of twenty."""
    rng = np.random.default_rng(0)
    slides, studies = np.repeat(np.arange(4), 5), 200

    def drawn(rate_U: np.ndarray) -> np.ndarray:
        hits = rng.binomial(2000, rate_U)
        nothing = np.full_like(hits, 8000), np.zeros_like(hits)
        return np.stack([*nothing, 2000 - hits, hits], axis=-1).reshape(1, -1, 2, 2)

    def found(effect_U: np.ndarray) -> Difference:
        base_U = rng.normal(0.75, 0.02, 20)
        return compared(drawn(base_U + effect_U), drawn(base_U), slides, draws=200)

    excluded = sum(found(rng.normal(0, 0.04, 4)[slides]).sign != 0 for _ in range(studies))
    assert excluded / studies < 0.1


def test_a_class_on_one_slide_of_several_leaves_the_interval_unknown() -> None:
    shows, does_not = [[80, 0], [5, 15]], [[100, 0], [0, 0]]
    one = np.array([[shows, does_not, does_not, does_not]] * 2)
    other = one.copy()
    other[:, 0] = [[80, 0], [10, 10]]
    found = compared(one, other, np.arange(4))
    assert np.isnan(found.interval).all()
    assert np.isnan(found.interval_with_seeds).all()
    assert found.sign == found.sign_with_seeds == 0


def test_the_interval_with_seeds_by_hand() -> None:
    # On one slide of equal tiles nothing but two seeds scatters: Student's with one degree of freedom.
    one = np.stack([[[[60 + more, 40 - more], [20, 80]]] * 30 for more in (0, 20)])
    other = np.array([[[[60, 40], [20, 80]]] * 30] * 2)
    found = compared(one, other, np.zeros(30, dtype=np.int64))
    assert found.interval_with_seeds == pytest.approx(mean_interval(found.by_seed), abs=1e-9)
    assert found.interval == pytest.approx((found.mean, found.mean), abs=1e-9)


def test_tiles_that_lack_a_class_say_nothing() -> None:
    # One tile of four shows the class in which the arms differ: samples without it would find no difference.
    shows, does_not = [[90, 0], [0, 10]], [[100, 0], [0, 0]]
    one = np.array([[shows, does_not, does_not, does_not]])
    other = one.copy()
    other[0, 0] = [[90, 0], [5, 5]]
    assert compared(one, other, np.zeros(4, dtype=np.int64)).interval[0] > 0.2


def test_the_interval_of_a_mean_by_hand() -> None:
    # Mean 2, standard deviation 1, n = 3: 4.3027 is Student's 97.5 % quantile with 2 degrees of freedom.
    low, high = mean_interval([1.0, 2.0, 3.0]) or (math.nan, math.nan)
    assert (low, high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert mean_interval([1.0]) is None


@pytest.mark.parametrize(
    ("target", "share", "bound"),
    [
        (0.5, 1 / 8, "<"),
        (0.6, 1 / 8, "="),
        (0.7, 1 / 4, "="),
        (0.65, 1 / math.sqrt(32), "="),  # half the way between 1/8 and 1/4, on the logarithm
        (0.8, 1.0, "="),
        (0.9, 1.0, ">"),
    ],
)
def test_labels_for_a_score_by_hand(target: float, share: float, bound: str) -> None:
    found = labels_for([1 / 8, 1 / 4, 1.0], [0.6, 0.7, 0.8], target)
    assert found.share == pytest.approx(share)
    assert found.bound == bound


def test_a_curve_that_falls_counts_as_level() -> None:
    found = labels_for([1 / 4, 1 / 2, 1.0], [0.6, 0.5, 0.8], 0.7)
    assert found.share == pytest.approx(2**-0.5)
    assert labels_for([1 / 4, 1 / 2], [0.6, 0.5], 0.6).share == 1 / 4


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_a_higher_score_needs_no_fewer_labels(scores: list[float], one: float, other: float) -> None:
    shares = [2.0 ** (n - len(scores) + 1) for n in range(len(scores))]
    low, high = sorted((one, other))
    fewer, more = labels_for(shares, scores, low).share, labels_for(shares, scores, high).share
    assert fewer <= more + 1e-12
    assert shares[0] <= fewer <= more + 1e-12 <= shares[-1] + 1e-9
