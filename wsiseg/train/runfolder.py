"""The run folder: which one, what it began with, whether it is finished."""

import json
from pathlib import Path
from typing import Any, cast

from lightning_fabric import Fabric

from wsiseg.errors import CheckpointFormatError, CheckpointNotFoundError, ConfigError
from wsiseg.files import as_output_error
from wsiseg.lock import is_locked
from wsiseg.model.checkpoint import checkpoints
from wsiseg.outcome import REPORT_FILE
from wsiseg.train.data import Pools

CONFIG_FILE = "config.yaml"
INPUTS_FILE = "inputs.json"


def is_finished(folder: Path) -> bool:
    """Whether a run has its final weights and has said all that it had to say."""
    return bool(checkpoints(folder, "final")) and (folder / REPORT_FILE).is_file()


def newest_unfinished(runs: Path = Path("runs")) -> Path:
    """The unfinished run folder that was begun last; a baseline inside a run is a part of that run.

    A run that another process is training right now is passed over.

    Raises:
        CheckpointNotFoundError: There is none.
    """
    begun = [file for file in runs.glob(f"*/{INPUTS_FILE}") if not is_finished(file.parent)]
    begun = [file for file in begun if not is_locked(file.parent)]
    if not begun:
        raise CheckpointNotFoundError(
            f"no unfinished run in {runs}", remedy="Begin one without --resume, or name one with --out"
        )
    return max(begun, key=lambda file: (file.stat().st_mtime_ns, file.parent.name)).parent


def new_folder(folder: Path | None, fabric: Fabric) -> Path:
    """Make a run folder, the same one for all processes; None for the next ``runs/run-NNN``.

    Raises:
        ConfigError: ``folder`` holds a run already.
        OutputError: It cannot be made.
    """
    if fabric.is_global_zero:
        folder = _next_folder(Path("runs")) if folder is None else folder
        if (folder / INPUTS_FILE).exists():
            raise ConfigError(
                f"{folder} holds a run already", remedy="Continue it with --resume, or name another --out"
            )
        with as_output_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return Path(cast("Path", fabric.broadcast(folder)))


def describe_inputs(tiles: Path, patients: Path | None, pools: Pools) -> dict[str, Any]:
    """What a run began with, as in ``inputs.json``, where its ``notices`` stand beside it."""
    stores = pools.labelled.stores
    return {
        "tiles": str(tiles.resolve()),
        "patients": None if patients is None else str(patients.resolve()),
        "stores": {store.name: store.key for store in stores},
        "slides": pools.slides,
    }


def read_inputs(folder: Path) -> dict[str, Any]:
    """Read ``inputs.json`` of a run that is to go on.

    Raises:
        CheckpointNotFoundError: No such run, or nothing is left to do.
        CheckpointFormatError: The file is damaged.
    """
    source = folder / INPUTS_FILE
    if not source.is_file():
        raise CheckpointNotFoundError(f"{folder} is not a run that can be resumed")
    if is_finished(folder):
        raise CheckpointNotFoundError(f"{folder} is finished", remedy="Begin a new run without --resume")
    try:
        inputs = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise CheckpointFormatError(f"{source} cannot be read ({err})") from err
    if not isinstance(inputs, dict) or not {"tiles", "patients"} <= inputs.keys():
        raise CheckpointFormatError(f"{source} does not say which tiles the run began with")
    return inputs


def _next_folder(runs: Path) -> Path:
    """``runs/run-001`` and on: one more than the highest there, claimed by creating it."""
    with as_output_error(runs):
        runs.mkdir(parents=True, exist_ok=True)
    numbers = [int(p.name[4:]) for p in runs.glob("run-*") if p.name[4:].isdecimal()]
    number = max(numbers, default=0) + 1
    while True:
        folder = runs / f"run-{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
