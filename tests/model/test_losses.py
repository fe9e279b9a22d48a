"""Loss terms against numbers worked out by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from wsiseg.classes import IGNORE_INDEX
from wsiseg.model.losses import (
    adversarial_loss,
    class_weights,
    correctness,
    cross_entropy,
    dice_loss,
    known_pixels,
    likeliest,
    one_hot,
    place_bce,
    straight_through,
    to_places,
)


def logits_of(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """One row of pixels with these class probabilities: ``(1, K, 1, pixels)``."""
    return torch.tensor(probabilities).log().T.reshape(1, len(probabilities[0]), 1, len(probabilities))


def label_of(*labels: int) -> torch.Tensor:
    return torch.tensor(labels, dtype=torch.uint8).reshape(1, 1, -1)


def test_cross_entropy_is_the_mean_of_minus_log_p() -> None:
    logits = logits_of((0.5, 0.5), (0.25, 0.75))
    # -(ln 0.5 + ln 0.75) / 2
    assert_close(cross_entropy(logits, label_of(0, 1)), torch.tensor((math.log(2) + math.log(4 / 3)) / 2))


def test_cross_entropy_divides_by_the_summed_weights() -> None:
    logits = logits_of((0.5, 0.5), (0.25, 0.75))
    # -(1 ln 0.5 + 3 ln 0.75) / (1 + 3)
    expected = (math.log(2) + 3 * math.log(4 / 3)) / 4
    weights = torch.tensor([1.0, 3.0])
    assert_close(cross_entropy(logits, label_of(0, 1), weights), torch.tensor(expected))


def test_cross_entropy_leaves_unknown_pixels_out() -> None:
    logits = logits_of((0.5, 0.5), (0.001, 0.999))
    assert_close(cross_entropy(logits, label_of(0, IGNORE_INDEX)), torch.tensor(math.log(2)))
    assert_close(
        cross_entropy(logits, label_of(0, IGNORE_INDEX), torch.tensor([2.0, 1.0])), torch.tensor(math.log(2))
    )


def test_losses_of_nothing_known_are_zero_with_a_zero_gradient() -> None:
    logits = logits_of((0.5, 0.5)).requires_grad_()
    unknown = label_of(IGNORE_INDEX)
    (cross_entropy(logits, unknown) + dice_loss(logits, unknown)).backward()
    assert logits.grad is not None
    assert_close(logits.grad, torch.zeros_like(logits))


def test_dice_by_hand() -> None:
    logits = logits_of((0.8, 0.2), (0.4, 0.6))
    # class 0: 2 * 0.8 / (1.2 + 1) = 8/11; class 1: 2 * 0.6 / (0.8 + 1) = 2/3
    assert_close(dice_loss(logits, label_of(0, 1)), torch.tensor(1 - (8 / 11 + 2 / 3) / 2))


def test_dice_counts_neither_absent_classes_nor_unknown_pixels() -> None:
    logits = logits_of((0.8, 0.2), (0.4, 0.6), (0.1, 0.9))
    # Only class 0 is there: 2 * (0.8 + 0.4) / (1.2 + 2)
    assert_close(dice_loss(logits, label_of(0, 0, IGNORE_INDEX)), torch.tensor(1 - 2.4 / 3.2))


def test_place_bce_by_hand() -> None:
    logits = torch.tensor([0.25, 0.9, 0.5]).logit().reshape(1, 1, 1, 3)
    target = torch.tensor([1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    valid = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 1, 1, 3)
    # (ln 4 + 0.5 ln 10) / 1.5; the third place is unknown
    assert_close(place_bce(logits, target, valid), torch.tensor((math.log(4) + 0.5 * math.log(10)) / 1.5))


def test_adversarial_loss_asks_for_real() -> None:
    logits = torch.tensor([0.25, 0.5]).logit().reshape(1, 1, 1, 2)
    expected = (math.log(4) + math.log(2)) / 2
    assert_close(adversarial_loss(logits, torch.ones(1, 1, 1, 2)), torch.tensor(expected))


def test_one_hot_is_blank_where_unknown() -> None:
    planes = one_hot(label_of(1, IGNORE_INDEX, 0), 2)
    assert planes[0, :, 0].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert known_pixels(label_of(1, IGNORE_INDEX, 0)).flatten().tolist() == [1, 0, 1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_likeliest_class_is_that_of_argmax_and_the_first_of_equals(layout: torch.memory_format) -> None:
    few = torch.randint(0, 3, (2, 4, 8, 9), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(likeliest(few.contiguous(memory_format=layout)), few.argmax(dim=1))


def test_correctness_is_per_pixel() -> None:
    logits = logits_of((0.8, 0.2), (0.8, 0.2), (0.3, 0.7))
    assert correctness(logits, label_of(0, 1, 1)).flatten().tolist() == [1, 0, 1]


def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    probabilities = torch.tensor([[0.6, 0.4]]).reshape(1, 2, 1, 1).requires_grad_()
    shown = straight_through(probabilities)
    assert shown.flatten().tolist() == [1, 0]
    (shown * torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1)).sum().backward()
    assert probabilities.grad is not None
    assert probabilities.grad.flatten().tolist() == [3, 5]


def test_places_average_the_known_pixels_and_weigh_by_their_share() -> None:
    target = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).reshape(1, 1, 2, 2)
    known = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
    place, weight = to_places(target, known, (1, 1))
    assert place.item() == pytest.approx(2 / 3)
    assert weight.item() == pytest.approx(3 / 4)


def test_places_of_the_same_size_are_left_alone() -> None:
    target, known = torch.rand(1, 1, 2, 3), torch.rand(1, 1, 2, 3)
    place, weight = to_places(target, known, (2, 3))
    assert place is target
    assert weight is known


def test_class_weights_average_to_one_over_the_pixels() -> None:
    pixels = torch.tensor([90, 10, 0])
    weights = class_weights(pixels, 1.0)
    # Full balance: shares 0.9 and 0.1 weigh 1/0.9 and 1/0.1, scaled by 1/2.
    assert_close(weights, torch.tensor([1 / 1.8, 5.0, 0.0]))
    assert_close(class_weights(pixels, 0.0), torch.tensor([1.0, 1.0, 0.0]))
