"""The statistics of a study: pure functions of confusion matrices.

Notation: S seeds, U units (blocks of tiles) of the test slides, K classes, B samples of the bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.95
"""Of every interval."""

ScoreName = Literal["iou", "f1"]
Interval = tuple[float, float]


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


def class_scores(matrices: NDArray[Any], score: ScoreName) -> NDArray[np.float64]:
    """IoU or F1 of each class.

    A class is scored where the truth shows it; what else is taken for it lowers the scores of the others.
    So a sample without glomeruli says nothing about glomeruli, for either of two arms that are compared.

    Args:
        matrices: ``(..., K, K)``, row the true class, column the predicted one.
        score: ``iou`` = TP / (TP + FP + FN) or ``f1`` = 2 TP / (2 TP + FP + FN).

    Returns:
        ``(..., K)``; NaN for classes that the truth does not show.
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    true, predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
    top, bottom = (hits, true + predicted - hits) if score == "iou" else (2 * hits, true + predicted)
    found: NDArray[np.float64] = np.full(hits.shape, np.nan)
    np.divide(top, bottom, out=found, where=true > 0)
    return found


def mean_score(matrices: NDArray[Any], score: ScoreName) -> NDArray[np.float64]:
    """Mean of ``class_scores`` over the classes that the truth shows, ``(...)``; NaN where it shows none."""
    each = class_scores(matrices, score)
    shown = ~np.isnan(each)
    total, number = np.where(shown, each, 0).sum(axis=-1), shown.sum(axis=-1)
    means: NDArray[np.float64] = np.full(total.shape, np.nan)
    np.divide(total, number, out=means, where=number > 0)
    return means


def bootstrap_weights(slide_of_unit: NDArray[np.int64], draws: int, seed: int = 0) -> NDArray[np.int64]:
    """How often each unit is in each sample of a hierarchical bootstrap.

    Slides are drawn with replacement; within each slide drawn, as many of its units as it has, with
    replacement. Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.

    Args:
        slide_of_unit: Number of the slide of each unit, ``(U,)``.
        draws: B.
        seed: Of the drawing.

    Returns:
        ``(B, U)``.
    """
    rng = np.random.default_rng(seed)
    slides = np.unique(slide_of_unit)
    times = rng.multinomial(len(slides), np.full(len(slides), 1 / len(slides)), size=draws)
    weights = np.zeros((draws, len(slide_of_unit)), dtype=np.int64)
    for column, slide in enumerate(slides):
        units = np.flatnonzero(slide_of_unit == slide)
        # m independent draws of n out of n are one draw of m n.
        weights[:, units] = rng.multinomial(
            times[:, column] * len(units), np.full(len(units), 1 / len(units))
        )
    return weights


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
    samples = _sampled(one, weights, score) - _sampled(other, weights, score)
    return Difference(
        mean=float(by_seed.mean()),
        interval=_percentiles(samples.mean(axis=0)),
        by_seed=tuple(float(value) for value in by_seed),
        interval_with_seeds=_percentiles(_draw_seeds(samples)) if len(samples) > 1 else None,
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


def _sampled(counts: NDArray[np.int64], weights: NDArray[np.int64], score: ScoreName) -> NDArray[np.float64]:
    """Mean score of each seed in each sample, ``(S, B)``, from matrices ``(S, U, K, K)``."""
    seeds, units, classes, _ = counts.shape
    # Counts of pixels are far below 2 ** 53: float64 adds them up exactly, and much faster than int64.
    flat = counts.reshape(seeds, units, -1).astype(np.float64)
    sums = np.stack([weights.astype(np.float64) @ one for one in flat])
    return mean_score(sums.reshape(seeds, len(weights), classes, classes), score)


def _percentiles(samples: NDArray[np.float64]) -> Interval:
    known = samples[~np.isnan(samples)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


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
