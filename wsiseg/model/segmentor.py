"""The segmentor: any segmentation-models-pytorch network, DeepLabV3+ unless told otherwise.

The only module that imports segmentation_models_pytorch.
"""

import os
from pathlib import Path
from typing import Any

# A download that cannot succeed must fail soon; read by huggingface_hub when it is first imported.
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")

import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from wsiseg.config.training import SegmentorConfig
from wsiseg.errors import CheckpointFormatError, ConfigError

SMALL_ENCODER = "tu-mobilenetv3_small_100"
"""Default on a CPU: learns from nothing within minutes."""

LARGE_ENCODER = "tu-xception65"
"""Default on a GPU: timm's aligned Xception, the backbone of DeepLab."""

TILE_MULTIPLE = 16
"""Tile sides are multiples of the encoder's output stride."""


def resolve_segmentor(config: SegmentorConfig, *, on_gpu: bool) -> SegmentorConfig:
    """Replace every ``auto`` by what it stands for here, so that a checkpoint says what was built."""
    encoder = config.encoder
    if encoder == "auto":
        encoder = LARGE_ENCODER if on_gpu else SMALL_ENCODER
    weights = config.weights
    if weights == "auto":
        weights = "imagenet" if _is_cached(encoder) else "none"
    return config.model_copy(update={"encoder": encoder, "weights": weights})


def build_segmentor(config: SegmentorConfig, classes: int, *, pretrained: bool = True) -> nn.Module:
    """Build the network: ``image_NCHW`` (normalised floats) to ``logits_NKHW``.

    Args:
        config: Architecture and encoder, without ``auto``.
        classes: K, number of classes with the background.
        pretrained: Whether to fetch the configured encoder weights; False when a checkpoint follows.

    Raises:
        ConfigError: Unknown architecture or encoder, one that does not fit the other, or ImageNet weights
            that cannot be fetched.
    """
    weights = config.weights if pretrained else "none"
    arguments: dict[str, Any] = {"encoder_name": config.encoder, "classes": classes, "in_channels": 3}
    if config.architecture.lower() in {"deeplabv3", "deeplabv3plus"}:
        arguments["encoder_output_stride"] = config.output_stride
        arguments["decoder_atrous_rates"] = config.atrous_rates
    _check_names(config)
    try:
        model: nn.Module = smp.create_model(
            config.architecture, encoder_weights="imagenet" if weights == "imagenet" else None, **arguments
        )
    # What smp, timm and torch raise for names, strides and channels that do not fit, or for no network.
    except (KeyError, ValueError, RuntimeError, TypeError, OSError) as err:
        raise _build_error(config, weights, err) from err
    if weights not in {"none", "imagenet", "auto"}:
        _load_encoder(model, Path(weights))
    return model


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The encoder's parameters, and those of decoder and head."""
    encoder = {id(parameter) for parameter in model.get_submodule("encoder").parameters()}
    inside = [parameter for parameter in model.parameters() if id(parameter) in encoder]
    outside = [parameter for parameter in model.parameters() if id(parameter) not in encoder]
    return inside, outside


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


def _load_encoder(model: nn.Module, path: Path) -> None:
    """Load encoder weights from a local file, which may hold the encoder alone or a whole segmentor."""
    if not path.is_file():
        raise ConfigError(
            "train.segmentor.weights", found=repr(str(path)), expected="none, imagenet, auto or a file"
        )
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, ValueError) as err:
        raise CheckpointFormatError(f"{path} does not hold weights", found=str(err)) from err
    own = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
    wanted = model.get_submodule("encoder").state_dict()
    fitting = {k: v for k, v in own.items() if k in wanted and v.shape == wanted[k].shape}
    if len(fitting) < 0.9 * len(wanted):
        raise CheckpointFormatError(
            f"{path} does not fit the encoder",
            found=f"{len(fitting)} of its {len(wanted)} tensors",
            expected="at least nine in ten",
        )
    model.get_submodule("encoder").load_state_dict(fitting, strict=False)


def _is_cached(encoder: str) -> bool:
    settings = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {}).get("imagenet", {})
    repo = settings.get("repo_id")
    if repo is None and encoder.startswith("tu-"):
        repo = _timm_repo(encoder.removeprefix("tu-"))
    return isinstance(repo, str) and isinstance(try_to_load_from_cache(repo, "model.safetensors"), str)


def _timm_repo(name: str) -> str | None:
    configuration = (
        timm.models.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    )
    return None if configuration is None else configuration.hf_hub_id
