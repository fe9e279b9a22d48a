"""Segmentors: any architecture, clear errors, never a download unless asked for."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wsiseg.config.training import IMAGENET_MEAN, SegmentorConfig
from wsiseg.errors import CheckpointFormatError, ConfigError
from wsiseg.model.segmentor import build_segmentor, check_tile_side, resolve_segmentor, split_parameters

TINY = SegmentorConfig(encoder="tu-mobilenetv3_small_050", weights="none")


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "unet", "fpn"])
def test_logits_have_the_size_of_the_tile(architecture: str) -> None:
    network = build_segmentor(TINY.model_copy(update={"architecture": architecture}), classes=3).eval()
    assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("deeplabv3plus", "tu-xception41"),
        ("deeplabv3plus", "tu-xception65"),
        ("deeplabv3plus", "tu-xception71"),
        ("deeplabv3plus", "mobilenet_v2"),
        ("segformer", "resnet18"),
        ("unet", "tu-mobilenetv3_small_100"),
    ],
)
def test_the_networks_of_the_documentation_can_be_built(architecture: str, encoder: str) -> None:
    """On the meta device: shapes without numbers, so that the large ones cost nothing."""
    config = SegmentorConfig(architecture=architecture, encoder=encoder, weights="none")
    with torch.device("meta"):
        network = build_segmentor(config, classes=4).eval()
        assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 4, 64, 96)


@pytest.mark.parametrize("architecture", ["fpn", "segformer", "pan"])
def test_a_tile_side_that_an_architecture_cannot_take_is_named(architecture: str) -> None:
    config = TINY.model_copy(update={"architecture": architecture})
    with pytest.raises(ConfigError, match=f"{architecture} on .* cannot take tiles of 48 px"):
        check_tile_side(config, 2, 48)
    check_tile_side(config, 2, 128)


def test_a_network_that_looks_at_numbers_is_tried_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Looks(nn.Module):
        def forward(self, image_NCHW: torch.Tensor) -> torch.Tensor:
            return image_NCHW * image_NCHW.max().item()

    monkeypatch.setattr("wsiseg.model.segmentor.build_segmentor", lambda *_, **__: Looks())
    check_tile_side(TINY, 2, 48)


def test_auto_resolves_by_device_and_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsiseg.model.segmentor.try_to_load_from_cache", lambda *_: None)
    on_cpu = resolve_segmentor(SegmentorConfig(), on_gpu=False)
    on_gpu = resolve_segmentor(SegmentorConfig(), on_gpu=True)
    assert (on_cpu.encoder, on_cpu.weights) == ("tu-tf_efficientnet_lite0", "imagenet")
    assert on_gpu == on_cpu
    told = resolve_segmentor(SegmentorConfig(weights="none"), on_gpu=True)
    assert (told.encoder, told.weights) == ("tu-xception65", "none")


def test_auto_takes_cached_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsiseg.model.segmentor.try_to_load_from_cache", lambda *_: "/somewhere/file")
    on_gpu = resolve_segmentor(SegmentorConfig(), on_gpu=True)
    assert (on_gpu.encoder, on_gpu.weights) == ("tu-xception65", "imagenet")
    assert resolve_segmentor(SegmentorConfig(encoder="resnet18"), on_gpu=False).weights == "imagenet"


def test_every_parameter_is_in_one_group() -> None:
    network = build_segmentor(TINY, classes=2)
    encoder, head = split_parameters(network)
    assert len(encoder) + len(head) == len(list(network.parameters()))
    assert head


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"architecture": "deeplab"}, "train.segmentor.architecture: found 'deeplab', expected one of"),
        ({"encoder": "resnet19"}, "train.segmentor.encoder: found 'resnet19'"),
        ({"encoder": "tu-nonsense"}, "deeplabv3plus cannot be built on tu-nonsense"),
        ({"weights": "nowhere.pth"}, "train.segmentor.weights: found 'nowhere.pth'"),
    ],
)
def test_impossible_choices_are_named(update: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_segmentor(TINY.model_copy(update=update), classes=2)


def test_unfetchable_weights_name_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("wsiseg.model.segmentor.smp.create_model", offline)
    with pytest.raises(ConfigError, match=r"cannot be loaded \(no route to host\).*weights=none"):
        build_segmentor(TINY.model_copy(update={"weights": "imagenet"}), classes=2)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    donor = build_segmentor(TINY, classes=5)
    state, path = donor.state_dict(), tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    network = build_segmentor(TINY.model_copy(update={"weights": str(path)}), classes=2)
    for name, tensor in network.get_submodule("encoder").state_dict().items():
        assert torch.equal(tensor, state[f"encoder.{name}"])


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "resnet10t", "convnext_atto", "efficientformer_l1"]
)
def test_encoder_weights_as_timm_publishes_them(tmp_path: Path, name: str) -> None:
    """A file fetched elsewhere: a whole classifier, names without smp's and timm's wrappers, no counters."""
    donor = timm.create_model(name).eval()
    state = {k: v for k, v in donor.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    config = SegmentorConfig(architecture="unet", encoder=f"tu-{name}", weights=str(path))
    encoder = build_segmentor(config, classes=2).get_submodule("encoder").eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        last = encoder(images)[-1]
        assert torch.equal(last, donor.forward_intermediates(images, intermediates_only=True)[-1])


def test_images_are_standardised_as_the_encoder_was_pretrained() -> None:
    xception = resolve_segmentor(SegmentorConfig(encoder="tu-xception65"), on_gpu=False)
    assert xception.input_statistics == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert resolve_segmentor(SegmentorConfig(encoder="resnet18"), on_gpu=False).mean == IMAGENET_MEAN
    own = SegmentorConfig(encoder="tu-xception65", mean=(0.7, 0.6, 0.7))
    assert resolve_segmentor(own, on_gpu=False).input_statistics == ((0.7, 0.6, 0.7), (0.5, 0.5, 0.5))
    with pytest.raises(ConfigError, match=r"train.segmentor.encoder: found 'tu-xception65.foo'.*foo"):
        resolve_segmentor(SegmentorConfig(encoder="tu-xception65.foo"), on_gpu=False)


def test_weights_are_found_beside_other_things(tmp_path: Path) -> None:
    state = build_segmentor(TINY, classes=2).get_submodule("encoder").state_dict()
    path = tmp_path / "training.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    network = build_segmentor(TINY.model_copy(update={"weights": str(path)}), classes=2)
    for name, tensor in network.get_submodule("encoder").state_dict().items():
        assert torch.equal(tensor, state[name])


def test_tensors_that_a_file_lacks_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = build_segmentor(TINY, classes=2).get_submodule("encoder").state_dict()
    path, first = tmp_path / "most.pth", next(iter(state))
    torch.save({name: tensor for name, tensor in state.items() if name != first}, path)
    build_segmentor(TINY.model_copy(update={"weights": str(path)}), classes=2)
    assert f"{path} lacks 1 of the encoder's" in caplog.text
    assert caplog.text.rstrip().endswith(f"which begin at random: {first}")


@pytest.mark.parametrize("empty", [False, True])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "list.pth"
    torch.save([1, 2], path)
    if empty:
        path.write_bytes(b"")
    with pytest.raises(CheckpointFormatError, match="does not hold weights"):
        build_segmentor(TINY.model_copy(update={"weights": str(path)}), classes=2)


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"something": torch.zeros(1)}, path)
    with pytest.raises(CheckpointFormatError, match="does not fit the encoder: found 0 of its"):
        build_segmentor(TINY.model_copy(update={"weights": str(path)}), classes=2)
