"""What a run writes down while it goes: ``metrics.jsonl`` and TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.classes import ClassSchema
from wsiseg.files import as_output_error, atomic_path

METRICS_FILE = "metrics.jsonl"


class Watch:
    """Appends metrics to the run folder; a resumed run forgets what lies after its checkpoint.

    Args:
        folder: The run folder.
        step: Steps already taken; later lines of an interrupted run are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - half a second that few need

        self._file = folder / METRICS_FILE
        _truncate(self._file, step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def metrics(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Write one line, and a curve's point for each number in it."""
        line = {"step": step, "kind": kind, **values}
        with as_output_error(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        with as_output_error(self._file):
            for name, value in _numbers(values):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, step: int, schema: ClassSchema, examples: Mapping[str, NDArray[Any]]) -> None:
        """Show validation tiles: image, truth, prediction and the discriminator's map, if there is one."""
        if examples:
            picture = side_by_side(schema, examples)
            with as_output_error(self._file):
                self._board.add_image("validation", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything."""
        with as_output_error(self._file):
            self._board.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; a last line that was cut off is left out."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def side_by_side(schema: ClassSchema, examples: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """One row a tile: image, truth, prediction, map; uint8 ``(rows, columns, 3)``."""
    columns = [examples["image"], schema.palette[examples["truth"]], schema.palette[examples["prediction"]]]
    if "d_map" in examples and examples["d_map"].shape[1:] == examples["truth"].shape[1:]:
        grey = (255 * examples["d_map"]).astype(np.uint8)
        columns.append(np.repeat(grey[..., None], 3, axis=-1))
    rows = np.concatenate(columns, axis=2)
    return np.asarray(np.concatenate(list(rows), axis=0))


def _truncate(path: Path, step: int) -> None:
    kept = [line for line in read_metrics(path.parent) if line["step"] <= step]
    with atomic_path(path) as partial:
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found.append((f"{prefix}{name}", float(value)))
    return found
