"""The statistics of a study: pure functions of confusion matrices.

Notation: S seeds, U units (blocks of tiles) of the test slides, K classes, B samples of the bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.resampling import (
    Interval,
    ScoreName,
    Spread,
    fewest,
    mean_score,
    resampled_scores,
    slide_spread,
    slides_by_class,
    student_interval,
)


@dataclass(frozen=True)
class Difference:
    """One arm minus another, on the same tiles and with the same seeds.

    Attributes:
        mean: Over the seeds.
        interval: Of that mean, were other slides and tiles drawn; NaN where a class is on one slide alone.
        by_seed: ``(S,)``.
        interval_with_seeds: Of that mean, were other seeds drawn as well; None for one seed.
    """

    mean: float
    interval: Interval
    by_seed: tuple[float, ...]
    interval_with_seeds: Interval | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes 0, else 0."""
        return _sign(self.interval)

    @property
    def sign_with_seeds(self) -> int:
        """The same by the wider interval."""
        return 0 if self.interval_with_seeds is None else _sign(self.interval_with_seeds)


def _sign(interval: Interval) -> int:
    low, high = interval
    return int(low > 0) - int(high < 0)


def paired_difference(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    weights: NDArray[np.int64],
    slide_of_unit: NDArray[np.int64],
    score: ScoreName,
) -> Difference:
    """The mean score of one arm minus that of another, seed by seed, with intervals.

    Both arms see the same samples of slides and tiles, so what makes a slide hard cancels out. The bootstrap
    gives the standard error, the number of slides that show the rarest class Student's factor. On many test
    slides that interval is narrow although seeds scatter; the second one counts their scatter too.

    Args:
        one: Confusion matrices ``(S, U, K, K)``.
        other: Of the arm that is subtracted, with the same seeds and units.
        weights: ``(B, U)``, from ``bootstrap_weights``.
        slide_of_unit: Which slide each unit is from, ``(U,)``.
        score: What is averaged over the classes.
    """
    by_seed = mean_score(one.sum(axis=1), score) - mean_score(other.sum(axis=1), score)
    samples = resampled_scores(one, weights, score) - resampled_scores(other, weights, score)
    mean = float(by_seed.mean())
    slides = len(np.unique(slide_of_unit))
    showing = fewest(slides_by_class(one[0], slide_of_unit), slides)
    by_slides, by_seeds = slide_spread(samples.mean(axis=0), slides, showing), _seed_spread(by_seed)
    return Difference(
        mean=mean,
        interval=student_interval(mean, [by_slides]),
        by_seed=tuple(float(value) for value in by_seed),
        interval_with_seeds=None if by_seeds is None else student_interval(mean, [by_slides, by_seeds]),
    )


def _seed_spread(by_seed: NDArray[np.float64]) -> Spread | None:
    """How far the mean moves with other seeds; None for a single one."""
    seeds = len(by_seed)
    return Spread(float(by_seed.var(ddof=1)) / seeds, seeds - 1) if seeds > 1 else None


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of a few values; None for fewer than two."""
    spread = _seed_spread(np.asarray(values, dtype=np.float64))
    return None if spread is None else student_interval(float(np.mean(values)), [spread])


@dataclass(frozen=True)
class Reached:
    """How many labels reach a score.

    Attributes:
        share: Of the labels.
        bound: ``=``, or ``<`` where the smallest share of the curve reaches the score already, or ``>``
            where even the largest does not.
    """

    share: float
    bound: Literal["=", "<", ">"]


def labels_for(shares: Sequence[float], scores: Sequence[float], target: float) -> Reached:
    """The smallest share of labels at which a curve reaches a score.

    Between two shares the curve is straight over the logarithm of the share; where it falls, it counts as
    level, since more labels could have been left unused.

    Args:
        shares: Ascending.
        scores: At these shares.
        target: The score to reach.
    """
    best = np.maximum.accumulate(scores)
    if target <= best[0]:
        return Reached(shares[0], "=" if target == best[0] else "<")
    if target > best[-1]:
        return Reached(shares[-1], ">")
    above = int(np.argmax(best >= target))
    below = above - 1
    part = (target - best[below]) / (best[above] - best[below])
    low, high = math.log(shares[below]), math.log(shares[above])
    return Reached(math.exp(low + part * (high - low)), "=")
