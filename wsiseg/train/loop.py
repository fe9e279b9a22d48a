"""The training loop, to be read aloud.

For each phase, for each step: fetch the batches, move the discriminator, move the segmentor, update the
average; now and then look at validation tiles, let the guards decide, write a checkpoint.
"""

import logging
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor

from wsiseg.config.root import Config
from wsiseg.errors import TrainingDivergedError
from wsiseg.model.checkpoint import checkpoints, read_info
from wsiseg.model.losses import class_weights
from wsiseg.progress import Progress
from wsiseg.train.data import Batch, Pools
from wsiseg.train.feed import StepBatches, batch_maker
from wsiseg.train.gauges import Look, look, shown_gauge
from wsiseg.train.guards import Guards, Verdict
from wsiseg.train.networks import (
    Networks,
    build_networks,
    discriminator_optimiser,
    segmentor_optimiser,
    set_lr,
)
from wsiseg.train.prefetch import Prefetcher
from wsiseg.train.sampler import generator
from wsiseg.train.schedule import Span, lr_factor, spans, validation_steps
from wsiseg.train.state import TrainState, gradient_is_finite, prune
from wsiseg.train.steps import (
    Metrics,
    Objective,
    Weights,
    discriminator_loss,
    mean_metrics,
    segmentor_loss,
)
from wsiseg.train.watch import Watch

logger = logging.getLogger(__name__)

LOG_EVERY = 10

MAX_SKIPPED = 25
"""Steps in a row that 16-bit training may skip: by then its loss scale is 2 ** 25 times smaller."""


