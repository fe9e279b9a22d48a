"""Bad input and bad luck: said clearly, before or at the moment, with the last good checkpoint kept."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from trainstores import TINY, FakeStore, make_config, write_tiles

from wsiseg.classes import default_schema
from wsiseg.config import Config, parse_config
from wsiseg.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigError,
    LockedError,
    OutputError,
    TrainingDataError,
    TrainingDivergedError,
    TrainingError,
)
from wsiseg.lock import write_lock
from wsiseg.model.checkpoint import checkpoints, latest_run, load_trained
from wsiseg.progress import NullProgress
from wsiseg.train import networks as networks_module
from wsiseg.train.data import Pools
from wsiseg.train.loop import MAX_SKIPPED, Trainer
from wsiseg.train.prepare import process_counts, start_fabric
from wsiseg.train.run import begin_run, resume_run
from wsiseg.train.runfolder import describe_inputs, newest_unfinished


def trainer(config: Config, pools: Pools, folder: Path) -> Trainer:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trainer(config, pools, fabric, folder=folder, progress=NullProgress())


def unfinish(folder: Path) -> None:
    """Take the end of a finished run away."""
    for finished in (folder / "checkpoints").glob("final-*"):
        finished.rename(finished.with_name("old"))


CAUSES = {
    "memory": r"the GPU has too little memory for training\. Lower train\.sampler\.batch_size",
    "weights": "does not fit the encoder",
    "nan": "no checkpoint was written yet",
}
"""What is said where a run fails in its first step."""


def poison(run: Trainer, monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool]) -> None:
    """The segmentor gives NaN at these steps."""
    original = run.state.networks.student.forward

    def poisoned(image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = original(image)
        return logits * float("nan") if when(run.state.step) else logits

    monkeypatch.setattr(run.state.networks.student, "forward", poisoned)


def test_an_infinite_loss_stops_the_run_and_keeps_the_last_good_checkpoint(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(make_config(steps=6, validations=3), pools, tmp_path)
    poison(run, monkeypatch, lambda step: step == 3)
    with pytest.raises(
        TrainingDivergedError, match=r"not finite at step 3; the last good checkpoint is .*last-0000002"
    ):
        run.fit()
    kept = load_trained(tmp_path).segmentor.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_sixteen_bits_may_skip_some_steps_but_not_all(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the loss scaler skips infinite steps, only a long row of them ends the run.

    That the discriminator's steps stay finite all the while changes nothing.
    """
    phases = [{"name": "one", "share": 1.0}]
    config = make_config(steps=60, validations=1, precision="16-mixed", phases=phases)
    run = trainer(config, pools, tmp_path)
    # The stand-in for the scaler: nothing moves while the gradient is not finite.
    monkeypatch.setattr(run.state.optimiser.optimizer, "step", lambda *_, **__: None)
    poison(run, monkeypatch, lambda step: step in range(5, 15) or step >= 20)
    with pytest.raises(TrainingDivergedError, match=f"not finite at step {20 + MAX_SKIPPED}"):
        run.fit()


