"""Running counts of how well a score tells right pixels from wrong ones; pure arithmetic on histograms."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.calibration import BINS, calibration_error

_RANKING_BINS = 4096


@dataclass
class Calibration:
    """How often pixels of a given confidence are right.

    Attributes:
        count: Pixels in each bin of confidence, ``(BINS,)``.
        right: Of them, those that are right.
        confidence: Sum of their confidence.
    """

    count: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    right: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    confidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> None:
        """Count pixels: their confidence in 0-1, and whether they are right; both ``(n,)``."""
        place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        self.count += np.bincount(place, minlength=BINS)
        self.right += np.bincount(place[right], minlength=BINS)
        self.confidence += np.bincount(place, weights=confidence, minlength=BINS)

    @property
    def error(self) -> float:
        """Expected calibration error."""
        return calibration_error(self.count, self.right, self.confidence)

    def to_json(self) -> dict[str, Any]:
        """Plain data: the error, and the bins from which it follows."""
        return {
            "ece": round(self.error, 6),
            "count": [int(value) for value in self.count],
            "right": [int(value) for value in self.right],
            "confidence": [round(float(value), 3) for value in self.confidence],
        }


@dataclass
class Ranking:
    """Does a score put wrong pixels above right ones?

    Attributes:
        wrong: Wrong pixels in each bin of the score, lowest first.
        right: Right pixels.
    """

    wrong: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_RANKING_BINS, dtype=np.int64))
    right: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_RANKING_BINS, dtype=np.int64))

    def add(self, score: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> None:
        """Count pixels: a score of suspicion in 0-1, and whether they are right; both ``(n,)``."""
        place = np.minimum((score * _RANKING_BINS).astype(np.int64), _RANKING_BINS - 1)
        self.wrong += np.bincount(place[~right], minlength=_RANKING_BINS)
        self.right += np.bincount(place[right], minlength=_RANKING_BINS)

    @property
    def auc(self) -> float | None:
        """Area under the ROC curve; None where no pixel, or every pixel, is wrong."""
        return auc(self.wrong, self.right)


def auc(wrong: NDArray[np.int64], right: NDArray[np.int64]) -> float | None:
    """Chance that a wrong pixel has a higher score than a right one, ties counting half.

    Args:
        wrong: Wrong pixels at each score, lowest score first.
        right: Right pixels at each score.
    """
    pairs = float(wrong.sum()) * float(right.sum())
    if not pairs:
        return None
    below = np.concatenate([[0], np.cumsum(right)[:-1]]) + right / 2
    return float((wrong * below).sum() / pairs)


def found_first(
    suspicion: NDArray[np.float64], errors: NDArray[np.int64], share: float = 0.2
) -> float | None:
    """Of all wrong pixels, those on the share of the tiles that a score suspects most.

    Annotating tiles in the order of a good score corrects most with least work; a score that knows nothing
    finds ``share`` on average.

    Args:
        suspicion: Of each tile, ``(n,)``.
        errors: Wrong pixels of each tile, ``(n,)``.
        share: Of the tiles, rounded up.
    """
    if not errors.sum():
        return None
    chosen = np.argsort(-suspicion, kind="stable")[: int(np.ceil(share * len(errors)))]
    return float(errors[chosen].sum() / errors.sum())