class Trainer:
    """One run, from its beginning or from a checkpoint.

    Args:
        config: Resolved: no ``auto``, classes and mpp of the stores.
        pools: The tiles.
        fabric: Device, precision and processes.
        folder: The run folder.
        progress: Told of every step.
        workers: Threads that load tiles.
        pretrained: False where ``resume`` follows: the encoder's own weights are not looked for then.
    """

    def __init__(
        self,
        config: Config,
        pools: Pools,
        fabric: Fabric,
        *,
        folder: Path,
        progress: Progress,
        workers: int = 1,
        pretrained: bool = True,
    ) -> None:
        self.config, self.pools, self.fabric = config, pools, fabric
        self.folder, self.progress, self.workers = folder, progress, workers
        self.plan = spans(config.train.phases, int(config.train.steps))
        self.looks = set(validation_steps(self.plan, config.train.validations))
        networks = build_networks(fabric, config, pretrained=pretrained)
        judge = None
        if networks.discriminator is not None:
            judge_config = config.train.discriminator_optimiser
            judge = fabric.setup_optimizers(discriminator_optimiser(networks.discriminator, judge_config))
        self.state = TrainState(
            networks, self._new_optimiser(networks, 0), judge, Guards(config.train.guards)
        )
        self.objective = Objective(
            weight_K=self._class_weights(),
            losses=config.train.losses,
            discriminator=config.train.discriminator,
            pseudo_labels=config.train.pseudo_labels,
        )
        self.watch: Watch | None = None
        self.history: list[Metrics] = []
        self.last_look: Look | None = None
        self._skipped: dict[_FabricModule, int] = {}

    def resume(self, folder: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointFormatError: Damaged, or of other networks.
        """
        state = self.state.load_networks(folder)
        self.state.step, self.state.phase = int(state["step"]), int(state["phase"])
        self.state.taken_back = state.get("taken_back")
        self.state.figures = state["figures"]
        self.state.guards = Guards.from_json(self.config.train.guards, state["guards"])
        self.state.optimiser = self._new_optimiser(self.state.networks, self.state.phase)
        self.state.load_optimisers(state)

    def fit(self) -> None:
        """Train to the end.

        Raises:
            TrainingDivergedError: A loss or gradient stopped being finite.
            StoreError: A tile cannot be read.
            OutputError: The disk is full.
        """
        self.watch = Watch(self.folder, self.state.step) if self.fabric.is_global_zero else None
        total = self.plan[-1].stop
        try:
            for number, span in enumerate(self.plan):
                if self.state.step >= span.stop:
                    continue
                self.progress.start(f"training, {span.phase.name}", span.stop - span.start)
                self.progress.advance(max(0, self.state.step - span.start))
                if self.state.phase != number:
                    self._enter_phase(number)
                self._run_phase(span)
            self._settle(total)
        finally:
            if self.watch is not None:
                self.watch.close()

    def _run_phase(self, span: Span) -> None:
        repeat = self.config.train.accumulate
        first, last = self.state.step * repeat, span.stop * repeat
        make = batch_maker(
            self.pools,
            self.config.train,
            span.phase,
            self.fabric.device,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        with Prefetcher(make, first, last, workers=self.workers) as feed:
            while self.state.step < span.stop:
                self.advance(span, feed)
                if self.state.step in self.looks and self._look(span) == "end phase":
                    self.state.step = span.stop
                    self._save("last")

    def advance(self, span: Span, feed: Prefetcher[StepBatches]) -> None:
        """One step: the discriminator moves, then the segmentor, then the average."""
        step, config, state = self.state.step, self.config.train, self.state
        # Dropout draws from torch's own generator: seeded by the step, a resumed run draws the same.
        torch.manual_seed(config.seed * 1_000_003 + step)
        factor = lr_factor(span.optimiser(config), step, span.lr_start, span.lr_stop)
        set_lr(state.optimiser, factor)
        metrics: Metrics = {}
        for turn in range(config.accumulate):
            batches = feed.get()
            if batches.d_labelled is not None and turn == 0:
                metrics |= self._move_discriminator(batches.d_labelled, batches.d_unlabelled, step)
            weights = self._weights(span, step)
            with self.fabric.no_backward_sync(
                state.networks.student_wrapped, enabled=turn + 1 < config.accumulate
            ):
                loss, more = segmentor_loss(
                    state.networks,
                    batches.labelled,
                    batches.unlabelled,
                    objective=self.objective,
                    weights=weights,
                    generator=generator(config.seed, "cutmix", step, turn),
                    record=span.phase.record_statistics,
                )
                self.fabric.backward(loss / config.accumulate)
            metrics |= more
        norm = self._move(state.networks.student_wrapped, state.optimiser, span.optimiser(config).clip_norm)
        state.networks.ema.update(state.networks.student)
        state.taken_back = None
        self.history.append(metrics | {"g_norm": norm})
        self._guard_discriminator(step, metrics)
        state.step += 1
        self.progress.advance(1, self._log() if state.step % LOG_EVERY == 0 else None)

    def _move_discriminator(self, labelled: Batch, unlabelled: Batch | None, step: int) -> Metrics:
        config, optimiser = self.config.train, self.state.discriminator_optimiser
        set_lr(optimiser, lr_factor(config.discriminator_optimiser, step, 0, self.plan[-1].stop))
        networks = self.state.networks
        loss, metrics = discriminator_loss(networks, labelled, unlabelled, config.discriminator)
        self.fabric.backward(loss)
        wrapped = networks.discriminator_wrapped
        if wrapped is not None:
            self._move(wrapped, optimiser, config.discriminator_optimiser.clip_norm)
        return metrics

    def _move(self, network: _FabricModule, optimiser: _FabricOptimizer, clip_norm: float) -> Tensor:
        """Clip, check and step; returns the gradient's norm."""
        norm = self.fabric.clip_gradients(
            network,
            optimiser,
            max_norm=clip_norm,
            error_if_nonfinite=False,
        )
        # The scaler of 16-bit training skips infinite steps by itself while it finds its scale.
        skipped = 0 if gradient_is_finite(norm) else self._skipped.get(network, 0) + 1
        if skipped > (MAX_SKIPPED if self.config.train.precision == "16-mixed" else 0):
            raise self._diverged()
        self._skipped[network] = skipped
        optimiser.step()
        optimiser.optimizer.zero_grad(set_to_none=True)
        return torch.zeros(()) if norm is None else norm.detach()

    def _weights(self, span: Span, step: int) -> Weights:
        ramp, scale = span.ramp(step), self.state.guards.weight
        return Weights(
            labelled=span.phase.lambda_labelled * ramp * scale,
            unlabelled=span.phase.lambda_unlabelled * ramp * scale,
            pseudo=self.config.train.pseudo_labels.weight * ramp if span.phase.pseudo_labels else None,
        )

    def _log(self) -> str:
        """Write down the mean of the last steps; returns a note for the progress bar."""
        values = mean_metrics(self.history)
        self.history.clear()
        if self.watch is not None:
            values["lr"] = self.state.optimiser.param_groups[0]["lr"]
            values["lambda_scale"] = self.state.guards.weight
            self.watch.metrics(self.state.step, "train", values)
        names = {"ce": "CE", "adv": "adv", "d_loss": "D", "pseudo_ce": "pseudo"}
        parts = [f"{label} {values[key]:.2f}" for key, label in names.items() if key in values]
        if (iou := self.state.guards.last_iou) is not None:
            parts.append(f"IoU {iou:.3f}")
        return " ".join(parts)

    def _guard_discriminator(self, step: int, metrics: Metrics) -> None:
        guards = self.state.guards
        if "d_loss" in metrics:
            guards.d_losses.append(metrics["d_loss"])
        if (step + 1) % guards.config.check_every == 0 and guards.d_losses:
            self._share_d_losses()
            recent, guards.d_losses = guards.d_losses, []
            guards.see_discriminator(step + 1, sum(recent) / len(recent))

    def _share_d_losses(self) -> None:
        """All processes must come to the same weights, also after resuming: they look at the same figures."""
        guards = self.state.guards
        if guards.d_losses:
            mine = torch.tensor([float(loss) for loss in guards.d_losses], device=self.fabric.device)
            guards.d_losses = cast("Tensor", self.fabric.all_reduce(mine)).tolist()

    def _look(self, span: Span) -> Verdict:
        """Validate, let the guards decide, write checkpoints."""
        if self.history:
            self._log()
        verdict: Verdict = "continue"
        if len(self.pools.validation):
            found = self._validate()
            guards = self.state.guards
            score = found.gauges.get(shown_gauge(self.config.train.discriminator))
            verdict = guards.see_validation(
                self.state.step, found.mean_iou, score, unlabelled=span.phase.unlabelled
            )
            if guards.best_step == self.state.step:
                self._save("best")
            if verdict != "continue":
                self._roll_back()
        if not span.phase.unlabelled and self.state.step == span.stop and self._learns_unlabelled():
            self._save("supervised")
        self._save("last")
        return verdict

    def _learns_unlabelled(self) -> bool:
        return any(phase.unlabelled for phase in self.config.train.phases)

    def _shared_look(self) -> Look:
        """Only one process looks, so that all of them act on the same figures."""
        found: Look | None = None
        if self.fabric.is_global_zero:
            found = look(self.state.networks, self.pools.validation, self.config.schema_, self.config.train)
        return cast("Look", self.fabric.broadcast(found))

    def _validate(self) -> Look:
        shared = self._shared_look()
        self.last_look, self.state.figures = shared, shared.figures()
        if self.watch is not None:
            values = {**shared.figures(), "gauges": shared.gauges}
            self.watch.metrics(self.state.step, "validation", values)
            self.watch.pictures(self.state.step, self.config.schema_, shared.examples)
        return shared

    def _roll_back(self) -> None:
        """Take the weights of the guards' best look, with fresh momentum; the step count goes on."""
        guards = self.state.guards
        kept = [path for kind in ("best", "supervised") for path in checkpoints(self.folder, kind)]
        infos = {path: read_info(path) for path in kept}
        if best := next((path for path, info in infos.items() if info.step == guards.best_step), None):
            self.state.take_back(best)
            guards.last_iou = guards.best_iou
            self.state.figures = dict(infos[best].figures)
            self.state.optimiser = self._new_optimiser(self.state.networks, self.state.phase)

    def _settle(self, total: int) -> None:
        """Decide which weights stand for the run, and write them as ``final``."""
        guards = self.state.guards
        last, before = guards.last_iou, guards.supervised_iou
        supervised = checkpoints(self.folder, "supervised")
        undo = guards.config.enabled and self._learns_unlabelled() and bool(supervised)
        if undo and last is not None and before is not None and last < before:
            guards.events.append(
                f"step {total}: unlabelled tiles lowered validation IoU ({before:.3f} to {last:.3f}): "
                "the run keeps the supervised checkpoint"
            )
            logger.warning(guards.events[-1])
            self.state.take_back(supervised[-1])
            self._validate()
        elif len(self.pools.validation) and self.last_look is None:
            self.last_look = self._shared_look()
        elif len(self.pools.validation) and not self._looked_at_these_weights():
            self._validate()
        self._save("final")

    def _looked_at_these_weights(self) -> bool:
        """False after a last rollback."""
        return self.last_look is not None and self.last_look.figures() == self.state.figures

    def _save(self, kind: str) -> None:
        self._share_d_losses()
        if self.fabric.is_global_zero:
            written = self.state.save(self.folder, kind, self.config, self.pools.slides)
            # Older ones go only once a newer "last" is there to resume from.
            if kind == "last":
                prune(self.folder, "last", written)
                for best in checkpoints(self.folder, "best")[-1:]:
                    prune(self.folder, "best", best)
        self.fabric.barrier()

    def _enter_phase(self, number: int) -> None:
        fresh = self.config.train.phases[number].optimiser is not None
        fresh = fresh or self.config.train.phases[self.state.phase].optimiser is not None
        self.state.phase = number
        self.state.guards.enter_phase()
        if fresh:
            self.state.optimiser = self._new_optimiser(self.state.networks, number)

    def _new_optimiser(self, networks: Networks, number: int) -> _FabricOptimizer:
        config = self.plan[number].optimiser(self.config.train)
        optimiser = segmentor_optimiser(networks.student, config)
        return cast("_FabricOptimizer", self.fabric.setup_optimizers(optimiser))

    def _class_weights(self) -> Tensor:
        pixels = torch.from_numpy(self.pools.labelled.class_pixels().sum(axis=0))
        weights = class_weights(pixels, self.config.train.losses.class_balance)
        return weights.to(self.fabric.device)

    def _diverged(self) -> TrainingDivergedError:
        kept = checkpoints(self.folder, "last")
        where = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"
        return TrainingDivergedError(
            f"a loss or its gradient is not finite at step {self.state.step}; {where}",
            remedy="Lower train.optimiser.lr, or train with --set train.precision=32-true",
        )
