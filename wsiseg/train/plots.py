"""The curves and the confusion matrix of a run, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from wsiseg.classes import ClassSchema
from wsiseg.config.training import DiscriminatorConfig
from wsiseg.files import atomic_path
from wsiseg.train.gauges import Look, shown_gauge
from wsiseg.train.watch import read_metrics

EXAMPLES_FILE = "examples.png"


def draw_results(folder: Path, schema: ClassSchema, seen: Look | None, judge: DiscriminatorConfig) -> None:
    """Every picture of a finished run.

    Args:
        folder: The run folder, with ``metrics.jsonl``.
        schema: The classes.
        seen: The last look at validation tiles; None without validation.
        judge: What the discriminator is shown.
    """
    lines = read_metrics(folder)
    plot_curves(lines, folder / "curves.png", shown=shown_gauge(judge))
    if seen is not None:
        plot_gauges(lines, folder / "gauges.png")
        plot_confusion(seen.scores.matrix, seen.scores.names, folder / "confusion.png")
        plot_examples(schema, seen.examples, folder / EXAMPLES_FILE)


def plot_curves(lines: Sequence[Mapping[str, Any]], target: Path, *, shown: str = "d_soft") -> None:
    """Losses, discriminator and validation IoU over the steps.

    Args:
        lines: As in ``metrics.jsonl``.
        target: The PNG.
        shown: The gauge of what the discriminator is shown.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    train = [line for line in lines if line["kind"] == "train"]
    validation = [line for line in lines if line["kind"] == "validation"]
    _draw(axes[0], train, {"ce": "cross-entropy", "dice": "Dice", "pseudo_ce": "pseudo-labels"}, "losses")
    _draw(axes[1], train, {"d_loss": "$L_D$"}, "discriminator")
    gauges = {"d_real": "D(annotation)", shown: "D(prediction)"}
    _draw(axes[1], [_flat(line, "gauges") for line in validation], gauges, "discriminator", style="--")
    classes = {name: name for line in validation[:1] for name in line.get("classes", {})}
    for name in classes:
        rows = [{"step": line["step"], name: line["classes"][name]["iou"]} for line in validation]
        _draw(axes[2], rows, {name: name}, "validation IoU")
    _draw(axes[2], validation, {"mean_iou": "mean"}, "validation IoU", style="k-")
    axes[2].set_ylim(0, 1)
    _save(figure, target)


def plot_gauges(lines: Sequence[Mapping[str, Any]], target: Path) -> None:
    """What the discriminator makes of annotations and predictions, and how sure the segmentor is."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    gauges = [_flat(line, "gauges") for line in lines if line["kind"] == "validation"]
    scores = {
        "d_real": "annotation",
        "d_soft": "prediction, probabilities",
        "d_argmax": "prediction, classes",
        "d_other": "another tile's annotation",
    }
    _draw(axes[0], gauges, scores, "mean score of the discriminator", style=".-")
    sureness = {"entropy": "entropy", "ece": "calibration error"}
    _draw(axes[1], gauges, sureness, "how sure, how rightly", style=".-")
    ratios = [name for name in (gauges[-1] if gauges else {}) if name.startswith("area_ratio/")]
    names = {name: name.removeprefix("area_ratio/") for name in ratios}
    _draw(axes[2], gauges, names, "predicted area over true area", style=".-")
    _save(figure, target)


def plot_examples(
    schema: ClassSchema, examples: Mapping[str, NDArray[Any]], target: Path, *, rows: Sequence[str] = ()
) -> None:
    """Tiles, one a row: image, truth, prediction and the discriminator's map, if there is one.

    Args:
        schema: The classes, for their colours.
        examples: As in ``wsiseg.train.gauges.Look``.
        target: The PNG.
        rows: What to write beside each row, if anything.
    """
    columns: dict[str, NDArray[Any]] = {
        "image": examples["image"],
        "truth": schema.palette[examples["truth"]],
        "prediction": schema.palette[examples["prediction"]],
    }
    if "d_map" in examples:
        columns["discriminator"] = examples["d_map"]
    count = len(examples["image"])
    figure = Figure(figsize=(2.6 * len(columns), 2.6 * count + 0.3), layout="constrained")
    grid = figure.subplots(count, len(columns), squeeze=False)
    for (row, column), axes in np.ndenumerate(grid):
        name, pictures = list(columns.items())[column]
        axes.imshow(pictures[row], vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        # The frame stays: a white label map on a white page would have no edge.
        axes.set_xticks([])
        axes.set_yticks([])
        if row == 0:
            axes.set_title(name)
        if column == 0 and rows:
            axes.set_ylabel(rows[row])
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
