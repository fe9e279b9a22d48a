"""The supervised twin: what it shares with its run, how both halves resume, and what is said in the end."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from interruptions import Interrupt, InterruptAt
from trainstores import make_config, write_tiles

from wsiseg.errors import CheckpointNotFoundError
from wsiseg.model.checkpoint import checkpoints, latest_run, load_trained
from wsiseg.progress import NullProgress
from wsiseg.train.baseline import labels_alone, twin_config
from wsiseg.train.data import Pools
from wsiseg.train.run import RunResult, begin_run, resume_run
from wsiseg.train.runfolder import is_finished, newest_unfinished
from wsiseg.train.watch import read_metrics

STEPS = 4


def begin(tiles: Path, folder: Path, progress: NullProgress | None = None, **train: Any) -> RunResult:
    config = make_config(**{"steps": STEPS, "validations": 4, "baseline": True, **train})
    return begin_run(config, tiles=tiles, folder=folder, device="cpu", progress=progress or NullProgress())


def weights(folder: Path) -> bytes:
    return (checkpoints(folder, "final")[-1] / "segmentor.safetensors").read_bytes()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiles"
    write_tiles(folder, "a")
    write_tiles(folder, "b", seed=1)
    write_tiles(folder, "c", seed=2, labelled=False)
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than these few steps of training."""
    monkeypatch.setattr("wsiseg.train.run.draw_results", lambda *_: None)


@pytest.fixture(scope="module")
def finished(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return begin(tiles, tmp_path_factory.mktemp("runs") / "whole")


def test_the_twin_differs_only_in_what_it_learns_from(pools: Pools) -> None:
    config = make_config(baseline=True)
    before, after = config.train.model_dump(), twin_config(config).train.model_dump()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"discriminator", "phases", "baseline"}
    assert [phase["unlabelled"] for phase in after["phases"]] == [False]
    alone = labels_alone(pools)
    assert (len(alone.labelled), len(alone.unlabelled)) == (len(pools.labelled), 0)
    assert alone.slides == {**pools.slides, "unlabelled": []}


def test_both_halves_are_trained_and_compared(finished: RunResult) -> None:
    twin = load_trained(finished.folder / "baseline")
    assert twin.discriminator is None
    assert twin.info.step == STEPS
    assert twin.info.slides["unlabelled"] == []
    assert finished.comparison is not None
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["baseline"] == finished.comparison.to_json()
    assert report["baseline"]["mean_iou"]["run"] == pytest.approx(finished.figures["mean_iou"], abs=1e-5)
    assert report["baseline"]["mean_iou"]["baseline"] == pytest.approx(
        twin.info.figures["mean_iou"], abs=1e-5
    )
    assert report["unlabelled_helped"] == finished.unlabelled_helped
    assert "of 1 validation slide only: nothing is known of other slides" in finished.unlabelled_helped


@pytest.mark.usefixtures("no_pictures")
def test_the_twin_is_the_supervised_run(finished: RunResult, tiles: Path, tmp_path: Path) -> None:
    """Trained by itself with ``supervised.yaml`` it comes out the same to the bit."""
    alone: dict[str, Any] = {
        "discriminator": {"kind": "none"},
        "phases": [{"name": "supervised", "share": 1.0}],
    }
    result = begin(tiles, tmp_path / "supervised", baseline=False, **alone)
    assert weights(result.folder) == weights(finished.folder / "baseline")
    assert result.unlabelled_helped == "not measured (no phase learned from unlabelled tiles)"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("stop", [STEPS - 1, STEPS, 2 * STEPS - 1])
def test_either_half_resumes_by_the_same_command(
    finished: RunResult, tiles: Path, tmp_path: Path, stop: int
) -> None:
    folder = tmp_path / "runs" / "broken"
    with pytest.raises(Interrupt):
        begin(tiles, folder, InterruptAt(stop))
    assert is_finished(folder / "baseline") == (stop >= STEPS)
    assert newest_unfinished(tmp_path / "runs") == folder
    result = resume_run(folder, device="cpu", progress=NullProgress())
    assert result.comparison == finished.comparison
    for half in (".", "baseline"):
        assert weights(folder / half) == weights(finished.folder / half)
        assert read_metrics(folder / half) == read_metrics(finished.folder / half)
    with pytest.raises(CheckpointNotFoundError, match="no unfinished run"):
        newest_unfinished(tmp_path / "runs")


def test_killed_before_the_report(finished: RunResult, tmp_path: Path) -> None:
    """All steps done, nothing said yet: resuming says it, and trains nothing."""
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    for name in ("report.json", "confusion.png"):
        (folder / name).unlink()
    again = resume_run(folder, device="cpu", progress=InterruptAt(STEPS))
    assert again.comparison == finished.comparison
    assert again.figures == finished.figures
    assert weights(folder) == weights(finished.folder)
    assert read_metrics(folder) == read_metrics(finished.folder)
    assert (folder / "confusion.png").read_bytes() == (finished.folder / "confusion.png").read_bytes()


def test_the_newest_run_is_never_a_baseline(finished: RunResult, tmp_path: Path) -> None:
    older, newer = (
        Path(shutil.copytree(finished.folder, tmp_path / "runs" / name)) for name in ("older", "newer")
    )
    # The newer run has a finished baseline, the newest checkpoint of all, and none of its own.
    shutil.rmtree(newer / "checkpoints")
    (newer / "report.json").unlink()
    for file in (newer / "baseline" / "checkpoints").rglob("checkpoint.json"):
        file.touch()
    assert latest_run(tmp_path / "runs") == older
    assert newest_unfinished(tmp_path / "runs") == newer


@pytest.mark.usefixtures("no_pictures")
def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    write_tiles(tmp_path / "one", "a")
    write_tiles(tmp_path / "one", "c", seed=2, labelled=False)
    blind = begin(tmp_path / "one", tmp_path / "blind", steps=2)
    assert blind.comparison is None
    assert blind.unlabelled_helped == "not measured (no slide was left to validate on)"
    report = json.loads((tmp_path / "blind" / "report.json").read_text())
    assert report["baseline"] is None
    write_tiles(tmp_path / "two", "a")
    write_tiles(tmp_path / "two", "b", seed=1)
    lonely = begin(tmp_path / "two", tmp_path / "lonely", steps=2)
    assert lonely.unlabelled_helped == "not measured (no phase learned from unlabelled tiles)"
    assert not (tmp_path / "lonely" / "baseline").exists()
