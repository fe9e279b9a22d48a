"""Scores of resampled slides: how far a figure would move on other slides and tiles.

Notation: U units (tiles, or blocks of them) of some slides, K classes, B samples of the bootstrap. Pure
functions of confusion matrices, row the true class, column the predicted one.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.95
"""Of every interval."""

ScoreName = Literal["iou", "f1"]
Interval = tuple[float, float]


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


def resampled_scores(
    counts: NDArray[np.int64], weights: NDArray[np.int64], score: ScoreName
) -> NDArray[np.float64]:
    """The mean score of each sample.

    A sample that lacks a class which the units show scores nothing: means over other classes are another
    figure.

    Args:
        counts: Confusion matrices of the units, ``(..., U, K, K)``.
        weights: ``(B, U)``, from ``bootstrap_weights``.
        score: What is averaged over the classes.

    Returns:
        ``(..., B)``; NaN for samples that lack a class.
    """
    *leading, units, classes, _ = counts.shape
    # Counts of pixels are far below 2 ** 53: float64 adds them up exactly, and much faster than int64.
    flat = counts.reshape(-1, units, classes * classes).astype(np.float64)
    sums = np.stack([weights.astype(np.float64) @ one for one in flat])
    sums = sums.reshape(*leading, len(weights), classes, classes)
    shown = counts.sum(axis=(-3, -1)) > 0
    lacking = (shown[..., None, :] & (sums.sum(axis=-1) == 0)).any(axis=-1)
    return np.where(lacking, np.nan, mean_score(sums, score))


class Spread(NamedTuple):
    """One part of the variance of a figure, and how well it is known."""

    variance: float
    freedom: float


def slides_by_class(counts: NDArray[np.int64], slide_of_unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many slides show each class, ``(K,)``; 0 for a class that the truth does not show.

    Args:
        counts: Confusion matrices of the units, ``(U, K, K)``.
        slide_of_unit: ``(U,)``.
    """
    shown = [counts[slide_of_unit == slide].sum(axis=(0, 2)) > 0 for slide in np.unique(slide_of_unit)]
    return np.asarray(np.sum(shown, axis=0), dtype=np.int64)


def fewest(slides_K: NDArray[np.int64], slides: int) -> int:
    """How many of the slides show the rarest class that they show at all."""
    return int(slides_K[slides_K > 0].min(initial=slides))


def slide_spread(samples: NDArray[np.float64], slides: int, showing: int) -> Spread:
    """How far a figure moves with other slides and tiles.

    Slides drawn from themselves look too alike by ``(n - 1) / n``, and n of them know their scatter as n
    values do: an interval of percentiles, which takes no account of either, excludes 0 in a fifth of all
    comparisons of two equal arms on four slides (``benchmarks/intervals.py``). A class that few slides show
    brings the scatter of those few.

    Args:
        samples: The figure on each sample of ``bootstrap_weights``, ``(B,)``, NaN left out.
        slides: Number of slides; with a single one the samples tell of other tiles alone.
        showing: How many of them show the rarest class in the figure (``fewest``); a single one
            of several does not tell how slides differ, and the variance is NaN.
    """
    known = samples[~np.isnan(samples)]
    variance = float(known.var()) if len(known) else math.nan
    if slides == 1:
        return Spread(variance, math.inf)
    if showing == 1:
        return Spread(math.nan, math.inf)
    return Spread(variance * showing / (showing - 1), showing - 1)


def student_interval(value: float, parts: Sequence[Spread], level: float = LEVEL) -> Interval:
    """Student's interval of a figure whose variance has independent parts.

    It has the degrees of freedom of the part that is known least, and so is never too narrow; NaN where a
    part is not known.
    """
    variance, freedom = sum(part.variance for part in parts), min(part.freedom for part in parts)
    # Beyond so many degrees the normal distribution does not differ in any digit shown.
    reach = float(stdtrit(min(freedom, 1e6), (1 + level) / 2)) * math.sqrt(variance)
    return value - reach, value + reach
