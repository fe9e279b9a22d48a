"""When to step in: the discriminator has won, or unlabelled data does harm.

The discriminator's score is never a reason to go on or to stop: it rises while a segmentor that only
pleases it falls apart. Validation IoU decides; the score is only compared with it to warn.
"""

import logging
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from wsiseg.config.training import GuardConfig

logger = logging.getLogger(__name__)

Verdict = Literal["continue", "roll back", "end phase"]

_RECOVERY = 1.1
"""Growth of the scale at each look that finds a healthy discriminator, after a rollback."""

_MEMORY = 0.5
"""Of the running mean of L_D, from one look to the next: a bad start is soon forgotten."""

_LEAST_HEALTH = 1 / 128
"""However long a discriminator was not healthy, seven looks restore the weights."""


@dataclass
class Guards:
    """The guards' memory; plain numbers, so that it fits in a checkpoint.

    Attributes:
        scale: Factor on every adversarial weight, 1 until a rollback.
        health: Another one, 1 while the discriminator is healthy.
        d_loss: Running mean of L_D; None before the first.
        d_losses: L_D of each step since it was last looked at; numbers, or scalars on a device.
        best_iou: Best validation mean IoU, anew from where unlabelled tiles come in; None without validation.
        best_step: When that was.
        supervised_iou: Validation mean IoU when labels alone were last learnt from.
        supervised_step: When that was.
        rollbacks: In this phase.
        events: What was done, in words.
    """

    config: GuardConfig
    scale: float = 1.0
    health: float = 1.0
    d_loss: float | None = None
    d_losses: list[Any] = field(default_factory=list)
    best_iou: float | None = None
    best_step: int | None = None
    supervised_iou: float | None = None
    supervised_step: int | None = None
    last_iou: float | None = None
    last_score: float | None = None
    rollbacks: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Factor on every adversarial weight, 0 to 1."""
        return self.scale * self.health

    def see_discriminator(self, step: int, loss: float) -> None:
        """Look at a recent L_D; out of its healthy band lower the adversarial weights, back in it raise them.

        They rise as fast as they fell: else an untrained discriminator, which can tell nothing yet, would
        leave a run without an adversarial loss for thousands of steps.
        """
        self.d_loss = loss if self.d_loss is None else _MEMORY * self.d_loss + (1 - _MEMORY) * loss
        if not self.config.enabled:
            return
        before = self.health
        if self.config.d_loss_low <= self.d_loss <= self.config.d_loss_high:
            self.scale = min(1.0, self.scale * _RECOVERY)
            self.health = min(1.0, self.health / self.config.back_off)
            if before < self.health == 1.0:
                self._note(step, f"the discriminator is well (L_D {self.d_loss:.3f}): weights restored")
            return
        self.health = max(self.health * self.config.back_off, _LEAST_HEALTH)
        if before == 1.0:
            state = "has won" if self.d_loss < self.config.d_loss_low else "cannot tell anything"
            self._note(
                step, f"the discriminator {state} (L_D {self.d_loss:.3f}): adversarial weights lowered"
            )

    def see_validation(self, step: int, iou: float, score: float | None, *, unlabelled: bool) -> Verdict:
        """Look at a validation.

        Args:
            step: Steps taken.
            iou: Mean IoU.
            score: The discriminator's mean score of predictions; None without a discriminator.
            unlabelled: Whether the phase learns from unlabelled tiles; only then is anything undone.
        """
        self._warn_of_flattery(step, iou, score)
        self.last_iou, self.last_score = iou, score
        if not unlabelled:
            self.supervised_iou, self.supervised_step = iou, step
        elif self._best_is_from_before():
            # Unlabelled tiles answer for what they change, not for a lucky look long before them.
            self.best_iou, self.best_step = self.supervised_iou, self.supervised_step
        if self.best_iou is None or iou > self.best_iou:
            self.best_iou, self.best_step = iou, step
            return "continue"
        if not (self.config.enabled and unlabelled) or iou >= self.best_iou - self.config.max_drop:
            return "continue"
        self.scale *= self.config.back_off
        self.rollbacks += 1
        back = f"back to step {self.best_step} ({self.best_iou:.3f})"
        if self.rollbacks > self.config.max_rollbacks:
            self._note(step, f"validation IoU fell to {iou:.3f} once more: {back}, and the phase ends")
            return "end phase"
        self._note(step, f"validation IoU fell to {iou:.3f}: {back}")
        return "roll back"

    def enter_phase(self) -> None:
        """Forget the rollbacks of the phase before."""
        self.rollbacks = 0

    def _best_is_from_before(self) -> bool:
        return (
            self.best_step is not None
            and self.supervised_step is not None
            and self.best_step < self.supervised_step
        )

    def _warn_of_flattery(self, step: int, iou: float, score: float | None) -> None:
        if score is None or self.last_score is None or self.last_iou is None:
            return
        if score > self.last_score + 0.01 and iou < self.last_iou - 0.01:
            self._note(
                step,
                f"the discriminator likes the predictions better ({self.last_score:.2f} to {score:.2f}) "
                f"while validation IoU falls ({self.last_iou:.3f} to {iou:.3f}): they please it, "
                "they are not right",
            )

    def _note(self, step: int, text: str) -> None:
        self.events.append(f"step {step}: {text}")
        logger.warning("step %d: %s", step, text)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the configuration."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "config"}
        return {**plain, "d_losses": [float(loss) for loss in self.d_losses], "events": list(self.events)}

    @classmethod
    def from_json(cls, config: GuardConfig, data: dict[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        return cls(config=config, **data)
