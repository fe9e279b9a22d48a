"""Looking at a run: scores on validation tiles, and what the discriminator makes of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiseg.calibration import BINS, calibration_error
from wsiseg.classes import ClassSchema
from wsiseg.config.training import DiscriminatorConfig, TrainConfig
from wsiseg.metrics import Scores
from wsiseg.model.losses import as_shown, entropy_map, hard, known_pixels, likeliest, mean_over, one_hot
from wsiseg.model.normalise import standardise, to_unit
from wsiseg.resampling import ScoreName, mean_score
from wsiseg.train.data import Pool
from wsiseg.train.networks import Networks
from wsiseg.train.subset import first_in_turn

GAUGED_TILES = 16
"""The discriminator is asked about so many tiles: a gauge, not a score."""


@dataclass(frozen=True)
class Look:
    """One validation.

    Attributes:
        scores: Of the averaged segmentor, from one confusion matrix over all validation tiles.
        gauges: Mean scores of the discriminator (``d_real``, ``d_soft``, ``d_argmax``, ``d_other``: another
            tile's mask), ``entropy`` of the softmax (0-1), ``ece``, ``area_ratio/<class>`` (predicted over
            true).
        examples: uint8 ``(n, T, T, 3)`` images, with ``truth``, ``prediction`` and ``d_map`` beside them.
    """

    scores: Scores
    gauges: dict[str, float]
    examples: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that the truth shows; 0 where it shows none."""
        value = self._mean("iou")
        return 0.0 if math.isnan(value) else value

    def figures(self) -> dict[str, Any]:
        """Plain data, as kept in checkpoints; a class that the truth does not show has None."""
        shown = self.scores.matrix.sum(axis=1) > 0
        return {
            "mean_iou": _plain(self._mean("iou")),
            "mean_f1": _plain(self._mean("f1")),
            "classes": {
                name: {
                    score: _plain(value) if shown[index] else None
                    for score, value in self.scores.of(index).items()
                }
                for index, name in enumerate(self.scores.names)
            },
        }

    def _mean(self, score: ScoreName) -> float:
        # Over the truth's classes alone: else one stray pixel of another class would add a score of 0.
        return float(mean_score(self.scores.matrix, score))


@dataclass
class _Sums:
    """Running sums over batches, on the device."""

    matrix: Tensor
    bins: Tensor
    entropy: Tensor
    pixels: Tensor
    judged: list[dict[str, Tensor]] = field(default_factory=list)


def look(
    networks: Networks, pool: Pool, schema: ClassSchema, config: TrainConfig, *, examples: int = 4
) -> Look:
    """Run the averaged segmentor over the validation tiles, and ask the discriminator about some.

    Args:
        networks: Segmentor, average, discriminator.
        pool: Validation tiles.
        schema: Their classes.
        config: Of the run.
        examples: Number of tiles to keep for people to look at; the same ones at every look.
    """
    classes, device = len(schema), networks.fabric.device
    sums = _Sums(
        matrix=torch.zeros(classes * classes, dtype=torch.int64, device=device),
        bins=torch.zeros(3, BINS, dtype=torch.float64, device=device),
        entropy=torch.zeros((), dtype=torch.float64, device=device),
        pixels=torch.zeros((), dtype=torch.float64, device=device),
    )
    seen = 0
    for images_NHWC, image_NCHW, label_NHW in pool_batches(pool, config, device):
        probabilities = networks.teach(image_NCHW)
        _count(sums, probabilities, label_NHW)
        if networks.discriminator is not None and seen < GAUGED_TILES:
            sums.judged.append(_ask(networks, image_NCHW, label_NHW, probabilities))
        seen += len(images_NHWC)
    scores = Scores.from_confusion(sums.matrix.view(classes, classes).cpu().numpy(), schema.names)
    return Look(scores, _gauges(sums, scores), _examples(networks, pool, config, examples))


def shown_gauge(config: DiscriminatorConfig) -> str:
    """The gauge of what a discriminator is shown in training: probabilities, or classes."""
    return "d_argmax" if config.fake_input == "argmax" else "d_soft"


