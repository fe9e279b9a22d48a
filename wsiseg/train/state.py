"""Everything that moves during a run, in and out of a checkpoint."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from wsiseg.config.root import Config
from wsiseg.model.checkpoint import (
    CheckpointInfo,
    checkpoint_path,
    checkpoints,
    load_weights,
    read_state,
    write_checkpoint,
)
from wsiseg.train.guards import Guards
from wsiseg.train.networks import Networks


@dataclass
class TrainState:
    """The moving parts of a run.

    Random numbers and the samplers need no place here: both are functions of the seed and the step.

    Attributes:
        networks: Segmentor, average, discriminator.
        optimiser: The segmentor's, of the phase under way.
        discriminator_optimiser: The discriminator's.
        guards: Their memory.
        step: Segmentor steps taken.
        phase: Position of the phase that ``optimiser`` belongs to.
        figures: Of the last validation.
        taken_back: Step and phase of the checkpoint whose weights were taken back, until the next step.
    """

    networks: Networks
    optimiser: Any
    discriminator_optimiser: Any
    guards: Guards
    step: int = 0
    phase: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    taken_back: list[int] | None = None

    def save(self, run: Path, kind: str, config: Config, slides: dict[str, list[str]]) -> Path:
        """Write checkpoint ``<kind>-<step>`` of a run.

        ``final`` holds only what predicts, and says of which step and phase its weights are; the others are
        where the run goes on.
        """
        step, phase = self.step, self.phase
        if kind == "final" and self.taken_back is not None:
            step, phase = self.taken_back
        networks = {"segmentor": self.networks.ema.teacher.state_dict()}
        if kind != "final":
            networks["student"] = self.networks.student.state_dict()
        if self.networks.discriminator is not None:
            networks["discriminator"] = self.networks.discriminator.state_dict()
        info = CheckpointInfo(
            config=config,
            step=step,
            phase=config.train.phases[phase].name,
            slides=slides if _has_seen_unlabelled(config, phase) else {**slides, "unlabelled": []},
            figures=self.figures,
        )
        target = checkpoint_path(run, kind, step)
        write_checkpoint(target, info, networks, None if kind == "final" else self._plain())
        return target

    def _plain(self) -> dict[str, Any]:
        judge = self.discriminator_optimiser
        return {
            "step": self.step,
            "phase": self.phase,
            "ema_updates": self.networks.ema.updates,
            "optimiser": self.optimiser.state_dict(),
            "discriminator_optimiser": None if judge is None else judge.state_dict(),
            "guards": self.guards.to_json(),
            "figures": self.figures,
            "taken_back": self.taken_back,
        }

    def take_back(self, folder: Path) -> None:
        """Take the weights of an earlier checkpoint; the step count goes on.

        Raises:
            CheckpointFormatError: Damaged, or of other networks.
        """
        state = self.load_networks(folder)
        self.taken_back = [int(state["step"]), int(state["phase"])]

    def load_networks(self, folder: Path) -> dict[str, Any]:
        """Load the weights of all networks; returns the rest of the checkpoint.

        Raises:
            CheckpointFormatError: Damaged, or of other networks.
        """
        load_weights(self.networks.ema.teacher, folder, "segmentor")
        load_weights(self.networks.student, folder, "student")
        if self.networks.discriminator is not None:
            load_weights(self.networks.discriminator, folder, "discriminator")
        state = read_state(folder)
        self.networks.ema.updates = int(state["ema_updates"])
        return state

    def load_optimisers(self, state: dict[str, Any]) -> None:
        """Load both optimisers, which must be of the same phase as the checkpoint."""
        self.optimiser.load_state_dict(state["optimiser"])
        if self.discriminator_optimiser is not None:
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])


def _has_seen_unlabelled(config: Config, phase: int) -> bool:
    """Whether weights of a phase have learnt from unlabelled tiles."""
    return any(earlier.unlabelled for earlier in config.train.phases[: phase + 1])


def prune(run: Path, kind: str, keep: Path) -> None:
    """Remove a run's other checkpoints of this kind."""
    for folder in checkpoints(run, kind):
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)


def gradient_is_finite(norm: torch.Tensor | None) -> bool:
    """Whether a gradient norm can be stepped with."""
    return norm is None or bool(torch.isfinite(norm))
