"""Which phase a step belongs to, and how learning rate and loss weights move: pure functions of the step."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsiseg.config.training import OptimiserConfig, PhaseConfig, TrainConfig

STEPS_ON_CPU = 600
STEPS_ON_GPU = 20_000


@dataclass(frozen=True)
class Span:
    """The steps ``[start, stop)`` of one phase.

    Attributes:
        phase: Its configuration.
        start: First step.
        stop: One past the last.
        lr_start: First step of the learning-rate schedule that the phase is part of.
        lr_stop: One past its last.
    """

    phase: PhaseConfig
    start: int
    stop: int
    lr_start: int
    lr_stop: int

    def optimiser(self, config: TrainConfig) -> OptimiserConfig:
        """The segmentor's optimiser in this phase."""
        return self.phase.optimiser or config.optimiser

    def ramp(self, step: int) -> float:
        """How much of the adversarial and pseudo-label weights counts at a step, 0-1."""
        rising = self.phase.ramp_share * (self.stop - self.start)
        return 1.0 if rising < 1 else min(1.0, (step - self.start + 1) / rising)


def resolve_steps(config: TrainConfig, *, on_gpu: bool) -> int:
    """The number of steps, with ``auto`` replaced."""
    if config.steps == "auto":
        return STEPS_ON_GPU if on_gpu else STEPS_ON_CPU
    return config.steps


def spans(phases: Sequence[PhaseConfig], steps: int) -> list[Span]:
    """Lay the phases over ``steps`` steps, each at least one.

    A phase with an optimiser of its own has a learning-rate schedule of its own; the others share one.
    """
    bounds = [0]
    for n, _ in enumerate(phases, start=1):
        share = sum(phase.share for phase in phases[:n]) / sum(phase.share for phase in phases)
        left = len(phases) - n
        bounds.append(min(max(round(share * steps), bounds[-1] + 1), steps - left))
    shared = [n for n, phase in enumerate(phases) if phase.optimiser is None]
    found = []
    for n, phase in enumerate(phases):
        own = phase.optimiser is not None
        first, last = (n, n) if own else (shared[0], shared[-1])
        found.append(Span(phase, bounds[n], bounds[n + 1], bounds[first], bounds[last + 1]))
    return found


def lr_factor(config: OptimiserConfig, step: int, start: int, stop: int) -> float:
    """Learning rate over its peak: a linear rise, then ``(1 - t) ** power`` (poly) or level.

    The poly schedule is DeepLab's (Chen et al., 2017), with its power of 0.9.
    """
    done, total = step - start, stop - start
    warmup = round(config.warmup_share * total)
    rise = min(1.0, (done + 1) / (warmup + 1))
    if config.schedule == "constant":
        return rise
    return float(rise * (1 - min(done, total - 1) / total) ** config.power)


def validation_steps(plan: Sequence[Span], validations: int) -> list[int]:
    """Steps after which to validate: evenly spread, at the end of every phase, and as a phase wants it."""
    steps = plan[-1].stop
    found = {round(steps * n / validations) for n in range(1, validations + 1)} - {0}
    for span in plan:
        if (every := span.phase.validate_every) is not None:
            found = {step for step in found if not span.start < step <= span.stop}
            found |= set(range(span.start + every, span.stop, every))
    return sorted(found | {span.stop for span in plan})


def without_unlabelled(phases: Sequence[PhaseConfig]) -> tuple[PhaseConfig, ...]:
    """The phases of a run that has no unlabelled tiles: what is left learns from labels alone."""
    quiet = {"unlabelled": False, "pseudo_labels": False}
    kept = [phase.model_copy(update=quiet) for phase in phases if phase.labelled]
    total = sum(phase.share for phase in kept)
    return tuple(phase.model_copy(update={"share": phase.share / total}) for phase in kept)
