"""Whole runs on tiny tiles: resuming, guards, processes, bad input."""

import functools
import json
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forking import FORKING, fork
from interruptions import Interrupt, InterruptAt
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import nn
from trainstores import SCHEMA, TINY, FakeStore, fake_store, make_config, make_tiles, write_tiles

from wsiseg.config import Config
from wsiseg.metrics import Scores, confusion
from wsiseg.model.checkpoint import checkpoints, load_trained
from wsiseg.progress import NullProgress
from wsiseg.tilestore import TileStore
from wsiseg.train import networks as networks_module
from wsiseg.train.data import Pools, make_pools
from wsiseg.train.gauges import look
from wsiseg.train.loop import Trainer
from wsiseg.train.prepare import prepare, start_fabric
from wsiseg.train.run import begin_run, resume_run
from wsiseg.train.runfolder import newest_unfinished
from wsiseg.train.split import Split
from wsiseg.train.watch import read_metrics


def trainer(config: Config, pools: Pools, folder: Path) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trainer(config, pools, fabric, folder=folder, progress=NullProgress())


def weights(folder: Path, kind: str) -> dict[str, bytes]:
    newest = checkpoints(folder, kind)[-1]
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


# Python warns of forking beside threads; the children here use one thread of their own and no lock.
def test_a_resumed_run_is_the_same_run_bit_for_bit(pools: Pools, tmp_path: Path) -> None:
    """Both phases, both optimisers, average, guards: the interruption leaves no trace."""
    one = {"name": "one", "share": 0.7}
    two = {
        "name": "two",
        "share": 0.3,
        "unlabelled": True,
        "discriminator": "refresh",
        "pseudo_labels": True,
    }
    sampler = {"batch_size": 2, "unlabelled_batch_size": 2}
    # Guards that always step in, at steps between two checkpoints.
    guards = {"check_every": 3, "d_loss_high": 0.2}
    config = make_config(steps=10, validations=5, phases=[one, two], sampler=sampler, guards=guards)
    whole = trainer(config, pools, tmp_path / "whole")
    whole.fit()
    for stop, name in ((3, "early"), (9, "late")):
        folder = tmp_path / name
        broken = trainer(config, pools, folder)
        broken.progress = InterruptAt(stop)
        with pytest.raises(Interrupt):
            broken.fit()
        again = trainer(config, pools, folder)
        again.resume(checkpoints(folder, "last")[-1])
        assert 0 < again.state.step < stop
        again.fit()
        assert weights(folder, "final") == weights(tmp_path / "whole", "final")
        assert weights(folder, "last") == weights(tmp_path / "whole", "last")
        assert read_metrics(folder) == read_metrics(tmp_path / "whole")


@FORKING
def test_kill_minus_nine_and_resume(tiles: Path, tmp_path: Path) -> None:
    """The real thing: a process killed between two steps."""
    config = make_config(steps=12, validations=6)
    folder = tmp_path / "runs" / "killed"
    process = fork(
        lambda: begin_run(config, tiles=tiles, folder=folder, device="cpu", progress=NullProgress())
    )
    while not (kept := checkpoints(folder, "last")) or kept[-1].name < "last-0000004":
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not checkpoints(folder, "final")
    assert newest_unfinished(tmp_path / "runs") == folder
    resume_run(folder, device="cpu", progress=NullProgress())
    begin_run(config, tiles=tiles, folder=tmp_path / "whole", device="cpu", progress=NullProgress())
    assert weights(folder, "final") == weights(tmp_path / "whole", "final")


