"""A run from its folder's point of view: begin, resume, finish."""

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from wsiseg.config.root import Config
from wsiseg.config.yaml_io import load_config, save_config
from wsiseg.errors import CheckpointError, ConfigError, TrainingDataError, TrainingError
from wsiseg.files import write_json
from wsiseg.lock import write_lock
from wsiseg.model.checkpoint import checkpoints, load_trained
from wsiseg.model.machine import memory_errors
from wsiseg.model.segmentor import check_tile_side
from wsiseg.outcome import Outcome, write_report
from wsiseg.progress import Progress
from wsiseg.train.baseline import (
    BASELINE_FOLDER,
    BaselineProgress,
    labels_alone,
    needs_baseline,
    twin_config,
)
from wsiseg.train.compare import Comparison, compare, count_tiles
from wsiseg.train.data import Pools
from wsiseg.train.loop import Trainer
from wsiseg.train.plots import draw_results
from wsiseg.train.prepare import Device, Prepared, prepare
from wsiseg.train.runfolder import (
    CONFIG_FILE,
    INPUTS_FILE,
    describe_inputs,
    is_finished,
    new_folder,
    newest_unfinished,
    read_inputs,
)

logger = logging.getLogger(__name__)

_FOUND_IOU = 0.01
"""Validation IoU below which a class was not found."""

_LESS_MEMORY = (
    "Lower train.sampler.batch_size and unlabelled_batch_size and raise train.accumulate in their place, "
    "or take a smaller train.segmentor.encoder"
)


@dataclass(frozen=True)
class RunResult:
    """What a finished run has to say.

    Attributes:
        folder: The run folder.
        outcomes: One a slide, with its part in the run.
        figures: Validation figures of the final weights; empty without validation.
        notices: What the user should know, in words.
        comparison: With the supervised twin, where one was trained and there are validation tiles.
        unlabelled_helped: In words; ``not measured`` unless a baseline was run.
        leads: Whether this process speaks for the run; false in all but the first of several.
    """

    folder: Path
    outcomes: list[Outcome]
    figures: Mapping[str, Any]
    notices: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    unlabelled_helped: str = "not measured (no supervised baseline was run beside it)"
    leads: bool = True


def begin_run(
    config: Config,
    *,
    tiles: Path,
    folder: Path | None = None,
    device: Device = "auto",
    workers: int = 1,
    patients: Path | None = None,
    all_classes: bool = True,
    progress: Progress,
) -> RunResult:
    """Train a new run.

    Args:
        config: What the user asked for; classes and mpp that it leaves out come from the stores.
        tiles: Folder of tile stores.
        folder: The run folder; None for the next ``runs/run-NNN``.
        device: Where to train.
        workers: Threads that load tiles.
        patients: CSV of ``slide,patient``.
        all_classes: Whether a class that no tile shows is an error; else the others are learnt alone.
        progress: Told of every step.

    Raises:
        ConfigError: An impossible configuration, or ``folder`` holds a run already.
        TrainingDataError: The tiles cannot be trained on.
        CheckpointFormatError: The file of the encoder's weights is damaged, or of another encoder.
        TrainingError: The device has too little memory.
        TrainingDivergedError: A loss or gradient stopped being finite.
        LockedError: Another process writes into ``folder``.
    """
    prepared = prepare(config, tiles, device, patients, all_classes=all_classes)
    train = prepared.config.train
    check_tile_side(train.segmentor, len(prepared.config.schema_), prepared.config.tiling.tile_px)
    folder = new_folder(folder, prepared.fabric)
    with _alone(folder, prepared.fabric):
        if prepared.fabric.is_global_zero:
            save_config(prepared.config, folder / CONFIG_FILE)
            inputs = describe_inputs(tiles, patients, prepared.pools)
            write_json(folder / INPUTS_FILE, {**inputs, "notices": prepared.notices})
        try:
            return _Run(prepared, folder, workers, resume=False).train(progress)
        except (ConfigError, CheckpointError, TrainingError):
            # Networks that cannot be built, say: nothing was begun, so nothing shall offer to go on with it.
            if prepared.fabric.is_global_zero and not any(folder.glob("**/checkpoints")):
                (folder / INPUTS_FILE).unlink(missing_ok=True)
            raise


def resume_run(
    folder: Path | None = None, *, device: Device = "auto", workers: int = 1, progress: Progress
) -> RunResult:
    """Continue an interrupted run, with the configuration and the tiles that it began with.

    Args:
        folder: The run folder; None for the newest unfinished one in ``runs``.
        device: Where to train; bit for bit the same only on a CPU.
        workers: Threads that load tiles.
        progress: Told of every step.

    Raises:
        CheckpointNotFoundError: Nothing to resume.
        TrainingDataError: The tiles are not those of the run.
        LockedError: Another process is training it.
    """
    folder = newest_unfinished() if folder is None else folder
    inputs = read_inputs(folder)
    patients = Path(inputs["patients"]) if inputs["patients"] else None
    tiles = Path(inputs["tiles"])
    prepared = prepare(load_config(folder / CONFIG_FILE), tiles, device, patients)
    # Of the resolved configuration nobody can tell any more what was chosen in the user's place.
    notices = inputs.pop("notices", prepared.notices)
    if describe_inputs(tiles, patients, prepared.pools) != inputs:
        raise TrainingDataError(
            f"the tiles in {tiles} are not those that {folder} began with",
            remedy="Begin a new run, or bring the tiles back",
        )
    with _alone(folder, prepared.fabric):
        return _Run(replace(prepared, notices=notices), folder, workers, resume=True).train(progress)


