"""The curves and the confusion matrix of a run, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from wsiseg.files import atomic_path


def plot_curves(lines: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Losses, discriminator and validation IoU over the steps.

    Args:
        lines: As in ``metrics.jsonl``.
        target: The PNG.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    train = [line for line in lines if line["kind"] == "train"]
    validation = [line for line in lines if line["kind"] == "validation"]
    _draw(axes[0], train, {"ce": "cross-entropy", "dice": "Dice", "pseudo_ce": "pseudo-labels"}, "losses")
    _draw(axes[1], train, {"d_loss": "$L_D$"}, "discriminator")
    gauges = {"d_real": "D(annotation)", "d_soft": "D(prediction)"}
    _draw(axes[1], [_flat(line, "gauges") for line in validation], gauges, "discriminator", style="--")
    classes = {name: name for line in validation[:1] for name in line.get("classes", {})}
    for name in classes:
        rows = [{"step": line["step"], name: line["classes"][name]["iou"]} for line in validation]
        _draw(axes[2], rows, {name: name}, "validation IoU")
    _draw(axes[2], validation, {"mean_iou": "mean"}, "validation IoU", style="k-")
    axes[2].set_ylim(0, 1)
    _save(figure, target)


def plot_confusion(matrix: ArrayLike, names: Sequence[str], target: Path) -> None:
    """The share of each true class (row) that was predicted as each class (column)."""
    counts = np.asarray(matrix, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.9 * len(names), 1.2 + 0.8 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.ndindex(*shares.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color=colour)
    _save(figure, target)


def _draw(
    axes: Axes, lines: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str, *, style: str = "-"
) -> None:
    for key, label in names.items():
        points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, style, label=label)
    axes.set_title(title)
    axes.set_xlabel("step")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _flat(line: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {"step": line["step"], **line.get(key, {})}


def _save(figure: Figure, target: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(target) as partial:
        # No date and no version inside: the same run gives the same bytes.
        figure.savefig(partial, dpi=110, metadata={"Software": None})
