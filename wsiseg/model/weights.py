"""Encoder weights from a file, as whoever published it wrote it."""

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wsiseg.errors import CheckpointFormatError, ConfigError

_log = logging.getLogger(__name__)

_NAMED = 5
"""Tensors that a warning names."""

_AVERAGED_FIRST = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Under which names training programs keep weights beside other things; averaged ones are the better."""


def without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the counters of BatchNorm, which nothing reads and published files leave out."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def load_weights(encoder: nn.Module, path: Path) -> None:
    """Load a file into an encoder; it may hold a whole segmentor or classifier around it.

    Raises:
        ConfigError: There is no such file.
        CheckpointFormatError: It holds no weights, or those of another network.
    """
    given = {_plain_name(name): tensor for name, tensor in read_tensors(path).items()}
    places = without_counters(encoder.state_dict())
    found = {name: given[plain] for name in places if (plain := _plain_name(name)) in given}
    fitting = {name: tensor for name, tensor in found.items() if tensor.shape == places[name].shape}
    if len(fitting) < 0.9 * len(places):
        raise CheckpointFormatError(
            f"{path} does not fit the encoder",
            found=f"{len(fitting)} of its {len(places)} tensors",
            expected="at least nine in ten",
        )
    if lacking := [name for name in places if name not in fitting]:
        named = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
        _log.warning(
            "%s lacks %d of the encoder's %d tensors, which begin at random: %s",
            path,
            len(lacking),
            len(places),
            named,
        )
    encoder.load_state_dict(fitting, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file; nothing in it is ever executed.

    Raises:
        ConfigError: There is no such file.
        CheckpointFormatError: It is damaged, or holds something else.
    """
    if not path.is_file():
        raise ConfigError(
            "train.segmentor.weights", found=repr(str(path)), expected="none, imagenet, auto or a file"
        )
    try:
        data: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError) as err:
        reason = " ".join(str(err).split())[:200] or type(err).__name__
        raise CheckpointFormatError(f"{path} does not hold weights", found=reason) from err
    if isinstance(data, Mapping):
        data = next((data[key] for key in _AVERAGED_FIRST if isinstance(data.get(key), Mapping)), data)
    if not isinstance(data, Mapping):
        raise CheckpointFormatError(f"{path} does not hold weights", found=f"a {type(data).__name__}")
    return {str(name): tensor for name, tensor in data.items() if isinstance(tensor, Tensor)}


def _plain_name(name: str) -> str:
    """Name of a tensor, whatever wraps the network.

    DDP adds ``module``, a segmentor holds its encoder as such, smp and timm hold timm's networks as
    ``model``, and timm joins the names of the first stages by underscores where it takes features alone.
    """
    return re.sub(r"^(module\.)?(encoder\.)?(model\.)*", "", name).replace(".", "_")