def _alone(folder: Path, fabric: Fabric) -> AbstractContextManager[None]:
    """One run at a time in a folder, over however many processes: the first holds the lock for all."""
    return write_lock(folder) if fabric.is_global_zero else nullcontext()


@dataclass(frozen=True)
class _Run:
    """A run under way: the twin first, where one was asked for, then the run itself."""

    prepared: Prepared
    folder: Path
    workers: int
    resume: bool

    def train(self, progress: Progress) -> RunResult:
        begun = time.monotonic()
        for notice in self.prepared.notices:
            logger.warning(notice)
        config, pools = self.prepared.config, self.prepared.pools
        paired = needs_baseline(config.train)
        if paired:
            self._train_twin(BaselineProgress(progress))
        trainer = self._fit(config, pools, self.folder, progress)
        found = self._compare(trainer) if paired else None
        unseen = _unseen(config, trainer.state.figures)
        for notice in unseen:
            logger.warning(notice)
        result = RunResult(
            folder=self.folder,
            outcomes=_outcomes(pools),
            figures=trainer.state.figures,
            notices=[*self.prepared.notices, *trainer.state.guards.events, *unseen],
            comparison=found,
            unlabelled_helped=_in_words(config, pools, found),
            leads=self.prepared.fabric.is_global_zero,
        )
        if result.leads:
            _write_results(result, trainer, time.monotonic() - begun)
        return result

    def _train_twin(self, progress: Progress) -> None:
        folder = self.folder / BASELINE_FOLDER
        if is_finished(folder):
            return
        begun = time.monotonic()
        config, pools = twin_config(self.prepared.config), labels_alone(self.prepared.pools)
        if self.prepared.fabric.is_global_zero:
            save_config(config, folder / CONFIG_FILE)
        trainer = self._fit(config, pools, folder, progress)
        result = RunResult(
            folder,
            _outcomes(pools),
            trainer.state.figures,
            unlabelled_helped="not measured (this is the supervised baseline)",
        )
        if self.prepared.fabric.is_global_zero:
            _write_results(result, trainer, time.monotonic() - begun)
        # All processes must see the finished twin before any of them goes on.
        self.prepared.fabric.barrier()

    def _fit(self, config: Config, pools: Pools, folder: Path, progress: Progress) -> Trainer:
        fabric = self.prepared.fabric
        kept = checkpoints(folder, "last") if self.resume else []
        with memory_errors("training", _LESS_MEMORY):
            trainer = Trainer(
                config,
                pools,
                fabric,
                folder=folder,
                progress=progress,
                workers=self.workers,
                pretrained=not kept,
            )
            if kept:
                trainer.resume(kept[-1])
            trainer.fit()
        return trainer

    def _compare(self, trainer: Trainer) -> Comparison | None:
        """The run and its twin, as they will predict, on the validation tiles."""
        config, pool, fabric = trainer.config, self.prepared.pools.validation, self.prepared.fabric
        if not len(pool) or not fabric.is_global_zero:
            return None
        twin = load_trained(self.folder / BASELINE_FOLDER, fabric.device)
        run_NKK, twin_NKK = (
            count_tiles(segmentor, pool, config.schema_, config.train, fabric)
            for segmentor in (trainer.state.networks.ema.teacher, twin.segmentor)
        )
        return compare(run_NKK, twin_NKK, pool.places[:, 0], config.schema_, seed=config.train.seed)


def _unseen(config: Config, figures: Mapping[str, Any]) -> list[str]:
    """What to say where the network does not find a class at all."""
    scores = {name: figures.get("classes", {}).get(name, {}).get("iou") for name in config.schema_.names[1:]}
    missed = [name for name, iou in scores.items() if iou is not None and iou < _FOUND_IOU]
    if not missed:
        return []
    return [
        f"on the validation tiles the network finds no {' and no '.join(missed)}: "
        f"train longer (train.steps, now {config.train.steps}) or annotate more"
    ]


def _in_words(config: Config, pools: Pools, found: Comparison | None) -> str:
    if found is not None:
        return found.in_words()
    reason = "no supervised baseline was run beside it"
    if not any(phase.unlabelled for phase in config.train.phases):
        reason = "no phase learned from unlabelled tiles"
    elif config.train.baseline and not len(pools.validation):
        reason = "no slide was left to validate on"
    return f"not measured ({reason})"


def _write_results(result: RunResult, trainer: Trainer, seconds: float) -> None:
    config = trainer.config.train
    draw_results(result.folder, trainer.config.schema_, trainer.last_look, config.discriminator)
    write_report(
        result.folder,
        "train",
        result.outcomes,
        steps=config.steps,
        encoder=config.segmentor.encoder,
        encoder_weights=config.segmentor.weights,
        device=str(trainer.fabric.device),
        precision=config.precision,
        validation=dict(result.figures),
        unlabelled_helped=result.unlabelled_helped,
        baseline=None if result.comparison is None else result.comparison.to_json(),
        notices=result.notices,
        seconds=round(seconds, 1),
    )


def _outcomes(pools: Pools) -> list[Outcome]:
    found: dict[str, Outcome] = {}
    parts = {"labelled": pools.labelled, "unlabelled": pools.unlabelled, "validation": pools.validation}
    for part, pool in parts.items():
        for name in pools.slides[part]:
            outcome = found.setdefault(name, Outcome(name))
            own = [pool.stores[s].name == name for s in pool.places[:, 0].tolist()]
            outcome.counts[f"{part}_tiles"] = sum(own)
    return [found[name] for name in sorted(found)]
