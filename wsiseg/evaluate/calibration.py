"""Whether a probability of 0.8 is right in 8 of 10 pixels: the calibration of a prediction.

Counted are the pixels of each predicted class by the probability that they were predicted with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsiseg.calibration import BINS, calibration_error
from wsiseg.classes import IGNORE_INDEX, ClassSchema
from wsiseg.errors import AnnotationParseError, StoreFormatError
from wsiseg.geometry import GridFrame
from wsiseg.slide import Slide
from wsiseg.tilestore import MaskStore

SUFFIX = ".probabilities.zarr"
"""Follows the slide's stem in the name of the probabilities that ``predict --keep-probabilities`` keeps."""

_STEPS = 256


@dataclass
class CalibrationCounts:
    """Counted pixels by predicted class and its probability in steps of 1 / 255; slides add up.

    Attributes:
        pixels: ``(K, 256)`` int64.
        right: How many of them have the right class, of the same shape.
    """

    pixels: NDArray[np.int64]
    right: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Self:
        """Nothing counted yet."""
        return cls(np.zeros((classes, _STEPS), np.int64), np.zeros((classes, _STEPS), np.int64))

    def add(self, truth: NDArray[np.uint8], probabilities_KHW: NDArray[np.uint8]) -> None:
        """Count a block.

        Args:
            truth: ``(h, w)``; pixels that are ``IGNORE_INDEX`` do not count.
            probabilities_KHW: In steps of 1 / 255.
        """
        known = truth != IGNORE_INDEX
        best, true = probabilities_KHW[:, known], truth[known]
        label = best.argmax(axis=0)
        place = label * _STEPS + best.max(axis=0)
        shape, size = self.pixels.shape, self.pixels.size
        self.pixels += np.bincount(place, minlength=size).reshape(shape)
        self.right += np.bincount(place[label == true], minlength=size).reshape(shape)

    def __add__(self, other: "CalibrationCounts") -> "CalibrationCounts":
        return CalibrationCounts(self.pixels + other.pixels, self.right + other.right)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The figures: over all pixels, their bins, and by predicted class."""
        pixels, right = self.pixels.sum(axis=0), self.right.sum(axis=0)
        return {
            **_figures(pixels, right),
            "bins": _bins(pixels, right),
            "classes": {
                name: _figures(*row)
                for name, *row in zip(names, self.pixels, self.right, strict=True)
                if row[0].any()
            },
        }


def expected_error(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    """The expected calibration error of pixels ``(256,)`` by probability; NaN where there are none."""
    if not pixels.any():
        return float("nan")
    return calibration_error(*_binned(pixels, right))


def _binned(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Pixels, right pixels, and summed probability of each bin."""
    step = np.arange(_STEPS)
    number = np.minimum(step * BINS // (_STEPS - 1), BINS - 1)
    values = (pixels, right, pixels * step / (_STEPS - 1))
    return tuple(np.bincount(number, weights=each, minlength=BINS).astype(np.float64) for each in values)


def _figures(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> dict[str, Any]:
    counted, hits, summed = (float(each.sum()) for each in _binned(pixels, right))
    return {
        "ece": expected_error(pixels, right),
        "pixels": int(counted),
        "accuracy": hits / counted if counted else float("nan"),
        "mean_probability": summed / counted if counted else float("nan"),
    }


def _bins(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The reliability table; bins without pixels are left out."""
    return [
        {
            "from": round(number / BINS, 4),
            "to": round((number + 1) / BINS, 4),
            "pixels": int(counted),
            "accuracy": float(hits / counted),
            "mean_probability": float(summed / counted),
        }
        for number, (counted, hits, summed) in enumerate(zip(*_binned(pixels, right), strict=True))
        if counted
    ]


def find_probabilities(prediction: Path) -> Path | None:
    """The probabilities that ``predict`` has kept beside a prediction, or None."""
    stem = prediction.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if (folder := prediction.parent / f"{stem}{SUFFIX}").is_dir():
            return folder
    return None


def open_probabilities(
    path: Path, schema: ClassSchema, slide: Slide, frame: GridFrame, model: str | None
) -> MaskStore | str:
    """Open kept probabilities, or say why they tell nothing about this comparison.

    Args:
        path: The store.
        schema: The classes that are compared.
        slide: The slide that they should be of.
        frame: The grid frame in which they are.
        model: Fingerprint of the model of the prediction, where that says it.

    Raises:
        AnnotationParseError: The store is damaged.
    """
    try:
        store = MaskStore.open(path)
        about = store.attributes
        names, mpp = tuple(str(entry["name"]) for entry in about["classes"]), float(about["mpp"])
    except (StoreFormatError, KeyError, TypeError, ValueError) as err:
        raise AnnotationParseError(
            f"{path} are no probabilities of wsiseg", remedy="Predict again, or remove it"
        ) from err
    predicted = about.get("slide") or {}
    if predicted.get("fingerprint", slide.fingerprint) != slide.fingerprint:
        return f"they are of another slide, {predicted.get('name')}"
    if names != schema.names or store.channels != len(schema):
        return "they are of other classes"
    # A mask's own um/px is a product of two rounded numbers.
    if not math.isclose(mpp, frame.mpp, rel_tol=1e-6):
        return f"they are at {mpp:g} um/px, and compared is at {frame.mpp:g}"
    if store.size_gr != frame.size_gr:
        sizes = "{} x {} px where the slide has {} x {}".format(*store.size_gr, *frame.size_gr)
        return f"they are of another grid: {sizes}"
    if model is not None and about.get("model") != model:
        return "they are of another model"
    return store
