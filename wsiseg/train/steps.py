"""One function for each step, each touching its own network only.

The equations are numbered as in ``wsiseg.model.losses``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsiseg.config.training import DiscriminatorConfig, LossConfig, PseudoLabelConfig
from wsiseg.model.losses import (
    adversarial_loss,
    as_shown,
    correctness,
    cross_entropy,
    dice_loss,
    hard,
    known_pixels,
    mean_over,
    one_hot,
    place_bce,
    straight_through,
    to_places,
)
from wsiseg.train.data import Batch
from wsiseg.train.networks import Networks
from wsiseg.train.pseudo import PseudoLabels, cutmix, make_pseudo_labels

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """What stays the same from step to step.

    Attributes:
        weight_K: Class weights of the cross-entropy on labelled tiles.
        losses: Weights of the labelled terms.
        discriminator: What is shown to the discriminator and what it should answer.
        pseudo_labels: How pseudo-labels are gated and mixed.
    """

    weight_K: Tensor
    losses: LossConfig
    discriminator: DiscriminatorConfig
    pseudo_labels: PseudoLabelConfig


@dataclass(frozen=True)
class Weights:
    """The weights of a step's terms, after ramp and back-off.

    Attributes:
        labelled: lambda_1.
        unlabelled: lambda_2.
        pseudo: Of the loss on pseudo-labels; None without them.
    """

    labelled: float
    unlabelled: float
    pseudo: float | None


@dataclass(frozen=True)
class _Shown:
    """Something shown to the discriminator, with what it should answer."""

    image_NCHW: Tensor
    segmentation_NKHW: Tensor
    target_N1HW: Tensor
    known_N1HW: Tensor


def discriminator_loss(
    networks: Networks, labelled: Batch, unlabelled: Batch | None, config: DiscriminatorConfig
) -> tuple[Tensor, Metrics]:
    """Equation (1). A gradient reaches the discriminator alone; the segmentor's statistics stay.

    All that is shown passes in one forward: two before one backward do not work across processes.
    """
    if networks.discriminator_wrapped is None:
        raise ValueError("this run has no discriminator")
    shown = _real_and_fakes(networks, labelled, config)
    if unlabelled is not None:
        shown.append(_unlabelled_fake(networks, unlabelled, config))
    logits = networks.discriminator_wrapped(
        torch.cat([part.image_NCHW for part in shown]), torch.cat([part.segmentation_NKHW for part in shown])
    )
    parts = logits.float().split([len(part.image_NCHW) for part in shown])
    losses = [
        place_bce(part_N1hw, *_in_places(what.target_N1HW, what.known_N1HW, part_N1hw))
        for part_N1hw, what in zip(parts, shown, strict=True)
    ]
    loss = (losses[0] + torch.stack(losses[1:]).mean()) / 2
    scores = {
        name: mean_over(part_N1hw.detach().sigmoid(), what.known_N1HW)
        for name, part_N1hw, what in zip(("d_real", "d_fake"), parts, shown, strict=False)
    }
    return loss, {"d_loss": loss.detach(), **scores}


def supervised_loss(
    networks: Networks,
    logits_NKHW: Tensor,
    batch: Batch,
    objective: Objective,
    lambda_1: float,
) -> tuple[Tensor, Metrics]:
    """Equation (2), with soft Dice beside the cross-entropy where it has a weight."""
    label_NHW, losses = batch.labels(), objective.losses
    ce = cross_entropy(logits_NKHW, label_NHW, objective.weight_K)
    loss, metrics = losses.cross_entropy * ce, {"ce": ce.detach()}
    if losses.dice > 0:
        dice = dice_loss(logits_NKHW, label_NHW)
        loss, metrics["dice"] = loss + losses.dice * dice, dice.detach()
    if lambda_1 > 0 and networks.discriminator is not None:
        known_N1HW = known_pixels(label_NHW)
        adversarial = _asked_for_real(
            networks, batch.image_NCHW, logits_NKHW, known_N1HW, objective.discriminator
        )
        loss, metrics["adv"] = loss + lambda_1 * adversarial, adversarial.detach()
    return loss, metrics


def unsupervised_loss(
    networks: Networks,
    logits_NKHW: Tensor,
    image_NCHW: Tensor,
    pseudo: PseudoLabels | None,
    *,
    objective: Objective,
    weights: Weights,
) -> tuple[Tensor, Metrics]:
    """Equation (3), with gated pseudo-labels beside it where there are any.

    Under Adam a lone lambda_2 BCE is scale-free: lambda_2 then changes nothing.
    """
    loss, metrics = logits_NKHW.sum() * 0.0, Metrics()
    if weights.unlabelled > 0 and networks.discriminator is not None:
        everywhere_N1HW = torch.ones_like(logits_NKHW[:, :1])
        adversarial = _asked_for_real(
            networks, image_NCHW, logits_NKHW, everywhere_N1HW, objective.discriminator
        )
        loss, metrics["adv_unlabelled"] = loss + weights.unlabelled * adversarial, adversarial.detach()
    if pseudo is not None and weights.pseudo is not None:
        agreement = cross_entropy(logits_NKHW, pseudo.label_NHW)
        # Scaled by the kept share: a few kept pixels must not weigh as much as a whole tile.
        loss = loss + weights.pseudo * pseudo.kept_share * agreement
        metrics |= {"pseudo_ce": agreement.detach(), "pseudo_kept": pseudo.kept_share}
    return loss, metrics


def segmentor_loss(
    networks: Networks,
    labelled: Batch | None,
    unlabelled: Batch | None,
    *,
    objective: Objective,
    weights: Weights,
    generator: np.random.Generator,
    record: bool = True,
) -> tuple[Tensor, Metrics]:
    """The segmentor's whole objective in a step. A gradient reaches the segmentor alone.

    Labelled and unlabelled tiles pass in one forward, so BatchNorm sees the slides that it will meet;
    ``record`` says whether its running statistics follow them.
    """
    pseudo, unlabelled_image = None, None if unlabelled is None else unlabelled.image_NCHW
    if unlabelled is not None and weights.pseudo is not None:
        pseudo = make_pseudo_labels(networks, unlabelled, objective.pseudo_labels)
        if objective.pseudo_labels.cutmix:
            unlabelled_image, pseudo = cutmix(unlabelled.image_NCHW, pseudo, generator)
    images = [] if labelled is None else [labelled.image_NCHW]
    images += [] if unlabelled_image is None else [unlabelled_image]
    together_NCHW = torch.cat(images) if len(images) > 1 else images[0]
    logits_NKHW = networks.segment(together_NCHW, record=record)
    split = 0 if labelled is None else len(labelled.image_NCHW)
    loss, metrics = logits_NKHW.sum() * 0.0, Metrics()
    if labelled is not None:
        part, more = supervised_loss(networks, logits_NKHW[:split], labelled, objective, weights.labelled)
        loss, metrics = loss + part, metrics | more
    if unlabelled_image is not None:
        part, more = unsupervised_loss(
            networks,
            logits_NKHW[split:],
            unlabelled_image,
            pseudo,
            objective=objective,
            weights=weights,
        )
        loss, metrics = loss + part, metrics | more
    return loss, {"g_loss": loss.detach(), **metrics}


def _real_and_fakes(networks: Networks, batch: Batch, config: DiscriminatorConfig) -> list[_Shown]:
    label_NHW, image_NCHW = batch.labels(), batch.image_NCHW
    known_N1HW = known_pixels(label_NHW)
    logits_NKHW = networks.predict(image_NCHW)
    classes = logits_NKHW.shape[1]
    real = _Shown(image_NCHW, one_hot(label_NHW, classes), torch.ones_like(known_N1HW), known_N1HW)
    probabilities = logits_NKHW.softmax(dim=1)
    fake = as_shown(probabilities, config)
    target = correctness(logits_NKHW, label_NHW)
    # Unknown pixels are blank in the real planes; blank in the fakes too, they give nothing away.
    shown = [real, _Shown(image_NCHW, fake * known_N1HW, _or_zeros(target, config), known_N1HW)]
    if config.mismatched_pairs and len(image_NCHW) > 1:
        other_NHW = label_NHW.roll(1, dims=0)
        both_N1HW = known_N1HW * known_pixels(other_NHW)
        same_N1HW = (other_NHW == label_NHW).float().unsqueeze(1)
        planes = one_hot(other_NHW, classes) * both_N1HW
        shown.append(_Shown(image_NCHW, planes, _or_zeros(same_N1HW, config), both_N1HW))
    return shown


def _unlabelled_fake(networks: Networks, batch: Batch, config: DiscriminatorConfig) -> _Shown:
    """A prediction on unlabelled tiles.

    Its correctness is unknown; the average's probability of the predicted class stands in for it, a soft
    target that cross-entropy takes as it is.
    """
    probabilities = networks.predict(batch.image_NCHW).softmax(dim=1)
    planes = hard(probabilities)
    fake = planes if config.fake_input == "argmax" else probabilities
    everywhere = torch.ones_like(planes[:, :1])
    if config.fake_target == "zeros":
        return _Shown(batch.image_NCHW, fake, torch.zeros_like(everywhere), everywhere)
    believed = (networks.teach(batch.weak_NCHW) * planes).sum(dim=1, keepdim=True)
    return _Shown(batch.image_NCHW, fake, believed, everywhere)


def _or_zeros(target_N1HW: Tensor, config: DiscriminatorConfig) -> Tensor:
    return torch.zeros_like(target_N1HW) if config.fake_target == "zeros" else target_N1HW


def _asked_for_real(
    networks: Networks,
    image_NCHW: Tensor,
    logits_NKHW: Tensor,
    known_N1HW: Tensor,
    config: DiscriminatorConfig,
) -> Tensor:
    probabilities = logits_NKHW.softmax(dim=1)
    shown = straight_through(probabilities) if config.fake_input == "argmax" else probabilities
    verdict_N1hw = networks.judge(image_NCHW, shown * known_N1HW)
    _, weight_N1hw = _in_places(known_N1HW, known_N1HW, verdict_N1hw)
    return adversarial_loss(verdict_N1hw, weight_N1hw)


def _in_places(target_N1HW: Tensor, known_N1HW: Tensor, like_N1hw: Tensor) -> tuple[Tensor, Tensor]:
    height, width = like_N1hw.shape[-2:]
    return to_places(target_N1HW, known_N1HW, (height, width))


def mean_metrics(history: Sequence[Metrics]) -> dict[str, float]:
    """Average what the steps since the last look reported; a name counts where it occurs."""
    names = dict.fromkeys(name for metrics in history for name in metrics)
    return {
        name: float(torch.stack([metrics[name].float() for metrics in history if name in metrics]).mean())
        for name in names
    }
