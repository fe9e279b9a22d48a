"""A whole study: run what is missing, then rebuild the tables from the cells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from wsiseg.config.study import StudyConfig
from wsiseg.errors import ConfigError, LockedError
from wsiseg.files import write_json
from wsiseg.outcome import Outcome, write_report
from wsiseg.progress import Progress
from wsiseg.report.study import write_study_report
from wsiseg.study.cells import read_cell
from wsiseg.study.collect import Results, by_config, collect
from wsiseg.study.plan import all_cells, plan_tasks
from wsiseg.study.spread import Ended, run_here, run_in_processes, run_on_cluster
from wsiseg.study.tables import build_table
from wsiseg.study.work import CellTask, Place
from wsiseg.train.prepare import Device


@dataclass(frozen=True)
class StudyOptions:
    """Where and how a study is run; nothing here changes its figures.

    Attributes:
        tiles: Folder of tile stores.
        out: Folder of the study.
        device: Where to train.
        workers: Threads that load tiles, in each process.
        devices: Processes side by side.
        scheduler: Address of a dask scheduler, instead of processes here.
        keep_runs: Whether run folders stay.
    """

    tiles: Path
    out: Path
    device: Device = "auto"
    workers: int = 1
    devices: int = 1
    scheduler: str | None = None
    keep_runs: bool = False


@dataclass(frozen=True)
class StudyResult:
    """What came out.

    Attributes:
        out: Folder with ``table.md``, ``table.json``, ``study.html``, ``report.json`` and ``cells/``.
        table: The content of ``table.json``.
        outcomes: One a cell that was run now.
    """

    out: Path
    table: Mapping[str, Any]
    outcomes: list[Outcome]


def run_study(name: str, study: StudyConfig, options: StudyOptions, *, progress: Progress) -> StudyResult:
    """Run the cells that are not finished, then write the tables.

    A cell that cannot be trained does not stop the others; its outcome says why.

    Args:
        name: Of the study, for headings.
        study: What is compared.
        options: Where and how.
        progress: Told of every cell.

    Raises:
        ConfigError: The study does not fit the tiles, or an arm cannot be configured.
        TrainingError: The tiles cannot be learnt from, or a process was lost.
        StoreError: A store, or a result, is damaged.
        OutputError: The folder cannot be written.
    """
    place = Place(options.out.resolve(), options.device, options.workers, options.keep_runs)
    tasks = plan_tasks(study, options.tiles, place)
    finished, todo = _finished_and_not(tasks)
    outcomes = _work(todo, options, progress, done=len(finished))
    before = [Outcome(task.cell.name, "skipped", "finished before") for task in finished]
    write_report(options.out, "study", [*before, *outcomes])
    keys = {task.cell: task.key for task in tasks}
    results = collect(
        study, [task.cell for task in tasks], options.out, lambda cell, key: keys[cell].fits(key)
    )
    failed = [
        f"{outcome.slide} failed: {outcome.reason}" for outcome in outcomes if outcome.status == "failed"
    ]
    results = replace(results, notes=(*results.notes, *failed))
    return StudyResult(options.out, write_tables(name, results, options.out), outcomes)


def report_study(name: str, study: StudyConfig, out: Path) -> StudyResult:
    """Write the tables from the cells alone; tiles and networks are not needed.

    Raises:
        ConfigError: No finished cell of this study, or an arm cannot be configured.
        StoreFormatError: A result is damaged.
        OutputError: The folder cannot be written.
    """
    results = collect(study, all_cells(study), out, by_config(study))
    if not results.cells:
        raise ConfigError(
            f"{out} holds no result of this study", remedy="Run it without --report-only, or name its --out"
        )
    return StudyResult(out, write_tables(name, results, out), [])


def write_tables(name: str, results: Results, out: Path) -> Mapping[str, Any]:
    """Write ``table.json``, ``table.md`` and ``study.html``; returns the content of the first."""
    table = build_table(name, results)
    write_json(out / "table.json", table)
    write_study_report(table, out, _samples(results, out))
    return table


def _samples(results: Results, out: Path) -> dict[str, Path]:
    """Pictures of one cell an arm: with the fewest labels, by the first seed, in the first fold."""
    found: dict[str, Path] = {}
    for cell in sorted(results.cells, key=lambda cell: (cell.share, results.study.seeds.index(cell.seed))):
        name = f"{cell.arm}, {cell.share} of the labels, seed {cell.seed}"
        picture = cell.picture(out)
        if picture.is_file() and not any(known.startswith(f"{cell.arm}, ") for known in found):
            found[name] = picture
    return found


def _finished_and_not(tasks: list[CellTask]) -> tuple[list[CellTask], list[CellTask]]:
    finished: list[CellTask] = []
    todo: list[CellTask] = []
    for task in tasks:
        (finished if task.is_done() else todo).append(task)
    return finished, todo


def _work(todo: list[CellTask], options: StudyOptions, progress: Progress, *, done: int) -> list[Outcome]:
    # Cells whose tiles the models of others choose come after all of those.
    waves = [[task for task in todo if (task.acquires is None) is first] for first in (True, False)]
    ended = chain.from_iterable(_run_wave(wave, options, progress) for wave in waves if wave)
    progress.start("cells", done + len(todo))
    progress.advance(done)
    outcomes = []
    for task, error in ended:
        outcome = Outcome(task.cell.name)
        found = read_cell(task.result)
        if error is None and found is not None:
            outcome.seconds = found["made"]["seconds"]
        elif error is not None:
            outcome.status = "skipped" if isinstance(error, LockedError) else "failed"
            outcome.reason = str(error)
        outcomes.append(outcome)
        progress.advance(1)
    return outcomes


def _run_wave(tasks: list[CellTask], options: StudyOptions, progress: Progress) -> Iterator[Ended]:
    """Cells that do not wait for one another."""
    if options.scheduler is not None:
        return run_on_cluster(tasks, options.scheduler)
    if options.devices > 1 and len(tasks) > 1:
        return run_in_processes(tasks, options.devices)
    return run_here(tasks, progress)
