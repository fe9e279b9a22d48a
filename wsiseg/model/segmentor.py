"""The segmentor: any segmentation-models-pytorch network, DeepLabV3+ unless told otherwise.

The only module that imports segmentation_models_pytorch.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

# A download that cannot succeed must fail soon; read by huggingface_hub when it is first imported.
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")

import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from wsiseg.config.training import IMAGENET_MEAN, IMAGENET_STD, RGB, SegmentorConfig
from wsiseg.errors import ConfigError
from wsiseg.model.imagenet import find_packaged, load_packaged
from wsiseg.model.weights import load_weights

SMALL_ENCODER = "tu-tf_efficientnet_lite0"
"""Default on a CPU: made for one. Its ImageNet weights come with the program."""

LARGE_ENCODER = "tu-xception65"
"""Default on a GPU that has its ImageNet weights: timm's aligned Xception, the backbone of DeepLab."""

TILE_MULTIPLE = 16
"""Tile sides are multiples of the encoder's output stride."""

_SHAPE_ERRORS = (RuntimeError, ValueError, AssertionError)
"""What smp, timm and torch raise where a tile does not fit a network."""


def resolve_segmentor(config: SegmentorConfig, *, on_gpu: bool) -> SegmentorConfig:
    """Replace every ``auto`` by what it stands for here, so that a checkpoint says what was built.

    A small encoder that has learnt from ImageNet is better than a large one that has not, so ``auto`` takes
    the large one only where its weights are, or where the user has said what it begins with.
    """
    encoder = config.encoder
    if encoder == "auto":
        large = on_gpu and (config.weights != "auto" or _is_at_hand(LARGE_ENCODER))
        encoder = LARGE_ENCODER if large else SMALL_ENCODER
    weights = config.weights
    if weights == "auto":
        weights = "imagenet" if _is_at_hand(encoder) else "none"
    mean, std = _statistics(encoder)
    return config.model_copy(
        update={
            "encoder": encoder,
            "weights": weights,
            "mean": mean if config.mean == "auto" else config.mean,
            "std": std if config.std == "auto" else config.std,
        }
    )


def build_segmentor(config: SegmentorConfig, classes: int, *, pretrained: bool = True) -> nn.Module:
    """Build the network: ``image_NCHW`` (normalised floats) to ``logits_NKHW``.

    Args:
        config: Architecture and encoder, without ``auto``.
        classes: K, number of classes with the background.
        pretrained: Whether to fetch the configured encoder weights; False when a checkpoint follows.

    Raises:
        ConfigError: Unknown architecture or encoder, one that does not fit the other, ImageNet weights that
            cannot be fetched, or no such file of weights.
        CheckpointFormatError: The file of weights is damaged, or of another encoder.
    """
    weights = config.weights if pretrained else "none"
    arguments: dict[str, Any] = {"encoder_name": config.encoder, "classes": classes, "in_channels": 3}
    if config.architecture.lower() in {"deeplabv3", "deeplabv3plus"}:
        arguments["encoder_output_stride"] = config.output_stride
        arguments["decoder_atrous_rates"] = config.atrous_rates
    _check_names(config)
    packaged = find_packaged(config.encoder) if weights == "imagenet" else None
    fetched = "imagenet" if weights == "imagenet" and packaged is None else None
    try:
        model: nn.Module = smp.create_model(config.architecture, encoder_weights=fetched, **arguments)
    # What smp, timm and torch raise for names, strides and channels that do not fit, or for no network.
    except (KeyError, ValueError, RuntimeError, TypeError, OSError) as err:
        raise _build_error(config, weights, err) from err
    if packaged is not None:
        load_packaged(model.get_submodule("encoder"), packaged)
    if weights not in {"none", "imagenet", "auto"}:
        load_weights(model.get_submodule("encoder"), Path(weights))
    return model


