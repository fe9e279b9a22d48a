"""The averaged segmentor, which predicts and teaches."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """An exponential moving average of a network, its BatchNorm statistics included.

    Averaging weights but not the statistics that belong to them gives a network that never existed. Early
    on the decay is lowered to ``(1 + n) / (10 + n)``, so that the random beginning is soon forgotten.

    Attributes:
        teacher: The average, in evaluation mode, without gradients.
        updates: Number of updates n so far.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        self.teacher = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the average towards the student."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        pairs = list(zip(_tensors(self.teacher), _tensors(student), strict=True))
        floats = [(mean, value) for mean, value in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in floats], [value for _, value in floats], 1 - decay)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