def test_four_tiles_are_learned_by_heart(tmp_path: Path) -> None:
    images, labels = make_tiles(4, 64)
    store = FakeStore("four", images, labels)
    amounts = ("scale", "hed", "brightness", "contrast", "saturation", "noise", "blur_share")
    still = dict.fromkeys(amounts, 0)
    config = make_config(
        steps=60,
        optimiser={"lr": 3e-3, "warmup_share": 0.1},
        augment={**still, "dihedral": False, "hue_degrees": 0},
        sampler={"batch_size": 4, "unlabelled_batch_size": 2, "class_quota": 0},
        phases=[{"name": "all", "share": 1.0}],
        discriminator={"width": 4, "every": 4},
        ema_decay=0.8,
    )
    pools = make_pools([store], Split((0,), ()), config.train)
    run = trainer(config, pools, tmp_path)
    run.fit()
    seen = look(run.state.networks, pools.labelled, SCHEMA, config.train)
    assert seen.scores.mean["f1"] > 0.98


def test_a_finished_run_predicts(tiles: Path, tmp_path: Path) -> None:
    result = begin_run(
        make_config(), tiles=tiles, folder=tmp_path / "run", device="cpu", progress=NullProgress()
    )
    model = load_trained(tmp_path / "run")
    assert model.schema == SCHEMA
    logits = model.segmentor(model.normalise(np.zeros((2, 32, 32, 3), dtype=np.uint8)))
    assert logits.shape == (2, 2, 32, 32)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "checkpoints",
        "config.yaml",
        "confusion.png",
        "curves.png",
        "metrics.jsonl",
        "report.json",
        "tensorboard",
    }
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {entry["slide"]: entry["counts"] for entry in report["slides"]} == {
        outcome.slide: outcome.counts for outcome in result.outcomes
    }
    assert report["unlabelled_helped"].startswith("not measured")
    assert set(report["validation"]["classes"]) == set(SCHEMA.names)


def test_validation_figures_are_those_of_the_saved_weights(tiles: Path, tmp_path: Path) -> None:
    """The figures in the checkpoint can be had again from the checkpoint alone."""
    result = begin_run(
        make_config(guards={"enabled": False}),
        tiles=tiles,
        folder=tmp_path / "run",
        device="cpu",
        progress=NullProgress(),
    )
    model = load_trained(tmp_path / "run")
    store = TileStore.open(tiles / f"{model.info.slides['validation'][0]}.zarr")
    with torch.no_grad():
        predicted = model.segmentor(model.normalise(store.images(range(len(store))))).argmax(dim=1)
    matrix = confusion(store.labels(range(len(store))), predicted.to(torch.uint8).numpy(), 2)
    assert result.figures["mean_iou"] == pytest.approx(
        Scores.from_confusion(matrix, SCHEMA.names).mean["iou"], abs=1e-6
    )


HARMFUL = [
    {"name": "supervised", "share": 0.75},
    {
        "name": "unsupervised",
        "share": 0.25,
        "labelled": False,
        "unlabelled": True,
        "discriminator": "frozen",
        "lambda_unlabelled": 50.0,
        "ramp_share": 0.0,
        "optimiser": {"name": "sgd", "lr": 1.0, "clip_norm": 1000.0},
    },
]
"""A frozen discriminator and a large learning rate ruin any segmentor."""


def test_the_phase_that_does_harm_is_undone(pools: Pools, tmp_path: Path) -> None:
    """The segmentor is ruined; the run does not end with it."""
    config = make_config(
        steps=40,
        validations=4,
        ema_decay=0.5,
        phases=HARMFUL,
        guards={"max_drop": 1.0},
        optimiser={"lr": 3e-3},
    )
    run = trainer(config, pools, tmp_path)
    run.fit()
    supervised = load_trained(checkpoints(tmp_path, "supervised")[-1])
    assert load_trained(tmp_path).fingerprint == supervised.fingerprint
    assert load_trained(checkpoints(tmp_path, "last")[-1]).fingerprint != supervised.fingerprint
    assert any("the run keeps the supervised checkpoint" in event for event in run.state.guards.events)
    kept, last = (load_trained(path).info for path in (tmp_path, checkpoints(tmp_path, "last")[-1]))
    assert (kept.step, kept.phase, last.step, last.phase) == (30, "supervised", 40, "unsupervised")
    assert (kept.slides["unlabelled"], last.slides["unlabelled"]) == ([], ["c"])


