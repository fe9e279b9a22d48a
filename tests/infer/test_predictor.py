"""Networks as predictors: probabilities, precision, turning, devices."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from wsiseg.errors import ConfigError
from wsiseg.infer.predictor import TorchPredictor, build_predictor, choose_device, choose_dtype
from wsiseg.infer.turning import DIHEDRAL, FLIPS, TurningPredictor
from wsiseg.model.normalise import standardise, to_unit

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last).eval()
    return SimpleNamespace(
        segmentor=network,
        normalise=lambda images: standardise(to_unit(images), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def test_probabilities_of_every_class(model, images):
    found = TorchPredictor(model, CPU, precision="fp32")(images)
    assert found.shape == (3, 4, 16, 16)
    assert found.dtype == np.float32
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-6
    expected = model.segmentor(model.normalise(images)).softmax(dim=1).detach().numpy()
    assert np.abs(found - expected).max() < 1e-6


def test_bf16_is_close_to_fp32_and_the_network_stays_as_it_is(model, images):
    precise = TorchPredictor(model, CPU, precision="fp32")(images)
    quick = TorchPredictor(model, CPU, precision="bf16")(images)
    assert 0 < np.abs(quick - precise).max() < 0.02
    assert quick.dtype == np.float32
    assert next(model.segmentor.parameters()).dtype == torch.float32


@pytest.mark.parametrize("turns", [FLIPS, DIHEDRAL], ids=["flips", "dihedral"])
def test_turning_a_predictor_that_sees_single_pixels_changes_nothing(turns, images):
    def by_pixel(tiles):
        return np.ascontiguousarray(tiles.transpose(0, 3, 1, 2).astype(np.float32) / 256)

    found = TurningPredictor(by_pixel, turns)(images)
    assert np.array_equal(found, by_pixel(images))
    assert found.flags.c_contiguous


def test_turning_averages_over_all_eight(images):
    def by_place(tiles):
        row = np.arange(16, dtype=np.float32)[:, None] * np.ones((1, 16), np.float32)
        return np.broadcast_to(row, (len(tiles), 1, 16, 16))

    found = TurningPredictor(by_place, DIHEDRAL)(images)
    assert (found == 7.5).all()
    halves = TurningPredictor(by_place, FLIPS)(images)
    assert (halves == 7.5).all()


def test_turned_prediction_of_a_turned_tile_is_the_turned_prediction(model, images):
    predictor = build_predictor(model, CPU, precision="fp32", compiled=False, tta="dihedral")
    straight = predictor(images)
    turned = predictor(np.ascontiguousarray(np.rot90(images, 1, (1, 2))))
    assert np.abs(np.rot90(straight, 1, (2, 3)) - turned).max() < 1e-6


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match="fp16 on a CPU"):
        choose_dtype("fp16", CPU)


def test_compiling_without_a_compiler_is_refused(model, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler"):
        TorchPredictor(model, CPU, compiled=True)


def test_automatic_precision_is_one_the_cpu_has(monkeypatch):
    monkeypatch.setattr("wsiseg.infer.predictor._cpu_has_bf16", lambda: True)
    assert choose_dtype("auto", CPU) == torch.bfloat16
    monkeypatch.setattr("wsiseg.infer.predictor._cpu_has_bf16", lambda: False)
    assert choose_dtype("auto", CPU) == torch.float32


def test_a_device_that_is_not_there_is_one_clear_error():
    with pytest.raises(ConfigError, match="--device cuda:99 cannot be used here"):
        choose_device("cuda:99")
    with pytest.raises(ConfigError, match="--device potato"):
        choose_device("potato")
    assert choose_device("cpu") == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_gpu_agrees_with_the_cpu(model, images, precision):
    expected = TorchPredictor(model, CPU, precision="fp32")(images)
    device = torch.device("cuda")
    model.segmentor.to(device)
    on_cpu = model.normalise
    model.normalise = lambda tiles: on_cpu(tiles).to(device)
    assert np.abs(TorchPredictor(model, device, precision=precision)(images) - expected).max() < 0.02