def pool_batches(
    pool: Pool, config: TrainConfig, device: torch.device
) -> Iterator[tuple[NDArray[np.uint8], Tensor, Tensor]]:
    """All labelled tiles of a pool in order, unchanged: images, the same standardised, labels."""
    size = config.sampler.batch_size
    for start in range(0, len(pool), size):
        positions = list(range(start, min(start + size, len(pool))))
        images = pool.images(positions)
        unit = to_unit(images, device)
        standard = standardise(unit, *config.segmentor.input_statistics)
        yield images, standard, torch.from_numpy(pool.labels(positions)).to(device)


def _count(sums: _Sums, probabilities_NKHW: Tensor, label_NHW: Tensor) -> None:
    classes = probabilities_NKHW.shape[1]
    known_NHW = known_pixels(label_NHW).squeeze(1).bool()
    confidence_NHW, predicted_NHW = probabilities_NKHW.max(dim=1)
    truth, predicted = label_NHW[known_NHW].long(), predicted_NHW[known_NHW]
    sums.matrix += torch.bincount(truth * classes + predicted, minlength=classes * classes)
    confidence = confidence_NHW[known_NHW].double()
    place = (confidence * BINS).long().clamp_max(BINS - 1)
    right = (truth == predicted).double()
    for row, values in enumerate((torch.ones_like(right), right, confidence)):
        sums.bins[row] += torch.bincount(place, weights=values, minlength=BINS)
    sums.entropy += entropy_map(probabilities_NKHW)[known_NHW].double().sum()
    sums.pixels += known_NHW.sum()


def _ask(
    networks: Networks, image_NCHW: Tensor, label_NHW: Tensor, probabilities_NKHW: Tensor
) -> dict[str, Tensor]:
    known_N1HW = known_pixels(label_NHW)
    truth_NKHW = one_hot(label_NHW, probabilities_NKHW.shape[1])
    shown = {
        "d_real": truth_NKHW,
        "d_soft": probabilities_NKHW * known_N1HW,
        "d_argmax": hard(probabilities_NKHW) * known_N1HW,
    }
    if len(image_NCHW) > 1:
        shown["d_other"] = truth_NKHW.roll(1, dims=0)
    return {name: mean_over(networks.ask(image_NCHW, planes), known_N1HW) for name, planes in shown.items()}


def _examples(networks: Networks, pool: Pool, config: TrainConfig, count: int) -> dict[str, NDArray[Any]]:
    """The same tiles at every look, chosen so that the classes come up in turn."""
    chosen = first_in_turn(
        pool.class_pixels(), count, seed=config.seed, min_pixels=config.sampler.min_class_pixels
    )
    few = Pool(pool.stores, pool.places[chosen])
    batches = pool_batches(few, config, networks.fabric.device)
    parts = [_example(networks, config, *batch) for batch in batches]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _example(
    networks: Networks,
    config: TrainConfig,
    images_NHWC: NDArray[np.uint8],
    image_NCHW: Tensor,
    label_NHW: Tensor,
) -> dict[str, NDArray[Any]]:
    probabilities_NKHW = networks.teach(image_NCHW)
    parts: dict[str, NDArray[Any]] = {
        "image": images_NHWC,
        "truth": label_NHW.cpu().numpy(),
        "prediction": likeliest(probabilities_NKHW).to(torch.uint8).cpu().numpy(),
    }
    if networks.discriminator is not None:
        shown_NKHW = as_shown(probabilities_NKHW, config.discriminator)
        parts["d_map"] = networks.ask(image_NCHW, shown_NKHW)[:, 0].cpu().numpy()
    return parts


def _gauges(sums: _Sums, scores: Scores) -> dict[str, float]:
    count, right, confidence = sums.bins.cpu().numpy()
    gauges = {
        "entropy": float(sums.entropy / sums.pixels.clamp_min(1)),
        "ece": calibration_error(count, right, confidence),
    }
    for name in sums.judged[0] if sums.judged else ():
        values = [float(judged[name]) for judged in sums.judged if name in judged]
        gauges[name] = float(np.mean(values))
    truth, predicted = scores.matrix.sum(axis=1), scores.matrix.sum(axis=0)
    for name, true, found in zip(scores.names, truth, predicted, strict=True):
        if true:
            gauges[f"area_ratio/{name}"] = float(found / true)
    return gauges


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