def test_a_run_that_ends_in_a_rollback_shows_the_weights_it_kept(pools: Pools, tmp_path: Path) -> None:
    """The phase is ended at its first fall: weights, figures and pictures are those of the best step."""
    config = make_config(
        steps=40,
        validations=4,
        ema_decay=0.5,
        phases=HARMFUL,
        guards={"max_drop": 0.001, "max_rollbacks": 0},
        optimiser={"lr": 3e-3},
    )
    run = trainer(config, pools, tmp_path)
    run.fit()
    assert any("once more: back to step 30" in event for event in run.state.guards.events)
    best = load_trained(checkpoints(tmp_path, "best")[-1])
    assert load_trained(tmp_path).fingerprint == best.fingerprint
    assert load_trained(tmp_path).info == best.info
    again = trainer(config, pools, tmp_path)
    again.resume(checkpoints(tmp_path, "last")[-1])
    again.fit()
    assert again.state.step == 40
    assert load_trained(tmp_path).info == best.info
    assert run.last_look is not None
    assert run.last_look.figures() == run.state.figures == best.info.figures


def test_rolling_back_returns_to_where_labels_alone_had_come(pools: Pools, tmp_path: Path) -> None:
    """Not to a better look long before: the checkpoint of that step is the supervised one."""
    config = make_config(
        steps=8,
        validations=8,
        phases=HARMFUL,
        guards={"max_drop": 1.0},
    )
    run = trainer(config, pools, tmp_path)
    run.fit()
    (supervised,) = checkpoints(tmp_path, "supervised")
    step = load_trained(supervised).info.step
    run.state.guards.best_step = step
    run._roll_back()
    now = run.state.networks.ema.teacher.state_dict()
    kept = load_trained(supervised).segmentor.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in now.items())


def test_rolling_back_returns_to_the_best_weights(pools: Pools, tmp_path: Path) -> None:
    run = trainer(make_config(steps=4, validations=1), pools, tmp_path)
    run.fit()
    best = load_trained(checkpoints(tmp_path, "best")[-1]).segmentor.state_dict()
    with torch.no_grad():
        for tensor in run.state.networks.ema.teacher.parameters():
            tensor.mul_(0.5)
    run._roll_back()
    now = run.state.networks.ema.teacher.state_dict()
    assert all(torch.equal(tensor, best[name]) for name, tensor in now.items())


