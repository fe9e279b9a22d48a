"""Counting what a score knows about wrong pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsiseg.study.tallies import Calibration, Ranking, auc, found_first


def test_calibration_error_by_hand() -> None:
    tally = Calibration()
    tally.add(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False]))  # 0.75 right
    tally.add(np.array([0.5, 0.5]), np.array([True, False]))  # 0.5 right
    assert tally.error == pytest.approx((4 * 0.15 + 2 * 0.0) / 6)
    assert sum(tally.to_json()["count"]) == 6


def test_calibration_of_nothing_is_no_error() -> None:
    assert Calibration().error == 0.0


def test_confidence_of_one_falls_in_the_last_bin() -> None:
    tally = Calibration()
    tally.add(np.array([1.0, 0.0]), np.array([True, False]))
    assert tally.count[[0, -1]].tolist() == [1, 1]
    assert tally.error == 0.0


@given(
    hnp.arrays(np.int64, 6, elements=st.integers(0, 5)), hnp.arrays(np.int64, 6, elements=st.integers(0, 5))
)
@settings(deadline=None, max_examples=50)
def test_auc_is_the_share_of_pairs_in_order(wrong: np.ndarray, right: np.ndarray) -> None:
    pairs = [
        (float(i > j) + 0.5 * float(i == j))
        for i in range(6)
        for j in range(6)
        for _ in range(wrong[i] * right[j])
    ]
    found = auc(wrong, right)
    if pairs:
        assert found == pytest.approx(np.mean(pairs))
    else:
        assert found is None


def test_a_score_that_knows_everything_and_one_that_knows_nothing() -> None:
    right = np.array([True, True, False, False])
    perfect, useless = Ranking(), Ranking()
    perfect.add(np.array([0.1, 0.2, 0.8, 0.9]), right)
    useless.add(np.array([0.5, 0.5, 0.5, 0.5]), right)
    assert (perfect.auc, useless.auc) == (1.0, 0.5)


def test_errors_found_first_by_hand() -> None:
    errors = np.array([1, 0, 7, 2, 0])
    assert found_first(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), errors) == pytest.approx(0.7)
    assert found_first(np.array([0.0, 1.0, 0.0, 0.0, 0.0]), errors) == 0.0
    assert found_first(np.arange(5.0), errors, share=1.0) == 1.0
    assert found_first(np.arange(5.0), np.zeros(5, dtype=np.int64)) is None
