"""Checkpoints: folders of safetensors and JSON, written whole, read without executing anything.

A checkpoint folder holds

===========================  =====================================================================
``checkpoint.json``          ``CheckpointInfo``: what the network needs besides its weights
``segmentor.safetensors``    the averaged weights (EMA), which predict
``student.safetensors``      the weights that the optimiser moves; only needed to resume
``discriminator.safetensors``  where there is one
``state.pt``                 optimisers and guards, read with ``weights_only``; only needed to resume
===========================  =====================================================================

A run keeps them in ``checkpoints/<kind>-<step>``; an exported model is one such folder without the parts
that only resuming needs.
"""

import io
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from wsiseg.classes import ClassSchema
from wsiseg.config.root import Config
from wsiseg.errors import CheckpointFormatError
from wsiseg.files import atomic_folder
from wsiseg.model.discriminator import Discriminator, build_discriminator
from wsiseg.model.info import (
    INFO_FILE,
    VERSION,
    CheckpointInfo,
    checkpoint_path,
    checkpoints,
    find_checkpoint,
    latest_run,
    read_info,
    weights_fingerprint,
)
from wsiseg.model.normalise import standardise, to_unit
from wsiseg.model.segmentor import build_segmentor

__all__ = [
    "INFO_FILE",
    "VERSION",
    "CheckpointInfo",
    "TrainedModel",
    "checkpoint_path",
    "checkpoints",
    "find_checkpoint",
    "latest_run",
    "load_trained",
    "load_weights",
    "read_info",
    "read_state",
    "write_checkpoint",
]

Normaliser = Callable[[NDArray[np.uint8]], Tensor]


@dataclass(frozen=True)
class TrainedModel:
    """A segmentor ready to predict, with all that it needs.

    Attributes:
        segmentor: The averaged weights, in evaluation mode: normalised ``image_NCHW`` to ``logits_NKHW``.
        discriminator: In evaluation mode, or None.
        normalise: ``uint8 (N, H, W, 3)`` to what the segmentor takes, on its device.
        fingerprint: 32 hex digits over weights and classes.
    """

    segmentor: nn.Module
    discriminator: Discriminator | None
    normalise: Normaliser
    info: CheckpointInfo
    path: Path
    fingerprint: str

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return self.info.config

    @property
    def schema(self) -> ClassSchema:
        """The classes, by index."""
        return self.config.schema_

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of a tile."""
        return self.config.tiling.mpp

    @property
    def tile_px(self) -> int:
        """Side of a tile."""
        return self.config.tiling.tile_px


def load_trained(path: Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Load what a run, a checkpoint folder or an exported model predicts with.

    Raises:
        CheckpointNotFoundError: ``path`` holds no checkpoint.
        CheckpointFormatError: The checkpoint is damaged or of an unknown version.
    """
    folder = find_checkpoint(Path(path))
    info = read_info(folder)
    classes = len(info.config.schema_)
    segmentor = build_segmentor(info.config.train.segmentor, classes, pretrained=False)
    load_weights(segmentor, folder, "segmentor")
    discriminator = None
    if (folder / "discriminator.safetensors").is_file():
        discriminator = build_discriminator(info.config.train.discriminator, classes)
        load_weights(discriminator, folder, "discriminator")
        discriminator.to(device).eval()
    segmentor.to(device).to(memory_format=torch.channels_last).eval()
    return TrainedModel(
        segmentor=segmentor,
        discriminator=discriminator,
        normalise=partial(_normalise, config=info.config, device=device),
        info=info,
        path=folder,
        fingerprint=weights_fingerprint(folder, info.config.schema_),
    )


def write_checkpoint(
    target: Path,
    info: CheckpointInfo,
    networks: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder in one move.

    Args:
        target: The folder.
        info: Its description.
        networks: State dicts by file name: ``segmentor``, ``student``, ``discriminator``.
        state: What resuming needs besides; tensors, numbers, strings and containers of them.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
    """
    with atomic_folder(target) as folder:
        for name, tensors in networks.items():
            plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            # As bytes through Python: the libraries' own writers hide a full disk in errors of their own.
            (folder / f"{name}.safetensors").write_bytes(serialise(plain))
        if state is not None:
            buffer = io.BytesIO()
            torch.save(dict(state), buffer)
            (folder / "state.pt").write_bytes(buffer.getbuffer())
        text = json.dumps(info.to_json(), indent=2, ensure_ascii=False)
        (folder / INFO_FILE).write_text(text + "\n", encoding="utf-8")


def load_weights(network: nn.Module, folder: Path, name: str) -> None:
    """Load ``<name>.safetensors`` into a network of the same shape.

    Raises:
        CheckpointFormatError: The file is missing, damaged or of another network.
    """
    source = folder / f"{name}.safetensors"
    try:
        network.load_state_dict(load_file(source))
    except (SafetensorError, OSError, RuntimeError) as err:
        reason = " ".join(str(err).split())[:200]
        raise CheckpointFormatError(f"{source} does not hold the weights of this network ({reason})") from err


def read_state(folder: Path) -> dict[str, Any]:
    """Read what resuming needs, refusing anything but plain data and tensors.

    Raises:
        CheckpointFormatError: Missing, damaged, or it would have to execute code.
    """
    source = folder / "state.pt"
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as err:
        reason = " ".join(str(err).split())[:200]
        raise CheckpointFormatError(f"{source} cannot be read ({reason})") from err
    return state


def _normalise(images_NHWC: NDArray[np.uint8], *, config: Config, device: torch.device | str) -> Tensor:
    segmentor = config.train.segmentor
    return standardise(to_unit(images_NHWC, device), *segmentor.input_statistics)
