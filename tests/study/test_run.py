"""A whole study on discs: what is trained, what is kept, what is done again."""

import json
import os
import pickle
import queue
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from studycells import SUPERVISED, make_study, write_cells
from trainstores import make_config

from wsiseg.config.study import StudyConfig
from wsiseg.errors import ConfigError, StoreFormatError, TrainingDivergedError, TrainingError
from wsiseg.lock import write_lock
from wsiseg.model.checkpoint import load_trained
from wsiseg.model.segmentor import build_segmentor
from wsiseg.outcome import read_outcomes
from wsiseg.progress import NullProgress
from wsiseg.study import work
from wsiseg.study.cells import Cell, read_cell
from wsiseg.study.plan import plan_tasks
from wsiseg.study.run import StudyOptions, StudyResult, report_study, run_study
from wsiseg.study.spread import attempt, enter_process, run_in_processes
from wsiseg.study.work import Place
from wsiseg.train.run import begin_run, resume_run

SUPERVISED_CELL = Cell("A+", Fraction(1, 2), 0)
OTHER_CELL = Cell("H", Fraction(1, 2), 0)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the cells that were trained, ``+`` before those that were continued."""
    names: list[str] = []

    def begin(*arguments: Any, folder: Path, **options: Any) -> Any:
        names.append(folder.parent.name)
        return begin_run(*arguments, folder=folder, **options)

    def resume(folder: Path, **options: Any) -> Any:
        names.append("+" + folder.parent.name)
        return resume_run(folder, **options)

    monkeypatch.setattr(work, "begin_run", begin)
    monkeypatch.setattr(work, "resume_run", resume)
    yield names


def run(study: StudyConfig, tiles: Path, **options: Any) -> StudyResult:
    places = StudyOptions(tiles, tiles.parent / "out", device="cpu", **options)
    return run_study("discs", study, places, progress=NullProgress())


def test_a_study_is_run_once_and_only_what_changes_again(tiles: Path, trained: list[str]) -> None:
    result = run(make_study(), tiles)
    assert trained == ["A+_1-2_0", "H_1-2_0"]
    assert [outcome.status for outcome in result.outcomes] == ["ok", "ok"]
    assert [(cell.status, cell.seconds > 0) for cell in read_outcomes(result.out)] == [("ok", True)] * 2
    assert result.table["cells"] == {"wanted": 2, "finished": 2}
    assert not (result.out / "runs").exists()
    assert sorted(path.name for path in (result.out / "cells").iterdir()) == ["A+_1-2_0.json", "H_1-2_0.json"]
    assert sorted(path.name for path in (result.out / "samples").iterdir()) == ["A+_1-2_0.png", "H_1-2_0.png"]
    shown = (result.out / "study.html").read_text(encoding="utf-8")
    assert "H, 1/2 of the labels, seed 0" in shown
    for name in ("table.md", "table.json", "study.html"):
        assert (result.out / name).is_file()

    first = (result.out / "table.json").read_bytes()
    again = run(make_study(), tiles)
    assert again.outcomes == []
    assert [(cell.status, cell.reason) for cell in read_outcomes(again.out)] == [
        ("skipped", "finished before")
    ] * 2
    assert (result.out / "table.json").read_bytes() == first
    assert report_study("discs", make_study(), result.out).table == result.table
    assert len(trained) == 2

    arms = {"A+": SUPERVISED, "H": {"train.pseudo_labels.weight": 0.5}}
    assert len(run(make_study(arms=arms), tiles).outcomes) == 1
    assert trained[2:] == ["H_1-2_0"]


def test_a_cell_says_what_it_was_made_from(tiles: Path) -> None:
    result = run(make_study(), tiles, keep_runs=True)
    cell = read_cell(OTHER_CELL.file(result.out))
    assert cell is not None
    assert (cell["arm"], cell["share"], cell["seed"]) == ("H", "1/2", 0)
    assert cell["key"]["test_slides"] == ["b"]
    assert cell["key"]["train"]["split"]["labelled_share"] == 0.5
    # Slide a has 6 labelled tiles, slide c 4 without; b teaches nobody.
    assert (cell["training"]["labelled_tiles"], cell["training"]["unlabelled_tiles"]) == (3, 7)
    assert sum(map(sum, cell["slides"][0]["counts"])) == 5 * 32 * 32
    seen = json.loads((result.out / "runs" / "H_1-2_0" / "run" / "inputs.json").read_text())
    assert set(seen["stores"]) == {"a", "c"}


def test_the_weights_of_the_last_step_are_examined(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def remember(path: Path, device: str) -> Any:
        loaded.append(path.name)
        return load_trained(path, device)

    monkeypatch.setattr(work, "load_trained", remember)
    run(make_study(), tiles)
    assert loaded == ["last-0000002", "last-0000002"]


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("at", "names"),
    [
        ("the end of training", ["A+_1-2_0", "+A+_1-2_0", "H_1-2_0"]),
        ("examine", ["A+_1-2_0", "H_1-2_0"]),
        ("begin_run", ["+A+_1-2_0", "A+_1-2_0", "H_1-2_0"]),
    ],
)
def test_an_interrupted_cell_is_continued(
    tiles: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch, at: str, names: list[str]
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if at == "the end of training":
            patch.setattr("wsiseg.train.loop.Trainer._settle", interrupt)
        else:
            patch.setattr(work, at, interrupt)
        run(make_study(), tiles)
    assert not list((tiles.parent / "out" / "cells").glob("*.json"))
    result = run(make_study(), tiles)
    assert trained == names
    assert result.table["cells"] == {"wanted": 2, "finished": 2}


def test_a_continued_cell_is_the_same_cell(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(arms={"A+": SUPERVISED})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("wsiseg.train.loop.Trainer._settle", interrupt)
        run(study, tiles)
    continued = read_cell(SUPERVISED_CELL.file(run(study, tiles).out))
    SUPERVISED_CELL.file(tiles.parent / "out").unlink()
    whole = read_cell(SUPERVISED_CELL.file(run(study, tiles).out))
    assert continued is not None
    assert whole is not None
    assert {**whole, "made": None} == {**continued, "made": None}


def test_a_run_of_another_configuration_is_not_continued(
    tiles: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(work, "examine", interrupt)
        run(make_study(), tiles)
    arms = {"A+": {**SUPERVISED, "train.ema_decay": 0.5}, "H": {}}
    run(make_study(arms=arms), tiles)
    assert trained == ["A+_1-2_0", "A+_1-2_0", "H_1-2_0"]


def test_a_cell_that_fails_stops_no_other_and_is_named(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: Any, **options: Any) -> Any:
        if not config.train.is_adversarial:
            raise TrainingDivergedError("a loss is not finite at step 1")
        return begin_run(config, **options)

    monkeypatch.setattr(work, "begin_run", fail)
    result = run(make_study(), tiles)
    assert [(outcome.slide, outcome.status) for outcome in result.outcomes] == [
        ("A+_1-2_0", "failed"),
        ("H_1-2_0", "ok"),
    ]
    assert result.table["missing"] == ["A+_1-2_0"]
    assert "A+_1-2_0 failed: a loss is not finite at step 1" in result.table["notes"]
    assert "A+_1-2_0 failed" in (result.out / "study.html").read_text()


def test_a_cell_that_another_process_is_at_is_left_alone(tiles: Path, trained: list[str]) -> None:
    with write_lock(SUPERVISED_CELL.file(tiles.parent / "out")):
        result = run(make_study(), tiles)
    assert [outcome.status for outcome in result.outcomes] == ["skipped", "ok"]
    assert trained == ["H_1-2_0"]


def test_folds_examine_every_slide_once(tiles: Path, trained: list[str]) -> None:
    study = make_study(test_slides=[], folds={"one": ["a"], "two": ["b"]}, arms={"A+": SUPERVISED})
    result = run(study, tiles)
    assert trained == ["A+_1-2_0_one", "A+_1-2_0_two"]
    confusion = result.table["scores"]["A+"]["1/2"]["confusion"]
    assert sum(map(sum, confusion)) == (6 + 5) * 32 * 32


def test_a_wrong_configuration_ends_the_study_at_once(tiles: Path) -> None:
    arms = {"A+": {**SUPERVISED, "train.segmentor.architecture": "magic"}, "H": {}}
    with pytest.raises(ConfigError, match="architecture"):
        run(make_study(arms=arms), tiles)


def test_weights_that_are_not_there_are_named_before_anything_is_trained(
    tiles: Path, trained: list[str]
) -> None:
    arms = {"A+": SUPERVISED, "S": {"train.segmentor.weights": "nowhere.safetensors"}}
    with pytest.raises(ConfigError, match=r"arm S: train\.segmentor\.weights: found 'nowhere"):
        run(make_study(arms=arms), tiles)
    assert trained == []


def test_the_content_of_weights_is_in_the_key(tiles: Path, tmp_path: Path, trained: list[str]) -> None:
    weights = tmp_path / "weights.safetensors"
    study = make_study(arms={"A+": {**SUPERVISED, "train.segmentor.weights": str(weights)}})
    config = make_config().train.segmentor
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        save_file(build_segmentor(config, 2).state_dict(), weights)
        run(study, tiles)
    assert trained == ["A+_1-2_0", "A+_1-2_0"]


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no result of this study"):
        report_study("discs", make_study(), tmp_path)
    write_cells(tmp_path, make_study(seeds=[7]), {"A+": 0.9, "H": 0.9})
    with pytest.raises(ConfigError, match="holds no result of this study"):
        report_study("discs", make_study(), tmp_path)


def test_a_cell_in_a_process_of_its_own(tiles: Path) -> None:
    tasks = plan_tasks(make_study(), tiles, Place(tiles.parent / "out", "cpu"))[:1]
    assert list(run_in_processes(tasks, 1)) == [(tasks[0], None)]
    assert tasks[0].is_done()


@pytest.mark.parametrize(("allotted", "own"), [(None, "1"), ("2,3", "3"), ("GPU-a,GPU-b", "GPU-b")])
def test_a_process_takes_a_gpu_of_those_that_were_allotted(
    monkeypatch: pytest.MonkeyPatch, allotted: str | None, own: str
) -> None:
    # Set first, so that what the call sets is undone in the end.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allotted or "")
    if allotted is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    numbers: queue.Queue[int] = queue.Queue()
    numbers.put(3)
    enter_process(numbers, 4)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == own


@pytest.mark.parametrize(("cores", "before", "threads"), [(8, 6, 4), (8, 3, 3), (1, 6, 1)])
def test_processes_without_gpus_share_the_cores_that_they_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: int, before: int, threads: int
) -> None:
    """Also on a machine whose GPU was not asked for."""
    found: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: before)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    numbers: queue.Queue[int] = queue.Queue()
    numbers.put(0)
    enter_process(numbers, 2, "cpu")
    assert found == [threads]


def test_too_little_memory_ends_one_cell_and_is_let_go_of(
    tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(work, "_train", lambda *_: tiles)
    monkeypatch.setattr(work, "_examine", exhaust)
    error = attempt(plan_tasks(make_study(), tiles, Place(tiles.parent / "out", "cpu"))[0])
    assert isinstance(error, TrainingError)
    assert "the GPU has too little memory for examining" in str(error)
    assert error.__traceback__ is error.__context__ is None


def test_an_error_in_another_process_is_the_same_error(tiles: Path) -> None:
    task = plan_tasks(make_study(), tiles, Place(tiles.parent / "out", "cpu"))[0]
    error = attempt(replace(task, testing=(tiles / "nowhere.zarr",)))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is StoreFormatError
    assert str(again) == str(error)


def test_a_cell_travels(tiles: Path) -> None:
    task = plan_tasks(make_study(), tiles, Place(tiles.parent / "out", "cpu"))[1]
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_cluster_that_is_not_there_is_said(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"--scheduler needs dask\.distributed"):
        run(make_study(), tiles, scheduler="tcp://127.0.0.1:9")


def test_a_dask_cluster_runs_the_cells(tiles: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as one:
        result = run(make_study(), tiles, scheduler=one.scheduler_address)
    assert result.table["cells"] == {"wanted": 2, "finished": 2}
