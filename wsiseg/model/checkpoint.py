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

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wsiseg import __version__
from wsiseg.classes import ClassSchema
from wsiseg.config.root import Config
from wsiseg.config.yaml_io import dump_config, parse_config
from wsiseg.errors import CheckpointFormatError, CheckpointNotFoundError
from wsiseg.files import atomic_folder
from wsiseg.model.discriminator import Discriminator, build_discriminator
from wsiseg.model.normalise import standardise, to_unit
from wsiseg.model.segmentor import build_segmentor

FORMAT = "wsiseg-checkpoint"
VERSION = 1
INFO_FILE = "checkpoint.json"
PREFERENCE = ("final", "best", "last")
"""Which checkpoint of a run stands for it: the first of these that exists."""

Normaliser = Callable[[NDArray[np.uint8]], Tensor]


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself.

    Attributes:
        config: The resolved configuration, with classes, mpp and tile size of the stores.
        step: Segmentor steps taken.
        phase: Name of the phase that was under way.
        slides: Slides by their part: ``labelled``, ``unlabelled``, ``validation``.
        figures: Validation figures: ``mean_iou``, ``mean_f1``, ``classes.<name>.{iou,f1}``; empty without.
        versions: Of wsiseg and torch.
    """

    config: Config
    step: int
    phase: str
    slides: Mapping[str, list[str]] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(
        default_factory=lambda: {"wsiseg": __version__, "torch": str(torch.__version__)}
    )

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in ``checkpoint.json``."""
        schema = self.config.schema_
        return {
            "format": FORMAT,
            "version": VERSION,
            "classes": schema.to_json(),
            "schema_fingerprint": schema.fingerprint,
            "mpp": self.config.tiling.mpp,
            "tile_px": self.config.tiling.tile_px,
            "mean": list(self.config.train.segmentor.mean),
            "std": list(self.config.train.segmentor.std),
            **{key: value for key, value in asdict(self).items() if key != "config"},
            "config": dump_config(self.config),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str) -> Self:
        """The inverse of ``to_json``.

        Raises:
            CheckpointFormatError: Another format or version, or a part is missing.
        """
        found = f"{data.get('format')} version {data.get('version')}"
        if data.get("format") != FORMAT or data.get("version") != VERSION:
            raise CheckpointFormatError(source, found=found, expected=f"{FORMAT} version {VERSION}")
        parts = ("step", "phase", "slides", "figures", "versions")
        missing = [key for key in (*parts, "config") if key not in data]
        if missing:
            raise CheckpointFormatError(source, found=f"no {', '.join(missing)}")
        return cls(config=parse_config(data["config"], source=source), **{key: data[key] for key in parts})


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
        fingerprint=_fingerprint(folder, info),
    )


def latest_run(runs: Path = Path("runs")) -> Path:
    """The run folder whose checkpoint was written last.

    Raises:
        CheckpointNotFoundError: No run in ``runs`` has a checkpoint.
    """
    found = []
    for run in sorted(runs.iterdir()) if runs.is_dir() else []:
        checkpoint = _preferred(run)
        if checkpoint is not None:
            found.append(((checkpoint / INFO_FILE).stat().st_mtime_ns, run.name, run))
    if not found:
        raise CheckpointNotFoundError(
            f"no trained run in {runs}", remedy="Train one with wsiseg train, or name one with --run"
        )
    return max(found)[-1]


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that ``path`` means: itself, or the one that stands for a run.

    Raises:
        CheckpointNotFoundError: There is none.
    """
    if (path / INFO_FILE).is_file():
        return path
    checkpoint = _preferred(path)
    if checkpoint is None:
        what = "has no checkpoint yet" if path.is_dir() else "is no run and no exported model"
        raise CheckpointNotFoundError(f"{path} {what}", remedy="Train a run with wsiseg train")
    return checkpoint


def checkpoints(run: Path, kind: str) -> list[Path]:
    """The complete checkpoints of one kind in a run, oldest first."""
    found = (run / "checkpoints").glob(f"{kind}-*")
    return sorted(folder for folder in found if (folder / INFO_FILE).is_file())


def checkpoint_path(run: Path, kind: str, step: int) -> Path:
    """Where a run keeps its checkpoint of this kind and step."""
    return run / "checkpoints" / f"{kind}-{step:07d}"


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
            save_file(plain, folder / f"{name}.safetensors")
        if state is not None:
            torch.save(dict(state), folder / "state.pt")
        text = json.dumps(info.to_json(), indent=2, ensure_ascii=False)
        (folder / INFO_FILE).write_text(text + "\n", encoding="utf-8")


def read_info(folder: Path) -> CheckpointInfo:
    """Read ``checkpoint.json``.

    Raises:
        CheckpointFormatError: It is not JSON, or of another format or version.
    """
    source = str(folder / INFO_FILE)
    try:
        data = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise CheckpointFormatError(f"{source} cannot be read ({err})") from err
    if not isinstance(data, dict):
        raise CheckpointFormatError(source, found=type(data).__name__, expected="an object")
    return CheckpointInfo.from_json(data, source)


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


def _preferred(run: Path) -> Path | None:
    for kind in PREFERENCE:
        if found := checkpoints(run, kind):
            return found[-1]
    return None


def _normalise(images_NHWC: NDArray[np.uint8], *, config: Config, device: torch.device | str) -> Tensor:
    segmentor = config.train.segmentor
    return standardise(to_unit(images_NHWC, device), segmentor.mean, segmentor.std)


def _fingerprint(folder: Path, info: CheckpointInfo) -> str:
    digest = hashlib.sha256(info.config.schema_.fingerprint.encode())
    with (folder / "segmentor.safetensors").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:32]
