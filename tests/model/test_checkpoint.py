"""Checkpoints: complete, found, and read without executing anything."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from wsiseg.config import Config, parse_config
from wsiseg.errors import CheckpointFormatError, CheckpointNotFoundError, ConfigError
from wsiseg.model.checkpoint import (
    CheckpointInfo,
    checkpoint_path,
    find_checkpoint,
    latest_run,
    load_trained,
    read_state,
    write_checkpoint,
)
from wsiseg.model.discriminator import build_discriminator
from wsiseg.model.export import export_model, model_card
from wsiseg.model.segmentor import build_segmentor
from wsiseg.outcome import read_outcomes


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(
        {
            "tiling": {"mpp": 0.4, "tile_px": 64},
            "train": {
                "segmentor": {"encoder": "tu-mobilenetv3_small_050", "weights": "none"},
                "discriminator": {"width": 4},
            },
        },
        source="test",
    )


def write(run: Path, config: Config, kind: str = "last", step: int = 3) -> Path:
    torch.manual_seed(step)
    networks = {
        "segmentor": build_segmentor(config.train.segmentor, 4).state_dict(),
        "discriminator": build_discriminator(config.train.discriminator, 4).state_dict(),
    }
    target = checkpoint_path(run, kind, step)
    info = CheckpointInfo(config, step, "supervised", {"labelled": ["a"]})
    write_checkpoint(target, info, networks, {"step": step, "values": torch.arange(3)})
    return target


def test_what_is_written_is_loaded(tmp_path: Path, config: Config) -> None:
    written = write(tmp_path, config)
    model = load_trained(tmp_path)
    assert model.path == written
    assert (model.mpp, model.tile_px, model.info.step) == (0.4, 64, 3)
    assert model.schema.names == config.schema_.names
    assert not model.segmentor.training
    torch.manual_seed(3)
    expected = build_segmentor(config.train.segmentor, 4).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.segmentor.state_dict().items())


def test_normalise_takes_bytes_to_standard_floats(tmp_path: Path, config: Config) -> None:
    write(tmp_path, config)
    tiles = np.zeros((1, 2, 4, 3), dtype=np.uint8)
    tiles[0, 1, 2] = (255, 128, 0)
    seen = load_trained(tmp_path).normalise(tiles)
    assert seen.shape == (1, 3, 2, 4)
    mean, std = config.train.segmentor.input_statistics
    for channel, value in enumerate((1.0, 128 / 255, 0.0)):
        assert seen[0, channel, 1, 2].item() == pytest.approx(
            (value - mean[channel]) / std[channel], abs=1e-5
        )


def test_final_before_best_before_last(tmp_path: Path, config: Config) -> None:
    for kind in ("last", "best", "final"):
        newest = write(tmp_path, config, kind)
        assert find_checkpoint(tmp_path) == find_checkpoint(tmp_path / "checkpoints") == newest


def test_fingerprint_follows_the_weights(tmp_path: Path, config: Config) -> None:
    one, other = (load_trained(write(tmp_path, config, step=step)).fingerprint for step in (1, 2))
    assert one != other
    assert len(one) == 32


def test_latest_run_is_the_one_written_last(tmp_path: Path, config: Config) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no trained run in"):
        latest_run(tmp_path)
    newer, older = write(tmp_path / "a", config), write(tmp_path / "b", config)
    os.utime(older / "checkpoint.json", ns=(1, 1))
    (tmp_path / "c").mkdir()
    assert newer.is_relative_to(latest_run(tmp_path))
    finished = write(tmp_path / "d", config, "final")
    os.utime(finished / "checkpoint.json", ns=(2, 2))
    assert latest_run(tmp_path) == tmp_path / "d", "a run under way does not stand before a finished one"


def test_a_state_that_would_execute_code_is_refused(tmp_path: Path, config: Config) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/harm",)

    folder = write(tmp_path, config)
    torch.save({"step": Evil()}, folder / "state.pt")
    with pytest.raises(CheckpointFormatError, match=r"state\.pt cannot be read"):
        read_state(folder)
    (folder / "state.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(CheckpointFormatError, match=r"state\.pt cannot be read"):
        read_state(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data | {"version": 99}, "found wsiseg-checkpoint version 99, expected"),
        (lambda data: {k: v for k, v in data.items() if k != "config"}, "found no config"),
        (lambda data: [data], "found list, expected an object"),
    ],
)
def test_another_description_is_refused(tmp_path: Path, config: Config, damage: object, message: str) -> None:
    folder = write(tmp_path, config)
    path = folder / "checkpoint.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))  # type: ignore[operator]  # a lambda from the list above
    with pytest.raises(CheckpointFormatError, match=message):
        load_trained(tmp_path)


def test_damaged_weights_are_named(tmp_path: Path, config: Config) -> None:
    folder = write(tmp_path, config)
    weights = folder / "segmentor.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointFormatError, match=r"segmentor\.safetensors does not hold the weights"):
        load_trained(tmp_path)


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="has no checkpoint yet"):
        load_trained(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="is no run and no exported model"):
        load_trained(tmp_path / "nothing")


def test_the_card_says_how_good_the_model_is(config: Config) -> None:
    names = config.schema_.names
    scores = {"iou": 0.5, "precision": None, "recall": 0.25, "f1": 0.625}
    figures = {"mean_iou": 0.4, "mean_f1": 0.6, "classes": dict.fromkeys(names, scores)}
    own = config.train.augment.model_copy(update={"stain": ((1, 0, 0), (0, 1, 0), (0, 0.5, 1))})
    own_stains = config.model_copy(update={"train": config.train.model_copy(update={"augment": own})})
    slides = {"labelled": ["a", "b"], "unlabelled": [], "validation": ["c"]}
    card = model_card(CheckpointInfo(own_stains, 7, "two", slides, figures), "f" * 32, Path("kidney"))
    assert "| podocyte | 0.500 | - | 0.250 | 0.625 |" in card
    assert "| mean | 0.400 | | | 0.600 |" in card
    assert "- labelled: a, b\n- unlabelled: none\n- validation: c\n" in card
    assert "optical densities (1, 0, 0), (0, 1, 0), (0, 0.5, 1)" in card
    assert "wsiseg predict SLIDE --run kidney" in card


def test_an_exported_model_is_the_same_model(tmp_path: Path, config: Config) -> None:
    write(tmp_path / "run", config)
    exported = export_model(tmp_path / "run", tmp_path / "model")
    assert exported.fingerprint == load_trained(tmp_path / "run").fingerprint
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "README.md",
        "checkpoint.json",
        "segmentor.safetensors",
        "discriminator.safetensors",
        "report.json",
    }
    (slide,) = read_outcomes(tmp_path / "model")
    assert (slide.slide, slide.status, slide.counts) == ("a", "ok", {"part": "labelled"})
    card = (tmp_path / "model" / "README.md").read_text()
    assert "64 px at 0.4 um/px" in card
    assert "- labelled: a" in card
    assert "| podocyte | glomerulus | 2 |" in card
    assert "colours varied along the stains of PAS" in card
    assert "Not known: there was no slide left to validate on." in card
    with pytest.raises(ConfigError, match="exists already"):
        export_model(tmp_path / "run", tmp_path / "model")
