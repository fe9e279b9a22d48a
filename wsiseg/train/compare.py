"""Did unlabelled tiles help? Two trained segmentors on the same validation tiles."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from wsiseg.classes import ClassSchema
from wsiseg.config.training import TrainConfig
from wsiseg.metrics import confusion
from wsiseg.model.losses import likeliest
from wsiseg.resampling import (
    bootstrap_weights,
    class_scores,
    fewest,
    mean_score,
    resampled_scores,
    slide_spread,
    slides_by_class,
    student_interval,
)
from wsiseg.train.data import Pool
from wsiseg.train.gauges import pool_batches

DRAWS = 2000
"""Samples of the bootstrap."""


@dataclass(frozen=True)
class Comparison:
    """A run beside its supervised twin, paired tile by tile.

    Attributes:
        iou: Mean IoU of the run, and of the twin, over the classes that the truth shows.
        classes: The same for each of those classes.
        interval: 95 % interval of the difference, run less twin; NaN where one slide alone shows a class.
        tiles: Number of validation tiles.
        slides: Number of slides that they come from.
        lone: Classes that one of several slides shows.
    """

    iou: tuple[float, float]
    classes: dict[str, tuple[float, float]]
    interval: tuple[float, float]
    tiles: int
    slides: int
    lone: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """Mean IoU of the run less that of the twin."""
        return self.iou[0] - self.iou[1]

    def in_words(self) -> str:
        """The answer for a summary; a gain only where the interval leaves no doubt of its sign."""
        # What vanishes in the three digits that are shown is no gain to speak of.
        low, high = (round(edge, 3) for edge in self.interval)
        if self.lone:
            return (
                f"cannot be told: mean IoU {self.iou[0]:.3f} with them, {self.iou[1]:.3f} without "
                f"({self.difference:+.3f}), and only one of {self.slides} validation slides shows "
                f"{' and '.join(self.lone)}"
            )
        verdict = "yes" if low > 0 else "no, they did harm" if high < 0 else "no measurable gain"
        where = "on these slides" if self.slides > 1 else "on this slide"
        tiles = f"{self.tiles} tile{'s' * (self.tiles != 1)} of {self.slides} validation slides"
        if self.slides == 1:
            tiles = f"{tiles[:-1]} only: nothing is known of other slides"
        return (
            f"{verdict if verdict.startswith('no m') else f'{verdict}, {where}'}: mean IoU "
            f"{self.iou[0]:.3f} with them, {self.iou[1]:.3f} without ({self.difference:+.3f}, 95 % interval "
            f"{low:+.3f} to {high:+.3f}; {tiles})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in ``report.json``."""
        pair = {
            "run": _plain(self.iou[0]),
            "baseline": _plain(self.iou[1]),
            "difference": _plain(self.difference),
        }
        each = {
            name: {"run": _plain(run), "baseline": _plain(twin)} for name, (run, twin) in self.classes.items()
        }
        interval = [_plain(value) for value in self.interval]
        return {
            "mean_iou": {**pair, "interval_95": interval},
            "classes": each,
            "tiles": self.tiles,
            "slides": self.slides,
        }


def count_tiles(
    segmentor: nn.Module, pool: Pool, schema: ClassSchema, config: TrainConfig, fabric: Fabric
) -> NDArray[np.int64]:
    """The confusion matrix of each tile of a pool, ``(n, K, K)``, row the true class.

    Args:
        segmentor: In evaluation mode, on Fabric's device.
        pool: Labelled tiles.
        schema: Their classes.
        config: Normalisation and size of a batch.
        fabric: Device and precision.
    """
    found: list[NDArray[np.int64]] = []
    for _, image_NCHW, label_NHW in pool_batches(pool, config, fabric.device):
        with torch.no_grad(), fabric.autocast():
            predicted_NHW = likeliest(segmentor(image_NCHW)).to(torch.uint8)
        pairs = zip(label_NHW.cpu().numpy(), predicted_NHW.cpu().numpy(), strict=True)
        found += [confusion(truth, predicted, len(schema)) for truth, predicted in pairs]
    return np.stack(found)


def compare(
    run_NKK: NDArray[np.int64],
    twin_NKK: NDArray[np.int64],
    slide_N: NDArray[np.int64],
    schema: ClassSchema,
    *,
    seed: int = 0,
) -> Comparison:
    """Compare two segmentors by their confusion matrices on the same tiles.

    The interval is Student's, with the standard error of a bootstrap of the paired difference
    (``slide_spread``); with one slide it tells of other tiles alone, and where one of several shows a class
    it is not known.

    Args:
        run_NKK: Of the run, one matrix a tile.
        twin_NKK: Of the twin.
        slide_N: Which slide each tile is from.
        schema: The classes.
        seed: Of the drawing.
    """
    weights = bootstrap_weights(slide_N, DRAWS, seed)
    drawn, twin_drawn = (resampled_scores(counts, weights, "iou") for counts in (run_NKK, twin_NKK))
    run_KK, twin_KK = run_NKK.sum(axis=0), twin_NKK.sum(axis=0)
    run_K, twin_K = class_scores(run_KK, "iou"), class_scores(twin_KK, "iou")
    run_iou, twin_iou = (float(mean_score(matrix_KK, "iou")) for matrix_KK in (run_KK, twin_KK))
    slides = len(np.unique(slide_N))
    slides_K = slides_by_class(run_NKK, slide_N)
    spread = slide_spread(drawn - twin_drawn, slides, fewest(slides_K, slides))
    return Comparison(
        iou=(run_iou, twin_iou),
        classes={
            name: (float(run_K[k]), float(twin_K[k]))
            for k, name in enumerate(schema.names)
            if not np.isnan(run_K[k])
        },
        interval=student_interval(run_iou - twin_iou, [spread]),
        tiles=len(slide_N),
        slides=slides,
        lone=tuple(name for name, count in zip(schema.names, slides_K, strict=True) if count == 1 < slides),
    )


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
