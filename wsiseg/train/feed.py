"""The mini-batches of each step, by phase."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from wsiseg.config.training import PhaseConfig, TrainConfig
from wsiseg.train.data import Batch, Pools, make_stream


@dataclass(frozen=True)
class StepBatches:
    """The mini-batches of a step; the discriminator never learns from those of the segmentor."""

    labelled: Batch | None
    unlabelled: Batch | None
    d_labelled: Batch | None
    d_unlabelled: Batch | None


def batch_maker(
    pools: Pools,
    config: TrainConfig,
    phase: PhaseConfig,
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
) -> Callable[[int], StepBatches]:
    """What makes the batches of a phase, as a function of their number alone."""
    judged = config.is_adversarial and phase.discriminator != "frozen"
    refreshed = judged and phase.unlabelled and phase.discriminator == "refresh"

    def stream(use: str, *, labelled: bool, wanted: bool) -> Callable[[int], Batch] | None:
        if not wanted:
            return None
        part, pool = ("labelled", pools.labelled) if labelled else ("unlabelled", pools.unlabelled)
        drawn = make_stream(pool, part + use, config, device, labelled=labelled, rank=rank, world=world)
        return drawn.batch

    to_judge = " for the discriminator"
    labelled = stream("", labelled=True, wanted=phase.labelled)
    unlabelled = stream("", labelled=False, wanted=phase.unlabelled)
    d_labelled = stream(to_judge, labelled=True, wanted=judged)
    d_unlabelled = stream(to_judge, labelled=False, wanted=refreshed)
    period = config.discriminator.every * config.accumulate

    def make(number: int) -> StepBatches:
        # The discriminator counts its own batches: by the segmentor's numbers, one that learns in every third
        # step would draw every third batch alone, and of three classes some would never be drawn by quota.
        d_number, passed = divmod(number, period)
        return StepBatches(
            labelled(number) if labelled else None,
            unlabelled(number) if unlabelled else None,
            d_labelled(d_number) if d_labelled and not passed else None,
            d_unlabelled(d_number) if d_unlabelled and not passed else None,
        )

    return make
