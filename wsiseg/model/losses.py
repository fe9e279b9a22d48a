"""The objectives, as pure functions.

Shapes: N tiles, K classes, H x W pixels; ``h x w`` is the grid of the discriminator's map, which is
H x W for the FCN. ``valid_N1hw`` weighs each place of that map: 0 where the label is unknown.

With S the segmentor, D the discriminator (a probability a place), x an image, y its one-hot label:

====  ===========================================================================================
eq.   objective
====  ===========================================================================================
(1)   ``L_D = (BCE(D(x, y), 1) + BCE(D(x, S(x)), t)) / 2``, t = 0 or the correctness of S(x)
(2)   ``L_G = L_CCE(S(x), y) + lambda_1 BCE(D(x, S(x)), 1)`` on labelled tiles
(3)   ``L_G = lambda_2 BCE(D(x, S(x)), 1)`` on unlabelled tiles
====  ===========================================================================================

The source writes L_D as a sum; the mean of the two halves differs by a factor that the learning rate
takes up, and puts "cannot tell" at ln 2 whatever the number of fakes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from wsiseg.classes import IGNORE_INDEX
from wsiseg.config.training import DiscriminatorConfig


def cross_entropy(logits_NKHW: Tensor, label_NHW: Tensor, weight_K: Tensor | None = None) -> Tensor:
    """L_CCE of equation (2): ``-sum(w[y] log p[y]) / sum(w[y])`` over the known pixels; 0 where none is.

    Dividing by the summed weights, not by a count, keeps the size of the loss when tiles are rare in a
    class or partly ignored.
    """
    each_NHW = functional.cross_entropy(
        logits_NKHW.float(), label_NHW.long(), weight=weight_K, ignore_index=IGNORE_INDEX, reduction="none"
    )
    known_NHW = label_NHW != IGNORE_INDEX
    if weight_K is None:
        total = known_NHW.sum().to(each_NHW.dtype)
    else:
        total = weight_K[label_NHW.long().masked_fill(~known_NHW, 0)].mul(known_NHW).sum()
    return each_NHW.sum() / total.clamp_min(torch.finfo(torch.float32).tiny)


def dice_loss(logits_NKHW: Tensor, label_NHW: Tensor) -> Tensor:
    """Soft Dice, ``1 - mean_k 2 sum(p_k y_k) / (sum(p_k) + sum(y_k))``, over the batch's known pixels.

    The mean is over the classes that the batch shows: an absent class has no overlap to improve.
    Source: Milletari et al., V-Net (2016), without squares in the denominator.
    """
    known_N1HW = (label_NHW != IGNORE_INDEX).unsqueeze(1)
    probabilities_NKHW = logits_NKHW.float().softmax(dim=1) * known_N1HW
    truth_NKHW = one_hot(label_NHW, logits_NKHW.shape[1])
    overlap_K = (probabilities_NKHW * truth_NKHW).sum(dim=(0, 2, 3))
    truth_K = truth_NKHW.sum(dim=(0, 2, 3))
    sizes_K = probabilities_NKHW.sum(dim=(0, 2, 3)) + truth_K
    present_K = truth_K > 0
    if not bool(present_K.any()):
        return logits_NKHW.sum() * 0.0
    return 1 - (2 * overlap_K[present_K] / sizes_K[present_K]).mean()


def place_bce(logits_N1hw: Tensor, target_N1hw: Tensor, valid_N1hw: Tensor) -> Tensor:
    """Binary cross-entropy a place, ``-t log D - (1 - t) log(1 - D)``, averaged with weights ``valid``."""
    each = functional.binary_cross_entropy_with_logits(logits_N1hw.float(), target_N1hw, reduction="none")
    return (each * valid_N1hw).sum() / valid_N1hw.sum().clamp_min(torch.finfo(torch.float32).tiny)


def adversarial_loss(logits_N1hw: Tensor, valid_N1hw: Tensor) -> Tensor:
    """The L_BCE of equations (2) and (3): the discriminator should call the prediction real."""
    return place_bce(logits_N1hw, torch.ones_like(valid_N1hw), valid_N1hw)


def one_hot(label_NHW: Tensor, classes: int) -> Tensor:
    """Label map to planes ``(N, K, H, W)`` of 0 and 1; a pixel of unknown class is 0 in every plane."""
    steps_K = torch.arange(classes, device=label_NHW.device).view(1, -1, 1, 1)
    return (label_NHW.unsqueeze(1) == steps_K).float()


def likeliest(scores_NKHW: Tensor) -> Tensor:
    """The class with the highest score, the first of equals: int64 ``(N, H, W)``.

    ``argmax`` gives the same; along an axis of a few classes it takes up to ten times as long on a CPU.
    """
    return scores_NKHW.max(dim=1).indices


def hard(probabilities_NKHW: Tensor) -> Tensor:
    """The likeliest class as planes of 0 and 1."""
    return one_hot(likeliest(probabilities_NKHW), probabilities_NKHW.shape[1])


def as_shown(probabilities_NKHW: Tensor, config: DiscriminatorConfig) -> Tensor:
    """A prediction as a discriminator of this configuration learns to judge it."""
    return hard(probabilities_NKHW) if config.fake_input == "argmax" else probabilities_NKHW


def entropy_map(probabilities_NKHW: Tensor) -> Tensor:
    """Entropy of the softmax, pixel by pixel, as a share of the greatest possible: 0-1, ``(N, H, W)``."""
    entropy_NHW = -(probabilities_NKHW * probabilities_NKHW.clamp_min(1e-12).log()).sum(dim=1)
    return (entropy_NHW / math.log(probabilities_NKHW.shape[1])).clamp(0, 1)


def correctness(logits_NKHW: Tensor, label_NHW: Tensor) -> Tensor:
    """1 where the likeliest class is the right one, else 0: ``(N, 1, H, W)``."""
    return (likeliest(logits_NKHW) == label_NHW).float().unsqueeze(1)


def straight_through(probabilities_NKHW: Tensor) -> Tensor:
    """The hard classes, with the gradient of the probabilities.

    An argmax hides from the discriminator how sharp a prediction is, which it would otherwise learn
    instead of shapes. Source of the estimator: Bengio, Leonard, Courville (2013).
    """
    hard_NKHW = one_hot(likeliest(probabilities_NKHW), probabilities_NKHW.shape[1])
    return hard_NKHW + probabilities_NKHW - probabilities_NKHW.detach()


def to_places(target_N1HW: Tensor, known_N1HW: Tensor, places: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Bring a target in pixels to the discriminator's grid.

    Returns:
        The target of each place, the mean over its known pixels, and the share of them, as its weight.
    """
    if tuple(target_N1HW.shape[-2:]) == tuple(places):
        return target_N1HW, known_N1HW
    weight_N1hw = functional.adaptive_avg_pool2d(known_N1HW, places)
    total_N1hw = functional.adaptive_avg_pool2d(target_N1HW * known_N1HW, places)
    return total_N1hw / weight_N1hw.clamp_min(1e-6), weight_N1hw


def mean_over(scores_N1hw: Tensor, known_N1HW: Tensor) -> Tensor:
    """Mean of a discriminator's scores over what is known, places weighted by their share of it; a scalar."""
    _, weight_N1hw = to_places(known_N1HW, known_N1HW, (scores_N1hw.shape[-2], scores_N1hw.shape[-1]))
    return (scores_N1hw * weight_N1hw).sum() / weight_N1hw.sum().clamp_min(1e-6)


def known_pixels(label_NHW: Tensor) -> Tensor:
    """1 where the label is known, else 0: ``(N, 1, H, W)``."""
    return (label_NHW != IGNORE_INDEX).float().unsqueeze(1)


def class_weights(pixels_K: Tensor, exponent: float) -> Tensor:
    """Weights ``(1 / share) ** exponent``, scaled so that their mean over all pixels is 1.

    Args:
        pixels_K: Known pixels of each class; a class without any weighs nothing.
        exponent: 0 for equal weights, 1 for full balance.
    """
    share_K = pixels_K.double() / pixels_K.sum().clamp_min(1)
    weight_K = torch.where(share_K > 0, share_K.clamp_min(1e-6) ** -exponent, 0.0)
    return (weight_K / (weight_K * share_K).sum().clamp_min(1e-12)).float()
