"""A run from its folder's point of view: begin, resume, finish."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lightning_fabric import Fabric

from wsiseg.config.root import Config
from wsiseg.config.yaml_io import load_config, save_config
from wsiseg.errors import CheckpointFormatError, CheckpointNotFoundError, ConfigError, TrainingDataError
from wsiseg.files import write_json
from wsiseg.model.checkpoint import checkpoints
from wsiseg.outcome import Outcome, write_report
from wsiseg.progress import Progress
from wsiseg.train.data import Pools
from wsiseg.train.loop import Trainer
from wsiseg.train.plots import plot_confusion, plot_curves
from wsiseg.train.prepare import Device, Prepared, prepare
from wsiseg.train.watch import read_metrics

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
INPUTS_FILE = "inputs.json"


@dataclass(frozen=True)
class RunResult:
    """What a finished run has to say.

    Attributes:
        folder: The run folder.
        outcomes: One a slide, with its part in the run.
        figures: Validation figures of the final weights; empty without validation.
        notices: What the user should know, in words.
        unlabelled_helped: In words; ``not measured`` unless a baseline was run.
    """

    folder: Path
    outcomes: list[Outcome]
    figures: Mapping[str, Any]
    notices: list[str] = field(default_factory=list)
    unlabelled_helped: str = "not measured (no supervised baseline was run beside it)"


def begin_run(
    config: Config,
    *,
    tiles: Path,
    folder: Path | None = None,
    device: Device = "auto",
    workers: int = 1,
    patients: Path | None = None,
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
        progress: Told of every step.

    Raises:
        ConfigError: An impossible configuration, or ``folder`` holds a run already.
        TrainingDataError: The tiles cannot be trained on.
        TrainingDivergedError: A loss or gradient stopped being finite.
    """
    prepared = prepare(config, tiles, device, patients)
    folder = _new_folder(folder, prepared.fabric)
    if prepared.fabric.is_global_zero:
        save_config(prepared.config, folder / CONFIG_FILE)
        write_json(folder / INPUTS_FILE, _inputs(tiles, patients, prepared.pools))
    return _train(prepared, folder, workers, progress, None)


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
    """
    folder = newest_unfinished() if folder is None else folder
    if not (folder / INPUTS_FILE).is_file():
        raise CheckpointNotFoundError(f"{folder} is not a run that can be resumed")
    if checkpoints(folder, "final"):
        raise CheckpointNotFoundError(f"{folder} is finished", remedy="Begin a new run without --resume")
    inputs = _read_inputs(folder)
    patients = inputs["patients"] and Path(inputs["patients"])
    config = load_config(folder / CONFIG_FILE)
    prepared = prepare(config, Path(inputs["tiles"]), device, patients or None)
    if _inputs(Path(inputs["tiles"]), patients or None, prepared.pools) != inputs:
        raise TrainingDataError(
            f"the tiles in {inputs['tiles']} are not those that {folder} began with",
            remedy="Begin a new run, or bring the tiles back",
        )
    return _train(prepared, folder, workers, progress, checkpoints(folder, "last"))


def newest_unfinished(runs: Path = Path("runs")) -> Path:
    """The unfinished run folder that was begun last.

    Raises:
        CheckpointNotFoundError: There is none.
    """
    begun = [file for file in runs.glob(f"*/{INPUTS_FILE}") if not checkpoints(file.parent, "final")]
    if not begun:
        raise CheckpointNotFoundError(
            f"no unfinished run in {runs}", remedy="Begin one without --resume, or name one with --out"
        )
    return max(begun, key=lambda file: (file.stat().st_mtime_ns, file.parent.name)).parent


def _train(
    prepared: Prepared,
    folder: Path,
    workers: int,
    progress: Progress,
    resume: Sequence[Path] | None,
) -> RunResult:
    begun = time.monotonic()
    for notice in prepared.notices:
        logger.warning(notice)
    trainer = Trainer(
        prepared.config,
        prepared.pools,
        prepared.fabric,
        folder=folder,
        progress=progress,
        workers=workers,
    )
    if resume:
        trainer.resume(resume[-1])
    trainer.fit()
    result = RunResult(
        folder=folder,
        outcomes=_outcomes(prepared.pools),
        figures=trainer.state.figures,
        notices=[*prepared.notices, *trainer.state.guards.events],
    )
    if prepared.fabric.is_global_zero:
        _write_results(result, trainer, time.monotonic() - begun)
    return result


def _write_results(result: RunResult, trainer: Trainer, seconds: float) -> None:
    plot_curves(read_metrics(result.folder), result.folder / "curves.png")
    if trainer.last_look is not None:
        scores = trainer.last_look.scores
        plot_confusion(scores.matrix, scores.names, result.folder / "confusion.png")
    config = trainer.config.train
    write_report(
        result.folder,
        "train",
        result.outcomes,
        steps=config.steps,
        encoder=config.segmentor.encoder,
        encoder_weights=config.segmentor.weights,
        device=str(trainer.fabric.device),
        validation=dict(result.figures),
        unlabelled_helped=result.unlabelled_helped,
        notices=result.notices,
        seconds=round(seconds, 1),
    )


def _outcomes(pools: Pools) -> list[Outcome]:
    found: dict[str, Outcome] = {}
    for part in ("labelled", "unlabelled", "validation"):
        for name in pools.slides[part]:
            outcome = found.setdefault(name, Outcome(name))
            pool = {
                "labelled": pools.labelled,
                "unlabelled": pools.unlabelled,
                "validation": pools.validation,
            }[part]
            own = [pool.stores[s].name == name for s in pool.places[:, 0].tolist()]
            outcome.counts[f"{part}_tiles"] = sum(own)
    return [found[name] for name in sorted(found)]


def _new_folder(folder: Path | None, fabric: Fabric) -> Path:
    if fabric.is_global_zero:
        folder = _next_folder(Path("runs")) if folder is None else folder
        if (folder / INPUTS_FILE).exists():
            raise ConfigError(
                f"{folder} holds a run already", remedy="Continue it with --resume, or name another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
    return Path(cast("Path", fabric.broadcast(folder)))


def _next_folder(runs: Path) -> Path:
    """``runs/run-001`` and on: one more than the highest there, claimed by creating it."""
    runs.mkdir(parents=True, exist_ok=True)
    numbers = [int(p.name[4:]) for p in runs.glob("run-*") if p.name[4:].isdecimal()]
    number = max(numbers, default=0) + 1
    while True:
        folder = runs / f"run-{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _inputs(tiles: Path, patients: Path | None, pools: Pools) -> dict[str, Any]:
    stores = pools.labelled.stores
    return {
        "tiles": str(tiles.resolve()),
        "patients": None if patients is None else str(patients.resolve()),
        "stores": {store.name: [store.slide_fingerprint, len(store)] for store in stores},
        "slides": pools.slides,
    }


def _read_inputs(folder: Path) -> dict[str, Any]:
    try:
        inputs: dict[str, Any] = json.loads((folder / INPUTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise CheckpointFormatError(f"{folder / INPUTS_FILE} cannot be read ({err})") from err
    return inputs
