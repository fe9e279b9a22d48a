"""The best and the worst test tile of a cell, drawn for people to look at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX
from wsiseg.model.checkpoint import TrainedModel
from wsiseg.model.losses import as_shown, likeliest
from wsiseg.study.judge import score_map
from wsiseg.tilestore import TileStore
from wsiseg.train.plots import plot_examples

_MIN_SHARE = 0.01
"""Of a tile's known pixels must show something: an empty tile is right at once and teaches nothing."""


@dataclass(frozen=True)
class _Offer:
    score: float
    store: TileStore
    tile: int


@dataclass
class Samples:
    """Remembers which tile has the highest and which the lowest mean IoU."""

    best: _Offer | None = field(default=None, init=False)
    worst: _Offer | None = field(default=None, init=False)

    def see(self, store: TileStore, tiles: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Take note of tiles of a store.

        Args:
            store: Where they lie.
            tiles: Their positions, ``(n,)``.
            counts: Confusion matrix of each, ``(n, K, K)``, row the true class.
        """
        for tile, matrix in zip(tiles.tolist(), counts, strict=True):
            if matrix[1:].sum() < max(1.0, _MIN_SHARE * matrix.sum()):
                continue
            offer = _Offer(tile_score(matrix), store, tile)
            if self.best is None or offer.score > self.best.score:
                self.best = offer
            if self.worst is None or offer.score < self.worst.score:
                self.worst = offer

    def draw(self, model: TrainedModel, target: Path) -> None:
        """Predict the two tiles once more and draw them: image, truth, prediction, discriminator's map.

        Raises:
            StoreError: A tile cannot be read.
            OutputError: The picture cannot be written.
        """
        named = {"best": self.best, "worst": self.worst}
        found = {name: offer for name, offer in named.items() if offer is not None}
        if not found:
            return
        shown = [_shown(model, offer) for offer in found.values()]
        rows = [f"{name}: {each.store.name}\nmean IoU {each.score:.2f}" for name, each in found.items()]
        columns = {name: np.concatenate([each[name] for each in shown]) for name in shown[0]}
        plot_examples(model.schema, columns, target, rows=rows)


def tile_score(matrix: NDArray[np.int64]) -> float:
    """Mean IoU over the classes that a tile shows or is said to show."""
    hits = np.diag(matrix).astype(float)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    return float((hits[union > 0] / union[union > 0]).mean())


def _shown(model: TrainedModel, offer: _Offer) -> dict[str, NDArray[Any]]:
    """One row of the picture, each array with a leading axis of 1."""
    images, labels = offer.store.images([offer.tile]), offer.store.labels([offer.tile])
    image_NCHW = model.normalise(images)
    with torch.no_grad():
        probabilities_NKHW = model.segmentor(image_NCHW).float().softmax(dim=1)
    prediction = likeliest(probabilities_NKHW).to(torch.uint8).cpu().numpy()
    prediction[labels == IGNORE_INDEX] = IGNORE_INDEX
    row: dict[str, NDArray[Any]] = {"image": images, "truth": labels, "prediction": prediction}
    if model.discriminator is not None:
        shown_NKHW = as_shown(probabilities_NKHW, model.discriminator.config)
        row["d_map"] = score_map(model.discriminator, image_NCHW, shown_NKHW).cpu().numpy()
    return row
