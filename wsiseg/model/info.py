"""What a checkpoint says about itself, and where checkpoints lie; read without torch, so at once.

The layout of a checkpoint folder is told in ``wsiseg.model.checkpoint``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from wsiseg import __version__
from wsiseg.classes import ClassSchema
from wsiseg.config.root import Config
from wsiseg.config.yaml_io import dump_config, parse_config
from wsiseg.errors import CheckpointFormatError, CheckpointNotFoundError

FORMAT = "wsiseg-checkpoint"
VERSION = 1
INFO_FILE = "checkpoint.json"
PREFERENCE = ("final", "best", "last")
"""Which checkpoint of a run stands for it: the first of these that exists."""

_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself.

    Attributes:
        config: The resolved configuration, with classes, mpp and tile size of the stores.
        step: Segmentor steps taken.
        phase: Name of the phase that was under way.
        slides: Slides by their part: ``labelled``, ``unlabelled``, ``validation``.
        figures: Validation figures: ``mean_iou``, ``mean_f1``, ``classes.<name>``; empty without.
        versions: Of wsiseg and torch.
    """

    config: Config
    step: int
    phase: str
    slides: Mapping[str, list[str]] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(
        default_factory=lambda: {"wsiseg": __version__, "torch": version("torch")}
    )

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in ``checkpoint.json``."""
        schema = self.config.schema_
        mean, std = self.config.train.segmentor.input_statistics
        return {
            "format": FORMAT,
            "version": VERSION,
            "classes": schema.to_json(),
            "schema_fingerprint": schema.fingerprint,
            "mpp": self.config.tiling.mpp,
            "tile_px": self.config.tiling.tile_px,
            "mean": list(mean),
            "std": list(std),
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


def latest_run(runs: Path = Path("runs")) -> Path:
    """The run folder that was finished last; where none is finished, the one whose checkpoint is newest.

    Raises:
        CheckpointNotFoundError: No run in ``runs`` has a checkpoint.
    """
    found = []
    for run in sorted(runs.iterdir()) if runs.is_dir() else []:
        checkpoint = _preferred(run)
        if checkpoint is not None:
            written = (checkpoint / INFO_FILE).stat().st_mtime_ns
            found.append((is_final(checkpoint), written, run.name, run))
    if not found:
        raise CheckpointNotFoundError(
            f"no trained run in {runs}", remedy="Train one with wsiseg train, or name one with --run"
        )
    return max(found)[-1]


def is_final(checkpoint: Path) -> bool:
    """Whether a checkpoint of a run is its end, and not a step on the way."""
    return checkpoint.name.startswith(f"{PREFERENCE[0]}-")


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that ``path`` means: itself, or the one that stands for a run.

    Raises:
        CheckpointNotFoundError: There is none.
    """
    if (path / INFO_FILE).is_file():
        return path
    checkpoint = _preferred(path.parent if path.name == _CHECKPOINTS else path)
    if checkpoint is None:
        what = "has no checkpoint yet" if path.is_dir() else "is no run and no exported model"
        raise CheckpointNotFoundError(f"{path} {what}", remedy="Train a run with wsiseg train")
    return checkpoint


def checkpoints(run: Path, kind: str) -> list[Path]:
    """The complete checkpoints of one kind in a run, oldest first."""
    found = (run / _CHECKPOINTS).glob(f"{kind}-*")
    return sorted(folder for folder in found if (folder / INFO_FILE).is_file())


def checkpoint_path(run: Path, kind: str, step: int) -> Path:
    """Where a run keeps its checkpoint of this kind and step."""
    return run / _CHECKPOINTS / f"{kind}-{step:07d}"


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


def weights_fingerprint(folder: Path, schema: ClassSchema, name: str = "segmentor") -> str:
    """32 hex digits over the weights of a network and what its classes mean.

    Raises:
        CheckpointFormatError: The weights are missing.
    """
    digest = hashlib.sha256(schema.fingerprint.encode())
    source = folder / f"{name}.safetensors"
    try:
        with source.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as err:
        raise CheckpointFormatError(f"{source} cannot be read ({err.strerror})") from err
    return digest.hexdigest()[:32]


def _preferred(run: Path) -> Path | None:
    for kind in PREFERENCE:
        if found := checkpoints(run, kind):
            return found[-1]
    return None
