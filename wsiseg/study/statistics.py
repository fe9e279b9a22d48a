"""The statistics of a study: pure functions of confusion matrices.

Notation: S seeds, U units (blocks of tiles) of the test slides, K classes, B samples of the bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from wsiseg.resampling import (
    LEVEL,
    Interval,
    ScoreName,
    mean_score,
    percentile_interval,
    resampled_scores,
)


@dataclass(frozen=True)
class Difference:
    """One arm minus another, on the same tiles and with the same seeds.

    Attributes:
        mean: Over the seeds.
        interval: Of that mean, were other slides and tiles drawn.
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
    score: ScoreName,
) -> Difference:
    """The mean score of one arm minus that of another, seed by seed, with bootstrap intervals.

    Both arms see the same samples of slides and tiles, so what makes a slide hard cancels out. On many
    test tiles that interval is narrow although seeds scatter; the second one draws seeds too.

    Args:
        one: Confusion matrices ``(S, U, K, K)``.
        other: Of the arm that is subtracted, with the same seeds and units.
        weights: ``(B, U)``, from ``bootstrap_weights``.
        score: What is averaged over the classes.
    """
    by_seed = mean_score(one.sum(axis=1), score) - mean_score(other.sum(axis=1), score)
    samples = resampled_scores(one, weights, score) - resampled_scores(other, weights, score)
    return Difference(
        mean=float(by_seed.mean()),
        interval=percentile_interval(samples.mean(axis=0)),
        by_seed=tuple(float(value) for value in by_seed),
        interval_with_seeds=percentile_interval(_draw_seeds(samples)) if len(samples) > 1 else None,
    )


def _draw_seeds(samples: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Means over seeds drawn with replacement, one a sample, ``(B,)`` from ``(S, B)``.

    The scatter of the seeds is widened by ``sqrt(S / (S - 1))``: drawn from themselves, few look too alike.
    """
    seeds, draws = samples.shape
    mean = samples.mean(axis=0)
    spread = (samples - mean) * math.sqrt(seeds / (seeds - 1))
    chosen = np.random.default_rng(seed).integers(seeds, size=(seeds, draws))
    return np.asarray(mean + np.take_along_axis(spread, chosen, axis=0).mean(axis=0))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of a few values; None for fewer than two."""
    number = len(values)
    if number < 2:
        return None
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(number)
    reach = float(stdtrit(number - 1, (1 + LEVEL) / 2)) * spread
    return mean - reach, mean + reach


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
