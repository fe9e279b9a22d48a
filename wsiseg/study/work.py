"""One cell, from its task to its result: a function that another process, or another machine, can run."""

import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from wsiseg import __version__
from wsiseg.config import Config
from wsiseg.config.study import Criterion
from wsiseg.errors import CheckpointError, TrainingDataError, TrainingError
from wsiseg.files import as_output_error, write_json
from wsiseg.lock import write_lock
from wsiseg.model.checkpoint import checkpoints, load_trained
from wsiseg.model.machine import memory_errors
from wsiseg.outcome import REPORT_FILE
from wsiseg.progress import NullProgress, Progress
from wsiseg.study.acquire import propose
from wsiseg.study.cells import METHOD, Cell, CellKey, read_cell, write_cell
from wsiseg.study.examine import examine
from wsiseg.study.samples import Samples
from wsiseg.tilestore import TileStore
from wsiseg.train.prepare import Device
from wsiseg.train.run import begin_run, resume_run
from wsiseg.train.runfolder import is_finished

RUNS = "runs"
"""Folder of unfinished, or kept, training runs in the folder of a study."""

_PROPOSALS = "proposals"
"""Part of a result: the tiles that its model chooses for other cells."""

_TASK_FILE = "task.json"
_TASK_VERSION = 1


@dataclass(frozen=True)
class Place:
    """Where and how cells are run; nothing here decides a result.

    Attributes:
        out: Folder of the study, absolute.
        device: Where to train and examine.
        workers: Threads that load tiles.
        keep_runs: Whether run folders stay.
    """

    out: Path
    device: Device = "auto"
    workers: int = 1
    keep_runs: bool = False


@dataclass(frozen=True)
class Acquisition:
    """Labels beyond the share of a cell.

    Attributes:
        by: What hidden tiles are ranked by.
        count: How many tiles.
        cell: The cell whose model ranks them; it is done before.
        key: What decides that one's result.
    """

    by: Criterion
    count: int
    cell: Cell
    key: CellKey


@dataclass(frozen=True)
class CellTask:
    """All that a cell needs, wherever it is run; every path is absolute.

    Attributes:
        cell: Which one.
        key: What decides its result.
        config: What to train.
        teaching: Tile stores to learn from.
        testing: Tile stores to examine on.
        place: Where and how.
        proposes: How many hidden tiles its model chooses for other cells.
        acquires: Labels beyond its share; None for most cells.
    """

    cell: Cell
    key: CellKey
    config: Config
    teaching: tuple[Path, ...]
    testing: tuple[Path, ...]
    place: Place
    proposes: tuple[int, ...] = ()
    acquires: Acquisition | None = None

    @property
    def folder(self) -> Path:
        """Where the cell works."""
        return self.place.out / RUNS / self.cell.name

    @property
    def result(self) -> Path:
        """The file of its result."""
        return self.cell.file(self.place.out)

    def is_done(self) -> bool:
        """Whether the wanted result is there.

        Raises:
            StoreFormatError: A result is there and damaged.
        """
        found = read_cell(self.result)
        if found is None or not self.key.fits(found["key"]):
            return False
        proposed: set[str] = set(found.get(_PROPOSALS, {}))
        return proposed.issuperset(map(str, self.proposes))


def run_cell(task: CellTask, progress: Progress | None = None) -> None:
    """Train and examine one cell, unless that is done; an interrupted training goes on where it was.

    Raises:
        LockedError: Another process is at this cell.
        TrainingError: It cannot be trained, or diverged.
        StoreError: A tile cannot be read.
        OutputError: The disk is full.
    """
    progress = NullProgress() if progress is None else progress
    with write_lock(task.result), _quiet_training():
        if task.is_done():
            return
        begun = time.monotonic()
        task = _with_acquired(task)
        run = _train(task, progress)
        with memory_errors("examining", "Let nothing else run on it, or examine with --device cpu"):
            figures = _examine(task, run, progress)
        made = _made(task.place.device, time.monotonic() - begun)
        taught = {**_training(run), "also_labelled": _also_labelled(task)}
        result = {**_head(task.cell), "made": made, "training": taught, **figures}
        write_cell(task.result, {**result, "key": task.key.to_json()})
        if not task.place.keep_runs:
            shutil.rmtree(task.folder, ignore_errors=True)
            with suppress(OSError):
                task.folder.parent.rmdir()


