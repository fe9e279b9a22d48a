"""The supervised twin of a run: the same in everything but what it learns from."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from wsiseg.config.root import Config
from wsiseg.config.training import PhaseConfig, TrainConfig
from wsiseg.progress import Progress
from wsiseg.train.data import Pool, Pools

BASELINE_FOLDER = "baseline"
"""Where a run keeps its twin; the search for the newest run does not look so deep."""


def needs_baseline(config: TrainConfig) -> bool:
    """Whether a twin was asked for and would differ from the run."""
    return config.baseline and any(phase.unlabelled for phase in config.phases)


def twin_config(config: Config) -> Config:
    """The configuration of the twin: labels alone, no discriminator, one phase over all steps.

    Seed, split, steps, network, optimiser, losses, sampler, augmentation and averaging stay, so both begin
    with the same weights and see the same labelled tiles in the same order.
    """
    train = config.train
    judge = train.discriminator.model_copy(update={"kind": "none"})
    alone = {
        "discriminator": judge,
        "phases": (PhaseConfig(name="supervised", share=1.0),),
        "baseline": False,
    }
    return config.model_copy(update={"train": train.model_copy(update=alone)})


def labels_alone(pools: Pools) -> Pools:
    """The pools of the twin."""
    nothing = Pool(pools.labelled.stores, np.zeros((0, 2), dtype=np.int64))
    slides: Mapping[str, list[str]] = {**pools.slides, "unlabelled": []}
    return replace(pools, unlabelled=nothing, slides=dict(slides))


class BaselineProgress:
    """Says of every bar that it belongs to the twin."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, description: str, total: int | None) -> None:
        """Begin a bar."""
        self._progress.start(f"baseline, {description}", total)

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Move it."""
        self._progress.advance(units, note)
