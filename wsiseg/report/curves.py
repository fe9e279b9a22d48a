"""The figures of a study, as data URIs."""

import io
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsiseg.report.page import data_uri
from wsiseg.report.sheets import SCORES, Table

_COLORS = (
    "#000000",
    "#d95f02",
    "#1b6ca8",
    "#7b3294",
    "#1b9e77",
    "#e7298a",
    "#a6761d",
    "#66a61e",
    "#666666",
    "#17becf",
)
"""The first is the baseline's."""

_MARKERS = "osD^vP*Xd<>"


def curves(table: Table) -> str:
    """Score over the share of the labels: means with intervals, all seeds as dots."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    arms = [arm for arm in _order(table) if table["scores"][arm]]
    for place, arm in enumerate(arms):
        _curve(axes, table["scores"][arm], arm, place, _shift(place, len(arms)))
    _share_axis(axes, table)
    low, high = axes.get_ylim()
    # The interval of two or three seeds can reach far outside of what a score can be.
    axes.set_ylim(max(low, 0.0), min(high, 1.0))
    axes.set_ylabel(f"{SCORES[table['score']]} on test slides")
    if arms:
        axes.legend(fontsize="small", title=f"baseline: {table['baseline']}", title_fontsize="small")
    return _uri(figure)


def differences(table: Table) -> str:
    """Paired differences: one panel an arm, with intervals, all seeds as dots."""
    arms = [arm for arm, found in table["differences"].items() if found]
    figure, panels = _panels(arms, height=2.9, sharey=True)
    for axes, arm in zip(panels, arms, strict=True):
        found = table["differences"][arm]
        for share, row in found.items():
            x = _place(share)
            color = {"gain": "#1b9e77", "loss": "#d95f02"}.get(row["counts_as"], "#1b6ca8")
            _dots(axes, x, row["seeds"].values(), color)
            for bounds, width in ((row["interval_with_seeds"], 0.8), (row["interval"], 3)):
                if bounds is not None and None not in bounds:
                    axes.vlines(x, *bounds, color=color, linewidth=width)
            axes.plot(x, row["mean"], "o", color=color, markersize=5)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_title(f"{arm} minus {table['baseline']}", fontsize="medium")
        _share_axis(axes, table)
    return _uri(figure)


def confusions(table: Table, share: str) -> str:
    """The confusion matrix of each arm at one share, all seeds added up, as shares of the true class."""
    arms = [arm for arm in _order(table) if share in table["scores"][arm]]
    figure, panels = _panels(arms, height=3.2)
    for axes, arm in zip(panels, arms, strict=True):
        counts = np.asarray(table["scores"][arm][share]["confusion"], dtype=float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for row, column in np.ndindex(*shares.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color=color, fontsize=8
            )
        names = table["classes"]
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_title(arm, fontsize="medium")
    return _uri(figure)


def reliability(table: Table, share: str) -> str:
    """Accuracy over confidence at one share: the segmentor, and the discriminator's map where it has one."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for place, arm in enumerate(_order(table)):
        color = _COLORS[place % len(_COLORS)]
        _reliable(left, table["calibration"][arm].get(share), arm, color)
        _reliable(right, table["discriminator"][arm].get(share, {}).get("calibration"), arm, color)
    for axes, what in ((left, "segmentor's confidence"), (right, "discriminator's score")):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        axes.set_xlabel(what)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
        else:
            axes.text(0.5, 0.5, "no arm has one that learns correctness", ha="center", fontsize=8)
    left.set_ylabel("share of pixels that are right")
    return _uri(figure)


def _order(table: Table) -> list[str]:
    """The baseline first, so that it has the first colour."""
    return sorted(table["arms"], key=lambda arm: arm != table["baseline"])


def _curve(axes: Axes, found: Mapping[str, Any], arm: str, place: int, shift: float) -> None:
    color, marker = _COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)]
    xs = [_place(share) + shift for share in found]
    axes.plot(xs, [row["mean"] for row in found.values()], marker=marker, color=color, label=arm, zorder=3)
    for x, row in zip(xs, found.values(), strict=True):
        _dots(axes, x, row["seeds"].values(), color)
        if row["interval"] is not None:
            axes.vlines(x, *row["interval"], color=color, linewidth=1.5, alpha=0.7)


def _dots(axes: Axes, x: float, values: Any, color: str) -> None:
    known = list(values)
    axes.plot([x] * len(known), known, ".", color=color, alpha=0.45, markersize=5, zorder=2)


def _reliable(axes: Axes, found: Mapping[str, Any] | None, arm: str, color: str) -> None:
    if found is None:
        return
    bins = zip(found["confidence"], found["accuracy"], found["pixels"], strict=True)
    # A bin of a few pixels says nothing and would draw the eye.
    points = [(x, y) for x, y, pixels in bins if x is not None and pixels > 1e-4]
    if points:
        axes.plot(*zip(*points, strict=True), marker=".", color=color, label=f"{arm} ({found['ece']:.3f})")


def _share_axis(axes: Axes, table: Table) -> None:
    axes.set_xticks([_place(share) for share in table["shares"]], table["shares"])
    axes.set_xlabel("share of the labels")
    axes.margins(x=0.08)
    axes.grid(axis="y", alpha=0.25)


def _place(share: str) -> float:
    return math.log2(Fraction(share))


def _shift(place: int, number: int) -> float:
    """Side by side, so that intervals do not cover each other."""
    return (place - (number - 1) / 2) * min(0.06, 0.5 / max(number, 1))


def _panels(names: Sequence[str], *, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    columns = min(3, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(3.2 * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return figure, panels[: len(names)]


def _uri(figure: Figure) -> str:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # No date and no version inside: the same study gives the same bytes.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return data_uri(buffer.getvalue())
