"""Pseudo-labels: what the averaged segmentor sees on unlabelled tiles, gated pixel by pixel."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsiseg.classes import IGNORE_INDEX
from wsiseg.config.training import PseudoLabelConfig
from wsiseg.model.discriminator import score_pixels
from wsiseg.model.losses import as_shown
from wsiseg.train.data import Batch
from wsiseg.train.networks import Networks


@dataclass(frozen=True)
class PseudoLabels:
    """Labels that a network made.

    Attributes:
        label_NHW: Classes; ``IGNORE_INDEX`` where the gate is shut.
        kept_share: Share of the pixels that the gate lets through, a scalar.
    """

    label_NHW: Tensor
    kept_share: Tensor


def make_pseudo_labels(networks: Networks, batch: Batch, config: PseudoLabelConfig) -> PseudoLabels:
    """Ask the average for labels on the weakly augmented tiles, and keep the trustworthy ones."""
    probabilities_NKHW = networks.teach(batch.weak_NCHW)
    confidence_NHW, label_NHW = probabilities_NKHW.max(dim=1)
    trust_NHW = confidence_NHW
    if config.gate != "confidence" and networks.discriminator is not None:
        shown_NKHW = as_shown(probabilities_NKHW, networks.discriminator.config)
        with torch.no_grad():
            verdict_N1hw = networks.judge(batch.weak_NCHW, shown_NKHW)
        score_NHW = score_pixels(verdict_N1hw, label_NHW.shape[-2:])
        trust_NHW = score_NHW if config.gate == "discriminator" else score_NHW * confidence_NHW
    kept_NHW = gate(label_NHW, trust_NHW, config.keep_share, config.min_score)
    return PseudoLabels(label_NHW.masked_fill(~kept_NHW, IGNORE_INDEX), kept_NHW.float().mean())


def gate(label_NHW: Tensor, trust_NHW: Tensor, keep_share: float, min_score: float) -> Tensor:
    """The best-trusted share of *each predicted class*, never below ``min_score``; bool ``(N, H, W)``.

    One threshold for all would let the background through and shut out podocytes, which no network is
    ever as sure about.
    """
    kept_NHW = torch.zeros_like(label_NHW, dtype=torch.bool)
    for k in torch.unique(label_NHW).tolist():
        of_class_NHW = label_NHW == k
        threshold = _quantile(trust_NHW[of_class_NHW], 1 - keep_share)
        kept_NHW |= of_class_NHW & (trust_NHW >= threshold)
    return kept_NHW & (trust_NHW >= min_score)


def cutmix(
    image_NCHW: Tensor, pseudo: PseudoLabels, generator: np.random.Generator
) -> tuple[Tensor, PseudoLabels]:
    """Paste one random box of each tile into the next tile of the batch, with its labels.

    The box covers a fifth to a half of the tile. Source: French et al. (2020), for segmentation.
    """
    height, width = image_NCHW.shape[-2:]
    side = np.sqrt(generator.uniform(0.2, 0.5))
    box_height, box_width = max(1, round(height * side)), max(1, round(width * side))
    top = int(generator.integers(height - box_height + 1))
    left = int(generator.integers(width - box_width + 1))
    rows, columns = slice(top, top + box_height), slice(left, left + box_width)
    mixed_NCHW, label_NHW = image_NCHW.clone(), pseudo.label_NHW.clone()
    mixed_NCHW[..., rows, columns] = image_NCHW.roll(1, dims=0)[..., rows, columns]
    label_NHW[..., rows, columns] = pseudo.label_NHW.roll(1, dims=0)[..., rows, columns]
    return mixed_NCHW, PseudoLabels(label_NHW, pseudo.kept_share)


def _quantile(values: Tensor, share: float) -> Tensor:
    """The value below which ``share`` of the values lie; without the size limit of ``torch.quantile``."""
    rank = min(len(values) - 1, int(share * len(values)))
    return values.kthvalue(rank + 1).values