def test_a_compiled_run_is_the_same_run(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the code generation, which takes minutes: what is captured gives the same numbers."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    for compiled in (False, True):
        config = make_config(steps=2, validations=1, compile=compiled)
        trainer(config, pools, tmp_path / str(compiled)).fit()
    assert weights(tmp_path / "True", "last") == weights(tmp_path / "False", "last")


def test_accumulated_batches_count_as_one_step(pools: Pools, tmp_path: Path) -> None:
    run = trainer(make_config(steps=2, accumulate=2, validations=1), pools, tmp_path)
    run.fit()
    assert run.state.step == 2
    assert run.state.networks.ema.updates == 2


def test_what_was_chosen_in_the_users_place_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("find_packaged", "try_to_load_from_cache"):
        monkeypatch.setattr(f"wsiseg.model.segmentor.{source}", lambda *_: None)
    write_tiles(tmp_path, "only")
    told = prepare(make_config(segmentor={}), tmp_path, "cpu", None).notices
    assert any("the small encoder tu-tf_efficientnet_lite0 is used" in notice for notice in told)
    assert any("random weights" in notice and "weights=imagenet downloads" in notice for notice in told)
    asked = prepare(make_config(segmentor=TINY), tmp_path, "cpu", None).notices
    assert not any("random weights" in notice or "small encoder" in notice for notice in asked)
    fabric = start_fabric(make_config().train, on_gpu=False)
    monkeypatch.setattr("wsiseg.train.prepare._on_gpu", lambda _: True)
    monkeypatch.setattr("wsiseg.train.prepare.start_fabric", lambda *_, **__: fabric)
    told = prepare(make_config(segmentor={}, precision="32-true"), tmp_path, "cuda", None).notices
    assert any("no ImageNet weights of tu-xception65 on this machine" in notice for notice in told)


@pytest.mark.parametrize(("slides", "told"), [(3, True), (5, False)])
def test_that_few_slides_teach_is_said(tmp_path: Path, slides: int, *, told: bool) -> None:
    for number in range(slides):
        write_tiles(tmp_path, f"slide-{number}")
    notices = prepare(make_config(), tmp_path, "cpu", None).notices
    wanted = f"labelled slides: {slides - 1} to learn from, 1 kept back"
    assert any(notice.startswith(wanted) for notice in notices) == told


def test_without_validation_the_last_average_is_kept(tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", "only")
    result = begin_run(
        make_config(steps=2),
        tiles=tmp_path / "tiles",
        folder=tmp_path / "run",
        device="cpu",
        progress=NullProgress(),
    )
    assert result.figures == {}
    assert any("no slide is kept to validate on" in notice for notice in result.notices)
    assert any("no unlabelled tiles" in notice for notice in result.notices)
    final, last = (checkpoints(tmp_path / "run", kind)[-1] for kind in ("final", "last"))
    assert load_trained(final).fingerprint == load_trained(last).fingerprint


@pytest.mark.parametrize(("steps", "told"), [(3, True), (60, False)])
def test_a_class_that_is_not_found_is_named(tmp_path: Path, steps: int, told: bool) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        write_tiles(tmp_path / "tiles", name, count=6, seed=seed)
    config = make_config(
        steps=steps,
        discriminator={"kind": "none"},
        phases=[{"name": "supervised", "share": 1.0}],
        optimiser={"lr": 0.01},
        ema_decay=0.5,
    )
    result = begin_run(
        config, tiles=tmp_path / "tiles", folder=tmp_path / "run", device="cpu", progress=NullProgress()
    )
    assert any("the network finds no disc: train longer" in notice for notice in result.notices) == told


def test_run_names_count_up(tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "run-007").mkdir(parents=True)
    result = begin_run(make_config(steps=2), tiles=tiles, device="cpu", progress=NullProgress())
    assert result.folder == Path("runs/run-008")


class Small(nn.Module):
    """An encoder and a head without dropout and BatchNorm, whose statistics are each process's own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image_NCHW: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(image_NCHW))
        return logits


def train_small(folder: Path) -> None:
    """Three steps of both networks, over as many processes as there are."""
    config = make_config(
        steps=3,
        optimiser={"name": "sgd", "lr": 0.05},
        discriminator={"width": 4, "mismatched_pairs": False, "fake_input": "soft"},
        discriminator_optimiser={"name": "sgd", "lr": 0.05},
        losses={"dice": 0.0, "class_balance": 0.0},
        sampler={"batch_size": 4, "unlabelled_batch_size": 4},
        phases=[{"name": "both", "share": 1.0, "unlabelled": True, "discriminator": "refresh"}],
    )
    stores = [fake_store("a"), fake_store("c", seed=2, labelled=False)]
    pools = make_pools(stores, Split((0, 1), ()), config.train)
    fabric = start_fabric(config.train, on_gpu=False)
    run = Trainer(config, pools, fabric, folder=folder, progress=NullProgress())
    run.fit()


@FORKING
def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same global batch over two processes (gloo) gives the same weights, within rounding."""
    monkeypatch.setattr(networks_module, "build_segmentor", lambda *_, **__: Small())
    train_small(tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def train_rank(rank: int) -> None:
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "GROUP_RANK": "0",
            "TORCHELASTIC_RUN_ID": "test",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        train_small(tmp_path / "two")

    pair = [fork(functools.partial(train_rank, rank)) for rank in range(2)]
    for process in pair:
        process.join(timeout=120)
    assert [process.exitcode for process in pair] == [0, 0]
    for name in ("student", "discriminator"):
        one, two = (
            load_file(checkpoints(tmp_path / run, "last")[-1] / f"{name}.safetensors")
            for run in ("one", "two")
        )
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=2e-5, rtol=1e-3)
