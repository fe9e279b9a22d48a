"""What the discriminator knows: its gauges, and whether its map finds the pixels that are wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiseg.config.training import TrainConfig
from wsiseg.model.discriminator import Discriminator, score_pixels
from wsiseg.model.losses import entropy_map, hard, known_pixels, likeliest, one_hot
from wsiseg.study.tallies import Calibration, Ranking, found_first


@dataclass(frozen=True)
class Seen:
    """A batch of test tiles with what was predicted on them.

    Attributes:
        image_NCHW: Standardised.
        label_NHW: Truth; ``IGNORE_INDEX`` where it is unknown.
        counted_NHW: bool, where it is known and the tile owns the pixel.
        probabilities_NKHW: Of the segmentor.
        tiles: Their positions in their store.
    """

    image_NCHW: Tensor
    label_NHW: Tensor
    counted_NHW: Tensor
    probabilities_NKHW: Tensor
    tiles: tuple[int, ...] = ()

    @property
    def right_NHW(self) -> Tensor:
        """Where the likeliest class is the true one, bool."""
        return likeliest(self.probabilities_NKHW) == self.label_NHW

    @property
    def entropy_NHW(self) -> Tensor:
        """Of the probabilities, 0 sure to 1 clueless."""
        return entropy_map(self.probabilities_NKHW)


@dataclass
class Judge:
    """Collects what a discriminator says about test tiles.

    Attributes:
        discriminator: In evaluation mode.
        knows_right: Whether it learnt where the segmentor is right.
    """

    discriminator: Discriminator
    knows_right: bool
    calibration: Calibration = field(default_factory=Calibration)
    by_score: Ranking = field(default_factory=Ranking)
    by_entropy: Ranking = field(default_factory=Ranking)
    gauges: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    tiles: list[NDArray[np.float64]] = field(default_factory=list)

    def see(self, seen: Seen) -> None:
        """Ask about one batch. Unknown pixels are blank in all that is shown, as in training."""
        known_N1HW = known_pixels(seen.label_NHW)
        truth_NKHW = one_hot(seen.label_NHW, seen.probabilities_NKHW.shape[1])
        soft_NKHW = seen.probabilities_NKHW
        soft_NHW, hard_NHW = (self._ask(seen, shown * known_N1HW) for shown in (soft_NKHW, hard(soft_NKHW)))
        self._gauge("d_real", self._ask(seen, truth_NKHW), seen.counted_NHW)
        self._gauge("d_soft", soft_NHW, seen.counted_NHW)
        self._gauge("d_argmax", hard_NHW, seen.counted_NHW)
        if len(seen.label_NHW) > 1:
            self._gauge("d_other", self._ask(seen, truth_NKHW.roll(1, dims=0)), seen.counted_NHW)
        if self.knows_right:
            # What it was shown in training is what it knows about.
            shows_classes = self.discriminator.config.fake_input == "argmax"
            self._compare(seen, hard_NHW if shows_classes else soft_NHW)

    def to_json(self) -> dict[str, Any]:
        """Plain data; what cannot be told is None."""
        gauges = {
            name: round(float(total / max(count, 1)), 6) for name, (total, count) in self.gauges.items()
        }
        if not self.knows_right:
            return {"gauges": gauges}
        suspicion, entropy, wrong = np.concatenate(self.tiles, axis=1)
        errors = wrong.astype(np.int64)
        first = {
            "discriminator": found_first(suspicion, errors),
            "entropy": found_first(entropy, errors),
            "best_possible": found_first(wrong, errors),
        }
        return {
            "gauges": gauges,
            "auc": _rounded({"discriminator": self.by_score.auc, "entropy": self.by_entropy.auc}),
            "errors_in_first_fifth": _rounded(first),
            "calibration": self.calibration.to_json(),
        }

    def _ask(self, seen: Seen, planes_NKHW: Tensor) -> Tensor:
        return score_map(self.discriminator, seen.image_NCHW, planes_NKHW)

    def _gauge(self, name: str, verdict_NHW: Tensor, counted_NHW: Tensor) -> None:
        total = float(verdict_NHW[counted_NHW].double().sum())
        self.gauges.setdefault(name, np.zeros(2))
        self.gauges[name] += (total, float(counted_NHW.sum()))

    def _compare(self, seen: Seen, verdict_NHW: Tensor) -> None:
        counted_NHW, entropy_NHW = seen.counted_NHW, seen.entropy_NHW
        right, score, entropy = (
            values[counted_NHW].cpu().numpy() for values in (seen.right_NHW, verdict_NHW, entropy_NHW)
        )
        self.calibration.add(score, right)
        self.by_score.add(1 - score, right)
        self.by_entropy.add(entropy, right)
        maps = ((1 - verdict_NHW) * counted_NHW, entropy_NHW * counted_NHW, counted_NHW & ~seen.right_NHW)
        self.tiles.append(np.stack([part.double().sum(dim=(1, 2)).cpu().numpy() for part in maps]))


def learns_right(train: TrainConfig) -> bool:
    """Whether a method has a discriminator that learns where the segmentor is right.

    One that learns to tell annotations from predictions estimates nothing pixel by pixel.
    """
    return train.is_adversarial and train.discriminator.fake_target == "correctness"


def score_map(discriminator: Discriminator, image_NCHW: Tensor, planes_NKHW: Tensor) -> Tensor:
    """What a discriminator says of a segmentation, pixel by pixel: 0-1, ``(N, H, W)``."""
    with torch.no_grad():
        return score_pixels(discriminator(image_NCHW, planes_NKHW), planes_NKHW.shape[-2:])


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 6) for name, value in values.items()}