def check_tile_side(config: SegmentorConfig, classes: int, side: int) -> None:
    """Try whether the network takes tiles of a side, on a blank one and without its weights.

    Raises:
        ConfigError: It does not, or it cannot be built.
    """
    # Costs nothing on the meta device. A network that looks at numbers fails there, and is tried in earnest.
    with suppress(*_SHAPE_ERRORS):
        _try_blank(config, classes, side, "meta")
        return
    try:
        _try_blank(config, classes, side, "cpu")
    except ConfigError:
        raise
    except _SHAPE_ERRORS as err:
        reason = " ".join(str(err).split())[:200]
        raise ConfigError(
            f"train.segmentor: {config.architecture} on {config.encoder} cannot take tiles of {side} px "
            f"({reason})",
            remedy="Choose another architecture, or tile again with another tiling.tile_px",
        ) from err


def _try_blank(config: SegmentorConfig, classes: int, side: int, device: str) -> None:
    with torch.device(device), torch.no_grad():
        network = build_segmentor(config, classes, pretrained=False).eval()
        network(torch.zeros(1, 3, side, side))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The encoder's parameters, and those of decoder and head."""
    encoder = {id(parameter) for parameter in model.get_submodule("encoder").parameters()}
    inside = [parameter for parameter in model.parameters() if id(parameter) in encoder]
    outside = [parameter for parameter in model.parameters() if id(parameter) not in encoder]
    return inside, outside


def _statistics(encoder: str) -> tuple[RGB, RGB]:
    """Mean and standard deviation of the images that an encoder's weights were trained on.

    timm says so for each of its own; of smp's own nearly all are as ImageNet's.
    """
    settings = _timm_settings(encoder)
    return (IMAGENET_MEAN, IMAGENET_STD) if settings is None else (tuple(settings.mean), tuple(settings.std))


def _check_names(config: SegmentorConfig) -> None:
    architectures = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if config.architecture.lower() not in architectures:
        raise ConfigError(
            "train.segmentor.architecture",
            found=repr(config.architecture),
            expected=f"one of {', '.join(architectures)}",
        )
    known = smp.encoders.get_encoder_names()
    if config.encoder not in known and not config.encoder.startswith("tu-"):
        raise ConfigError(
            "train.segmentor.encoder",
            found=repr(config.encoder),
            expected="an encoder of segmentation-models-pytorch, or tu-<name> for one of timm",
        )


def _build_error(config: SegmentorConfig, weights: str, err: Exception) -> ConfigError:
    reason = " ".join(str(err).split())[:200]
    if weights == "imagenet":
        return ConfigError(
            f"the ImageNet weights of {config.encoder} cannot be loaded ({reason})",
            remedy="Train without them (--set train.segmentor.weights=none), or download them elsewhere and "
            "give the file (--set train.segmentor.weights=FILE)",
        )
    return ConfigError(
        f"train.segmentor: {config.architecture} cannot be built on {config.encoder} ({reason})",
        remedy="Choose another encoder or architecture",
    )


def _is_at_hand(encoder: str) -> bool:
    """Whether an encoder's ImageNet weights can be had without a download."""
    if find_packaged(encoder):
        return True
    published = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {}).get("imagenet", {})
    settings = _timm_settings(encoder)
    repo = published.get("repo_id") or getattr(settings, "hf_hub_id", None)
    return isinstance(repo, str) and isinstance(try_to_load_from_cache(repo, "model.safetensors"), str)


def _timm_settings(encoder: str) -> Any:
    """What timm knows about an encoder's weights; None for one of smp's own, and where there are none.

    Raises:
        ConfigError: timm has the network, and no weights of this tag.
    """
    name = encoder.removeprefix("tu-")
    if name == encoder or not timm.is_model(name):
        return None
    try:
        return timm.models.get_pretrained_cfg(name)
    except RuntimeError as err:
        raise ConfigError("train.segmentor.encoder", found=repr(encoder), expected=str(err)) from err