def test_a_full_disk_is_said_and_the_last_good_checkpoint_kept(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(make_config(steps=6, validations=3), pools, tmp_path)
    write = Path.write_bytes

    def write_until_full(path: Path, data: Any) -> int:
        if run.state.step > 2 and path.name == "state.pt":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device\. Free some space"):
        run.fit()
    assert [folder.name for folder in checkpoints(tmp_path, "last")] == ["last-0000002"]
    assert not list(tmp_path.rglob("*.partial*"))
    monkeypatch.undo()
    again = trainer(make_config(steps=6, validations=3), pools, tmp_path)
    again.resume(checkpoints(tmp_path, "last")[-1])
    again.fit()
    assert again.state.step == 6
    assert load_trained(tmp_path).path.name.startswith("final-")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            {"classes": default_schema().to_json()},
            TrainingDataError,
            "different classes: found background, disc in",
        ),
        ({"tiling": {"mpp": 0.25}}, TrainingDataError, "tiling.mpp is not that of the tiles: found 0.5 in"),
        (
            {"tiling": {"tile_px": 64}},
            TrainingDataError,
            "tiling.tile_px is not that of the tiles: found 32 in",
        ),
        (
            {"train": {"discriminator": {"kind": "patchgan", "receptive_field": 256}}},
            ConfigError,
            "a PatchGAN with a receptive field of 256 px has no room: found tiles of 32 px",
        ),
        ({"train": {"segmentor": {"encoder": "nothing"}}}, ConfigError, "found 'nothing'"),
        (
            {"train": {"segmentor": {**TINY, "architecture": "pan"}}},
            ConfigError,
            "pan on tu-mobilenetv3_small_050 cannot take tiles of 32 px",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    tiles: Path, tmp_path: Path, data: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        begin_run(
            parse_config(data, source="test"),
            tiles=tiles,
            folder=tmp_path / "run",
            device="cpu",
            progress=NullProgress(),
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cause", ["memory", "weights", "nan"])
def test_what_fails_before_the_first_checkpoint_is_not_offered_for_going_on(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    config, errors = make_config(), {"memory": TrainingError, "nan": TrainingDivergedError}

    def fail(run: Trainer, *_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory") if cause == "memory" else run._diverged()

    monkeypatch.setattr(Trainer, "advance", fail)
    if cause == "weights":
        save_file({"something": torch.zeros(1)}, tmp_path / "other.safetensors")
        config = make_config(segmentor={**TINY, "weights": str(tmp_path / "other.safetensors")})
    with pytest.raises(errors.get(cause, CheckpointFormatError), match=CAUSES[cause]):
        begin_run(config, tiles=tiles, folder=tmp_path / "run", device="cpu", progress=NullProgress())
    with pytest.raises(CheckpointNotFoundError, match="no unfinished run"):
        newest_unfinished(tmp_path)


def test_a_run_that_another_process_trains_is_left_alone(tiles: Path, tmp_path: Path) -> None:
    runs, offered = tmp_path / "runs", list[Path]()

    class Asks(NullProgress):
        def advance(self, units: int = 1, note: str | None = None) -> None:
            offered.append(newest_unfinished(runs))

    (runs / "older").mkdir(parents=True)
    (runs / "older" / "inputs.json").write_text("{}")
    newer = runs / "newer"
    begin_run(make_config(steps=2), tiles=tiles, folder=newer, device="cpu", progress=Asks())
    assert set(offered) == {runs / "older"}
    unfinish(newer)
    with write_lock(newer):
        assert newest_unfinished(runs) == runs / "older"
        assert latest_run(runs) == newer
        with pytest.raises(LockedError, match="newer is being written by another process"):
            resume_run(newer, device="cpu", progress=NullProgress())
    assert newest_unfinished(runs) == newer
    assert {path.name for path in runs.iterdir()} == {"older", "newer"}


def test_compiling_without_a_compiler_is_refused(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsiseg.model.machine.shutil.which", lambda _: None)
    with pytest.raises(ConfigError, match=r"train\.compile: no C\+\+ compiler is installed"):
        begin_run(make_config(compile=True), tiles=tiles, folder=tmp_path / "run", progress=NullProgress())
    assert not (tmp_path / "run").exists()


def test_a_tile_side_that_is_no_multiple_of_16(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", "odd", side=40)
    with pytest.raises(TrainingDataError, match="unsuitable side: found 40 px, expected a multiple of 16"):
        begin_run(Config(), tiles=tmp_path / "tiles", device="cpu", progress=NullProgress())


def test_no_tiles(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"does not exist\. Cut slides into tiles first"):
        begin_run(Config(), tiles=tmp_path / "tiles", device="cpu", progress=NullProgress())
    (tmp_path / "tiles").mkdir()
    with pytest.raises(TrainingDataError, match="holds no tile store"):
        begin_run(Config(), tiles=tmp_path / "tiles", device="cpu", progress=NullProgress())


def test_resuming_what_cannot_be_resumed(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no unfinished run"):
        newest_unfinished(tmp_path / "runs")
    with pytest.raises(CheckpointNotFoundError, match="not a run that can be resumed"):
        resume_run(tmp_path, progress=NullProgress())
    folder = tmp_path / "run"
    begin_run(make_config(steps=2), tiles=tiles, folder=folder, device="cpu", progress=NullProgress())
    with pytest.raises(CheckpointNotFoundError, match="is finished"):
        resume_run(folder, progress=NullProgress())
    with pytest.raises(ConfigError, match="holds a run already"):
        begin_run(make_config(), tiles=tiles, folder=folder, device="cpu", progress=NullProgress())


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_resuming_a_damaged_run_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "inputs.json").write_text(text)
    with pytest.raises(CheckpointFormatError, match=r"inputs\.json"):
        resume_run(tmp_path, progress=NullProgress())


def test_a_run_folder_that_cannot_be_made_is_said(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("a file")
    for folder in (Path("runs"), None):
        with pytest.raises(OutputError, match="cannot write runs: File exists"):
            begin_run(make_config(), tiles=tiles, folder=folder, device="cpu", progress=NullProgress())


def test_resuming_on_other_tiles_is_refused(tiles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin_run(make_config(steps=2), tiles=tiles, folder=folder, device="cpu", progress=NullProgress())
    unfinish(folder)
    write_tiles(tiles, "d", seed=9)
    with pytest.raises(TrainingDataError, match=r"are not those that .* began with"):
        resume_run(folder, device="cpu", progress=NullProgress())


def test_tiles_of_another_content_key_are_other_tiles(pools: Pools, tmp_path: Path) -> None:
    before = describe_inputs(tmp_path, None, pools)
    store = pools.labelled.stores[0]
    assert isinstance(store, FakeStore)
    store.class_pixels = store.class_pixels + 1
    assert describe_inputs(tmp_path, None, pools) != before


def test_resuming_does_not_ask_for_the_encoders_own_weights(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = tmp_path / "run", []
    monkeypatch.setattr("wsiseg.model.segmentor.try_to_load_from_cache", lambda *_: None)
    config = make_config(steps=2, segmentor={"encoder": TINY["encoder"]})
    first = begin_run(config, tiles=tiles, folder=folder, device="cpu", progress=NullProgress())
    unfinish(folder)
    original = networks_module.build_segmentor

    def build(*args: Any, pretrained: bool) -> Any:
        asked.append(pretrained)
        return original(*args, pretrained=pretrained)

    monkeypatch.setattr(networks_module, "build_segmentor", build)
    again = resume_run(folder, device="cpu", progress=NullProgress())
    assert asked == [False]
    # What was chosen in the user's place is still said, though the kept configuration names it.
    assert any("begins with random weights" in notice for notice in again.notices)
    assert again.notices == first.notices


def test_batches_of_one_are_refused(tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BatchNorm needs two: in the configuration, and on each process."""
    with pytest.raises(ConfigError, match=r"train\.sampler\.batch_size"):
        make_config(sampler={"batch_size": 1})
    with pytest.raises(ConfigError, match=r"train\.sampler\.unlabelled_batch_size"):
        make_config(sampler={"unlabelled_batch_size": 1})

    class Three:
        world_size = 3

    monkeypatch.setattr("wsiseg.train.prepare.start_fabric", lambda *_, **__: Three())
    config = make_config(sampler={"batch_size": 3, "unlabelled_batch_size": 6})
    with pytest.raises(ConfigError, match="found 3 over 3 processes, expected two or more for each"):
        begin_run(config, tiles=tiles, folder=tmp_path / "run", device="cpu", progress=NullProgress())
    with pytest.raises(CheckpointNotFoundError, match="no unfinished run"):
        newest_unfinished(tmp_path)


def test_sixteen_bits_need_a_gpu(tiles: Path, tmp_path: Path) -> None:
    config = make_config(precision="16-mixed")
    with pytest.raises(ConfigError, match="found 16-mixed on a CPU, expected 32-true, bf16-mixed or auto"):
        begin_run(config, tiles=tiles, folder=tmp_path / "run", device="cpu", progress=NullProgress())
    with pytest.raises(ConfigError, match="16-mixed on a CPU"):
        start_fabric(config.train, on_gpu=False)


@pytest.mark.parametrize(
    ("environment", "counts"),
    [
        ({}, (1, 1)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2"}, (8, 4)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}, (8, 4)),
        # A batch script that starts wsiseg without srun: the job has tasks, this process is alone.
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, (1, 1)),
    ],
)
def test_processes_are_counted_as_they_were_started(
    environment: dict[str, str], counts: tuple[int, int]
) -> None:
    assert process_counts(environment) == counts
