"""Networks as predictors: probabilities, precision, turning, devices."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from forking import FORKING, fork
from torch import nn

from wsiseg.config import PredictConfig
from wsiseg.config.training import DiscriminatorConfig
from wsiseg.errors import ConfigError
from wsiseg.infer.predictor import (
    TorchPredictor,
    build_predictor,
    choose_device,
    choose_devices,
    choose_dtype,
)
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
    predictor = build_predictor(model, CPU, PredictConfig(precision="fp32", tta="dihedral"))
    straight = predictor(images)
    turned = predictor(np.ascontiguousarray(np.rot90(images, 1, (1, 2))))
    assert np.abs(np.rot90(straight, 1, (2, 3)) - turned).max() < 1e-6


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match="fp16 on a CPU"):
        choose_dtype("fp16", CPU)


def test_compiling_without_a_compiler_is_refused(model, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler"):
        TorchPredictor(model, CPU, batch_size=4)


def test_automatic_precision_is_one_the_cpu_has(monkeypatch):
    for capability, dtype in [("avx512_bf16", torch.bfloat16), ("avx2", torch.float32)]:
        capabilities = {capability: True}
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda known=capabilities: known, raising=False)
        assert choose_dtype("auto", CPU) == dtype


def test_a_gpu_that_only_emulates_bf16_computes_in_fp32(monkeypatch):
    def supported(including_emulation=True):
        return including_emulation

    monkeypatch.setattr("torch.cuda.is_bf16_supported", supported)
    assert choose_dtype("auto", torch.device("cuda")) == torch.float32


def test_a_device_that_is_not_there_is_one_clear_error():
    with pytest.raises(ConfigError, match="--device cuda:99 cannot be used here"):
        choose_device("cuda:99")
    with pytest.raises(ConfigError, match="--device potato"):
        choose_device("potato")
    with pytest.raises(ConfigError, match="--device meta cannot be used here"):
        choose_device("meta")
    assert choose_device("cpu") == CPU


class Judge(nn.Module):
    """Answers with what it was shown: where class 0 is, on a grid of half the size where it is coarse."""

    def __init__(self, fake_input, *, coarse=False):
        super().__init__()
        self.config = DiscriminatorConfig(fake_input=fake_input)
        self.coarse = coarse

    def forward(self, image_NCHW, segmentation_NKHW):
        assert image_NCHW.shape[1] == 3
        shown = segmentation_NKHW[:, :1]
        return nn.functional.avg_pool2d(shown, 2) if self.coarse else shown


@pytest.mark.parametrize("fake_input", ["argmax", "soft"])
@pytest.mark.parametrize("coarse", [False, True])
def test_the_discriminator_sees_what_it_was_trained_on(model, images, fake_input, coarse):
    model.discriminator = Judge(fake_input, coarse=coarse)
    plain = TorchPredictor(model, CPU, precision="fp32")(images)
    found = TorchPredictor(model, CPU, precision="fp32", confidence=True)(images)
    assert found.shape == (3, 5, 16, 16)
    assert np.array_equal(found[:, :4], plain)
    shown = (plain.argmax(axis=1) == 0).astype(np.float32) if fake_input == "argmax" else plain[:, 0]
    if coarse:
        shown = shown.reshape(3, 8, 2, 8, 2).mean(axis=(2, 4))
        # In the middle of the corner, nothing is interpolated.
        assert found[:, 4, 0, 0] == pytest.approx(1 / (1 + np.exp(-shown[:, 0, 0])), abs=1e-6)
    else:
        assert np.abs(found[:, 4] - 1 / (1 + np.exp(-shown))).max() < 1e-6


def test_confidence_without_a_discriminator_is_refused(model):
    model.discriminator = None
    with pytest.raises(ConfigError, match="no discriminator"):
        TorchPredictor(model, CPU, confidence=True)


def test_confidence_is_turned_back_as_well(model, images):
    model.discriminator = Judge("soft")
    config = PredictConfig(precision="fp32", tta="flips", confidence=True)
    found = build_predictor(model, CPU, config)(images)
    flipped = build_predictor(model, CPU, config)(np.ascontiguousarray(images[:, :, ::-1]))
    assert found.shape == (3, 5, 16, 16)
    assert np.abs(found - flipped[..., ::-1]).max() < 1e-6


@FORKING
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_gives_the_same_probabilities(model, images):
    """In a process of its own: one that has compiled and then learnt cannot fork children that learn."""
    expected = TorchPredictor(model, CPU, precision="fp32")(images)

    def compare():
        compiled = build_predictor(model, CPU, PredictConfig(precision="fp32", compile=True))
        assert np.abs(compiled(images) - expected).max() < 1e-5

    process = fork(compare)
    process.join()
    assert process.exitcode == 0


def test_a_compiled_network_sees_batches_of_one_size(model, images, monkeypatch):
    """Each other size would be compiled anew, for a minute."""
    seen = []

    def pretend(network, device):
        def ask(image_N3TT):
            seen.append(len(image_N3TT))
            return network(image_N3TT)

        return ask

    monkeypatch.setattr("wsiseg.infer.predictor._compiled", pretend)
    compiled = build_predictor(model, CPU, PredictConfig(precision="fp32", compile=True, batch_size=3))
    expected = TorchPredictor(model, CPU, precision="fp32")(images[:2])
    found = [compiled(images[:count]) for count in (3, 1, 2)]
    assert seen == [3, 3, 3]
    assert [len(planes) for planes in found] == [3, 1, 2]
    assert np.abs(found[2] - expected).max() < 1e-5


def test_devices_by_name(monkeypatch):
    assert choose_devices("cpu, cpu") == [CPU, CPU]
    monkeypatch.setattr("wsiseg.infer.predictor.choose_device", torch.device)
    with pytest.raises(ConfigError, match="devices of one kind"):
        choose_devices("cpu,cuda")


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
