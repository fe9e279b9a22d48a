"""Checkpoints written by earlier versions are read for ever."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from trainstores import SCHEMA, fake_store

from wsiseg.model.checkpoint import load_trained, read_state
from wsiseg.model.export import export_model
from wsiseg.progress import NullProgress
from wsiseg.train.data import make_pools
from wsiseg.train.loop import Trainer
from wsiseg.train.split import Split

FORMATS = Path(__file__).parents[1] / "formats"


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoints" / "last-0000003"
    with zipfile.ZipFile(FORMATS / "v1" / "checkpoint.zip") as archive:
        archive.extractall(folder)
    return folder


def test_version_1_predicts_what_it_predicted(version_1: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(FORMATS))
    from make_checkpoint_v1 import expected_tiles

    model = load_trained(version_1.parents[1])
    assert (model.schema, model.mpp, model.tile_px) == (SCHEMA, 0.5, 32)
    assert (model.info.step, model.info.phase) == (3, "semi-supervised")
    assert model.info.slides == {"labelled": ["a"], "unlabelled": ["c"], "validation": ["b"]}
    assert model.info.figures["classes"]["disc"]["iou"] == 0.5
    with torch.no_grad():
        probabilities = model.segmentor(model.normalise(expected_tiles())).softmax(dim=1)
    expected = np.load(FORMATS / "v1" / "checkpoint-probabilities.npy")
    assert expected.mean(axis=(0, 2, 3)).min() > 0.1  # both classes occur: no constant would do
    np.testing.assert_allclose(probabilities[..., ::4, ::4].numpy(), expected, atol=1e-4)
    assert model.discriminator is not None
    exported = export_model(version_1, tmp_path / "model")
    assert exported.fingerprint == model.fingerprint


def test_version_1_goes_on_training(version_1: Path) -> None:
    assert read_state(version_1)["step"] == 3
    config = load_trained(version_1).config
    stores = [fake_store("a"), fake_store("b", seed=1), fake_store("c", seed=2, labelled=False)]
    pools = make_pools(stores, Split((0, 2), (1,)), config.train)
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(config, pools, fabric, folder=version_1.parents[1], progress=NullProgress())
    trainer.resume(version_1)
    assert (trainer.state.step, trainer.state.guards.last_iou) == (3, 0.5)
    trainer.fit()
    assert load_trained(version_1.parents[1]).info.step == 4
