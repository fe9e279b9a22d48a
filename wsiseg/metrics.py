"""Pixel scores: every figure of a table comes from one confusion matrix of pixel counts.

With TP, FP and FN the right, invented and missed pixels of a class:

* IoU = TP / (TP + FP + FN)
* precision = TP / (TP + FP), recall = TP / (TP + FN)
* F1 = 2 TP / (2 TP + FP + FN), so IoU = F1 / (2 - F1) always

A class that is neither in the truth nor in the prediction has no scores: its figures are NaN and it
counts in no mean. A class that is in only one of the two scores 0 throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsiseg.classes import IGNORE_INDEX
from wsiseg.resampling import (
    Interval,
    bootstrap_weights,
    fewest,
    slide_spread,
    slides_by_class,
    student_interval,
)

SCORES = ("iou", "precision", "recall", "f1")
"""The scores of a class, in the order of the table's columns."""


def confusion(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int, ignore: int = IGNORE_INDEX
) -> NDArray[np.int64]:
    """Count pixels by true and predicted class.

    Matrices of the parts of an image add up to the matrix of the whole.

    Args:
        truth: Labels, any shape.
        prediction: Labels of the same shape.
        classes: How many classes K there are.
        ignore: A pixel with this label on either side is not counted.

    Returns:
        ``(K, K)`` int64, row the true class, column the predicted one.

    Raises:
        ValueError: The shapes differ, or a label is neither a class nor ``ignore``.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape")
    counted = (truth != ignore) & (prediction != ignore)
    rows, columns = truth[counted].astype(np.int64), prediction[counted]
    highest = max(rows.max(initial=0), columns.max(initial=0))
    if highest >= classes:
        raise ValueError(f"label {highest} in an image of {classes} classes")
    pairs = np.bincount(rows * classes + columns, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of every class, from one confusion matrix.

    Attributes:
        names: Class names by index.
        matrix: ``(K, K)`` int64, row the true class, column the predicted one.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.int64]

    @classmethod
    def from_confusion(cls, matrix: ArrayLike, names: Sequence[str]) -> "Scores":
        """The scores of a ``(K, K)`` matrix over K named classes.

        Raises:
            ValueError: The matrix is not K by K.
        """
        counts = np.asarray(matrix, dtype=np.int64)
        if counts.shape != (len(names), len(names)):
            raise ValueError(f"a matrix of {counts.shape} for {len(names)} classes")
        return cls(tuple(names), counts)

    @cached_property
    def hits(self) -> NDArray[np.int64]:
        """``(K,)`` pixels of each class that are right (TP)."""
        return np.diagonal(self.matrix)

    @cached_property
    def invented(self) -> NDArray[np.int64]:
        """``(K,)`` pixels predicted as a class that they are not (FP)."""
        return np.asarray(self.matrix.sum(axis=0) - self.hits)

    @cached_property
    def missed(self) -> NDArray[np.int64]:
        """``(K,)`` pixels of each class predicted as another (FN)."""
        return np.asarray(self.matrix.sum(axis=1) - self.hits)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """``(K,)`` whether a class is in the truth or in the prediction."""
        return np.asarray(self.hits + self.invented + self.missed > 0)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """``(K,)`` whether the truth shows a class."""
        return self.hits + self.missed > 0

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that have no scores."""
        return tuple(name for name, here in zip(self.names, self.present, strict=True) if not here)

    @property
    def iou(self) -> NDArray[np.float64]:
        """``(K,)`` intersection over union; NaN for absent classes."""
        return self._share(self.hits, self.hits + self.invented + self.missed)

    @property
    def precision(self) -> NDArray[np.float64]:
        """``(K,)`` share of the predicted pixels that are right; NaN for absent classes."""
        return self._share(self.hits, self.hits + self.invented)

    @property
    def recall(self) -> NDArray[np.float64]:
        """``(K,)`` share of the true pixels that were found; NaN for absent classes."""
        return self._share(self.hits, self.hits + self.missed)

    @property
    def f1(self) -> NDArray[np.float64]:
        """``(K,)`` harmonic mean of precision and recall, also called Dice; NaN for absent classes."""
        return self._share(2 * self.hits, 2 * self.hits + self.invented + self.missed)

    def of(self, index: int) -> dict[str, float]:
        """The four scores of one class by name."""
        return {score: float(getattr(self, score)[index]) for score in SCORES}

    @property
    def mean(self) -> dict[str, float]:
        """The four scores averaged over the classes that are present; NaN where none is."""
        return {score: float(self._mean(getattr(self, score))) for score in SCORES}

    def _mean(self, values: NDArray[np.float64]) -> np.float64 | float:
        return values[self.present].mean() if self.present.any() else np.nan

    def _share(self, part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
        # A present class with an empty denominator (never predicted, say) scores 0, as its F1 does.
        shares = np.where(self.present, 0.0, np.nan)
        return np.divide(part, whole, out=shares, where=whole > 0)


def slide_intervals(
    matrices: Sequence[NDArray[np.int64]], names: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """How far the pooled scores would move with other slides: 95 % intervals.

    Slides are drawn with replacement, their matrices added, and the scores taken from the sum (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13); how far these scatter makes Student's
    interval, see ``resampling.slide_spread``. A sample without the slides that show a class says nothing
    about it, nor about the mean: means over other classes are another figure. A class counts as many slides
    as show it, the mean as many as show its rarest class.

    Args:
        matrices: One ``(K, K)`` matrix for each of two slides or more.
        names: Class names.
        draws: Bootstrap samples.
        seed: Seed of the drawing.

    Returns:
        Class name, or ``mean`` -> score -> (low, high) within 0 and 1; NaN for a class that is absent
        throughout or that a single slide shows, and for a mean over such a class.
    """
    stack = np.stack(matrices)
    each = np.arange(len(stack))
    weights, slides_K = bootstrap_weights(each, draws, seed), slides_by_class(stack, each)
    pooled = Scores.from_confusion(stack.sum(axis=0), names)
    sums = [Scores.from_confusion(np.tensordot(weight, stack, axes=1), names) for weight in weights]
    silent = np.stack([pooled.shown & ~sample.shown for sample in sums])
    rows = (*names, "mean")
    # What is only invented scores 0 on whatever slides.
    counted = (*np.where(slides_K == 0, len(stack), slides_K), fewest(slides_K, len(stack)))
    intervals: dict[str, dict[str, Interval]] = {name: {} for name in rows}
    for score in SCORES:
        values = np.where(silent, np.nan, np.stack([getattr(sample, score) for sample in sums]))
        means = values[:, pooled.present].sum(axis=1) / max(pooled.present.sum(), 1)
        figures = (*getattr(pooled, score), pooled.mean[score])
        for name, figure, samples, number in zip(rows, figures, (*values.T, means), counted, strict=True):
            low, high = student_interval(figure, [slide_spread(samples, len(stack), number)])
            intervals[name][score] = max(low, 0.0), min(high, 1.0)
    return intervals
