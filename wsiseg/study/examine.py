"""Examining a trained cell on the test slides, straight from their tile stores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiseg.classes import IGNORE_INDEX
from wsiseg.model.checkpoint import TrainedModel
from wsiseg.model.losses import likeliest
from wsiseg.objects import ObjectCounts
from wsiseg.progress import Progress
from wsiseg.study.judge import Judge, Seen, learns_right
from wsiseg.study.samples import Samples
from wsiseg.study.slidemap import SlideMap
from wsiseg.study.slides import Blocks, kept_part, make_blocks
from wsiseg.study.tallies import Calibration
from wsiseg.tilestore import TileStore


@dataclass(frozen=True)
class Examined:
    """What came out on one test slide.

    Attributes:
        slide: Its name.
        blocks: The pieces.
        counts: Confusion matrix of each piece, int64 ``(blocks, K, K)``, row the true class.
        objects: By foreground class; None for a slide too large to be put together.
    """

    slide: str
    blocks: Blocks
    counts: NDArray[np.int64]
    objects: dict[str, ObjectCounts] | None

    def to_json(self) -> dict[str, Any]:
        """Plain data; a row of ``counts`` is a matrix, row by row; of objects: true, predicted, matched."""
        objects = None
        if self.objects is not None:
            objects = {name: [n.truth, n.predicted, n.matched] for name, n in self.objects.items()}
        return {
            "slide": self.slide,
            "tiles_along_a_block": self.blocks.side,
            "blocks": self.blocks.places.tolist(),
            "counts": self.counts.reshape(len(self.counts), -1).tolist(),
            "objects": objects,
        }


def examine(
    model: TrainedModel,
    stores: Sequence[TileStore],
    *,
    progress: Progress,
    batch_size: int = 4,
    samples: Samples | None = None,
) -> dict[str, Any]:
    """Predict every labelled tile of the test slides and count, each pixel of a slide once.

    Args:
        model: The averaged weights of the last step.
        stores: Of the test slides.
        progress: Told of every tile.
        batch_size: Tiles a forward pass.
        samples: Told of every tile's counts, to choose what to draw.

    Returns:
        Plain data: ``slides`` (``Examined``), ``calibration``, and ``discriminator`` where there is one.

    Raises:
        StoreError: A tile cannot be read.
    """
    all_blocks = make_blocks(stores)
    progress.start("examining", sum(len(blocks.tiles) for blocks in all_blocks))
    calibration, judge = Calibration(), _judge(model)
    slides = []
    for store, blocks in zip(stores, all_blocks, strict=True):
        counts = []
        whole = SlideMap(store) if SlideMap.fits(store) else None
        for seen in _batches(model, store, blocks.tiles, batch_size):
            counts.append(_count(seen))
            if whole is not None:
                _put_together(whole, seen)
            _calibrate(calibration, seen)
            if judge is not None:
                judge.see(seen)
            progress.advance(len(seen.label_NHW))
        of_tiles = np.concatenate(counts)
        if samples is not None:
            samples.see(store, blocks.tiles, of_tiles)
        objects = None if whole is None else whole.count()
        slides.append(Examined(store.name, blocks, blocks.add_up(of_tiles), objects))
    return {
        "classes": list(model.schema.names),
        "slides": [slide.to_json() for slide in slides],
        "calibration": calibration.to_json(),
        "discriminator": None if judge is None else judge.to_json(),
    }


def _judge(model: TrainedModel) -> Judge | None:
    if model.discriminator is None:
        return None
    return Judge(model.discriminator, learns_right(model.config.train))


def _batches(
    model: TrainedModel, store: TileStore, tiles: NDArray[np.int64], batch_size: int
) -> Iterator[Seen]:
    for start in range(0, len(tiles), batch_size):
        chosen = tiles[start : start + batch_size].tolist()
        labels = store.labels(chosen)
        owned = np.zeros(labels.shape, dtype=bool)
        for place, tile in enumerate(chosen):
            owned[place][kept_part(store, tile)] = True
        image_NCHW = model.normalise(store.images(chosen))
        with torch.no_grad():
            probabilities_NKHW = model.segmentor(image_NCHW).float().softmax(dim=1)
        device = image_NCHW.device
        yield Seen(
            tiles=tuple(chosen),
            image_NCHW=image_NCHW,
            label_NHW=torch.from_numpy(labels).to(device),
            counted_NHW=torch.from_numpy(owned & (labels != IGNORE_INDEX)).to(device),
            probabilities_NKHW=probabilities_NKHW,
        )


def _count(seen: Seen) -> NDArray[np.int64]:
    """Confusion matrix of each tile, ``(N, K, K)``."""
    tiles, classes = seen.probabilities_NKHW.shape[:2]
    number_NHW: Tensor = torch.arange(tiles, device=seen.label_NHW.device).view(-1, 1, 1)
    predicted_NHW = likeliest(seen.probabilities_NKHW)
    place_NHW = (number_NHW * classes + seen.label_NHW.long()) * classes + predicted_NHW
    counts = torch.bincount(place_NHW[seen.counted_NHW], minlength=tiles * classes * classes)
    return np.asarray(counts.view(tiles, classes, classes).cpu().numpy(), dtype=np.int64)


def _put_together(whole: SlideMap, seen: Seen) -> None:
    predicted_NHW = likeliest(seen.probabilities_NKHW).to(torch.uint8).cpu().numpy()
    for tile, label, predicted in zip(seen.tiles, seen.label_NHW.cpu().numpy(), predicted_NHW, strict=True):
        whole.put(tile, label, predicted)


def _calibrate(calibration: Calibration, seen: Seen) -> None:
    confidence_NHW = seen.probabilities_NKHW.max(dim=1).values
    calibration.add(
        confidence_NHW[seen.counted_NHW].cpu().numpy(), seen.right_NHW[seen.counted_NHW].cpu().numpy()
    )