def _examine(task: CellTask, run: Path, progress: Progress) -> dict[str, Any]:
    # The weights of the last step, whatever a validation would have chosen: no arm may choose.
    last = checkpoints(run, "last")[-1]
    model, samples = load_trained(last, _device(task.place.device)), Samples()
    stores = [TileStore.open(path) for path in task.testing]
    figures = examine(model, stores, progress=progress, samples=samples)
    samples.draw(model, task.cell.picture(task.place.out))
    if task.proposes:
        teaching = [TileStore.open(path) for path in task.teaching]
        figures[_PROPOSALS] = propose(model, teaching, task.proposes, progress=progress)
    return figures


def _with_acquired(task: CellTask) -> CellTask:
    """The task with the tiles that another cell's model has chosen.

    Raises:
        LockedError: Another process is at that cell.
        TrainingError: That cell is not finished.
    """
    if task.acquires is None:
        return task
    wanted = task.acquires
    # Read without its lock: results appear in one move, and two cells may need the same one at once.
    result = wanted.cell.file(task.place.out)
    first = read_cell(result)
    # A result of another method, or of other tiles, may lie there still.
    fits = first is not None and wanted.key.fits(first["key"])
    proposed = first.get(_PROPOSALS, {}) if first is not None and fits else {}
    chosen = proposed.get(str(wanted.count), {}).get(wanted.by)
    if chosen is None:
        with write_lock(result):  # another process may be at it
            pass
        raise TrainingError(
            f"{task.cell.name} waits for {wanted.cell.name}, whose model chooses tiles for it",
            remedy="See why that one is not finished",
        )
    train = task.config.train
    named = {slide: tuple(tiles) for slide, tiles in chosen.items()}
    split = train.split.model_copy(update={"also_labelled": named})
    return replace(
        task, config=task.config.model_copy(update={"train": train.model_copy(update={"split": split})})
    )


def _train(task: CellTask, progress: Progress) -> Path:
    """A finished run; what is left of an interrupted one is used."""
    run, tiles, described = task.folder / "run", task.folder / "tiles", _described(task)
    if _read_task(task.folder) == described:
        # What cannot be continued, because the kill came too early or tore a file, is begun again.
        with suppress(CheckpointError, TrainingDataError):
            if not is_finished(run):
                resume_run(run, device=task.place.device, workers=task.place.workers, progress=progress)
            return run
    with as_output_error(task.folder):
        shutil.rmtree(task.folder, ignore_errors=True)
        tiles.mkdir(parents=True)
        for store in task.teaching:
            # The stores of test slides are not in the folder that training sees.
            (tiles / store.name).symlink_to(store, target_is_directory=True)
    write_json(task.folder / _TASK_FILE, described)
    begin_run(
        task.config,
        tiles=tiles,
        folder=run,
        device=task.place.device,
        workers=task.place.workers,
        progress=progress,
    )
    return run


def _described(task: CellTask) -> dict[str, Any]:
    """What an interrupted training must have in common with the task to be continued."""
    return {
        "version": _TASK_VERSION,
        "folder": str(task.folder),
        "key": task.key.to_json(),
        "also_labelled": _also_labelled(task),
    }


def _also_labelled(task: CellTask) -> dict[str, list[int]]:
    return {slide: list(tiles) for slide, tiles in task.config.train.split.also_labelled.items()}


def _read_task(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / _TASK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _head(cell: Cell) -> dict[str, Any]:
    return {"arm": cell.arm, "share": str(cell.share), "seed": cell.seed, "fold": cell.fold}


def _made(device: Device, seconds: float) -> dict[str, Any]:
    """By what; the seconds are those since the last interruption."""
    name = torch.cuda.get_device_name() if _device(device) == "cuda" else "cpu"
    versions = {"wsiseg": __version__, "method": METHOD, "torch": str(torch.__version__)}
    return {**versions, "device": name, "seconds": round(seconds, 1)}


def _training(run: Path) -> dict[str, Any]:
    """What the run itself reports: tiles by their part, and what it wants the reader to know."""
    report = json.loads((run / REPORT_FILE).read_text(encoding="utf-8"))
    parts = ("labelled_tiles", "unlabelled_tiles", "validation_tiles")
    tiles = {part: sum(slide["counts"].get(part, 0) for slide in report["slides"]) for part in parts}
    return {**tiles, "notices": report["notices"]}


def _device(wanted: Device) -> str:
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def _quiet_training() -> Iterator[None]:
    """What training would warn of is kept in the result: sixty cells would say it sixty times."""
    logger = logging.getLogger("wsiseg.train")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
