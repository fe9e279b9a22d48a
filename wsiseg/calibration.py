"""The expected calibration error: one formula and one set of bins for all who report it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of equal width over confidence in 0-1."""


def calibration_error(count: NDArray[Any], right: NDArray[Any], confidence: NDArray[Any]) -> float:
    """How far confidence is from accuracy, ``sum |right - confidence| / sum count``; 0 where nothing is.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.

    Args:
        count: Pixels in each bin of confidence.
        right: Of them, those that are right.
        confidence: Sum of their confidence.
    """
    return float(np.abs(right - confidence).sum() / max(float(count.sum()), 1.0))
