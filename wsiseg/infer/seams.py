"""How well the borders between tiles are hidden: a figure for every prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.config.predicting import MOST_OVERLAP_SHARE
from wsiseg.geometry import AxisTiling, TileGrid
from wsiseg.infer.polygons import strips
from wsiseg.tilestore import MaskStore

WARN_RATIO = 1.5
_MIN_CHANGES = 50
"""Fewer changes across borders are chance."""


@dataclass
class SeamScore:
    """How often neighbouring pixels differ across the borders of tiles, and elsewhere.

    Only pairs of pixels with some foreground count: that empty glass agrees with empty glass says nothing.

    Attributes:
        at_seams: Pairs across a border, and how many of them differ.
        elsewhere: The same for all other pairs.
    """

    at_seams: NDArray[np.int64]
    elsewhere: NDArray[np.int64]

    @property
    def ratio(self) -> float | None:
        """Rate of changes at borders over the rate elsewhere: 1 where no seam shows; None without data."""
        if not self.at_seams[0] or not self.elsewhere[1]:
            return None
        return float(self.at_seams[1] / self.at_seams[0] / (self.elsewhere[1] / self.elsewhere[0]))

    @property
    def shows(self) -> bool:
        """Whether seams are clearly there."""
        return self.ratio is not None and self.ratio > WARN_RATIO and self.at_seams[1] >= _MIN_CHANGES

    def advice(self, overlap_share: float, method: str) -> str | None:
        """A sentence for the user where seams show."""
        if not self.shows:
            return None
        found = f"classes change {self.ratio:.1f} times as often across the borders of tiles as elsewhere"
        wider = min(MOST_OVERLAP_SHARE, max(0.25, 2 * overlap_share))
        tries = [f"--set predict.overlap_share={wider:g}"] if wider > overlap_share else []
        tries += ["--set predict.stitching=window"] if method == "keep" else []
        return f"{found}; try {' or '.join(tries)}" if tries else found


def score_seams(label: MaskStore, grid: TileGrid, method: str) -> SeamScore:
    """Compare the borders of tiles with everywhere else, in one pass over the finished mask.

    Args:
        label: The mask.
        grid: Its tiles.
        method: ``keep``: borders of what tiles keep; ``window``: borders of what they read.
    """
    columns, rows = _borders(grid.x_axis, method), _borders(grid.y_axis, method)
    score = SeamScore(np.zeros(2, np.int64), np.zeros(2, np.int64))
    above: NDArray[np.uint8] | None = None
    for y0, strip in strips(label):
        upright = _count(strip[:, :-1], strip[:, 1:], axis=0)
        joined = strip if above is None else np.concatenate([above, strip])
        level = _count(joined[:-1], joined[1:], axis=1)
        first = y0 + (above is None)
        _share_out(score, upright, columns - 1)
        _share_out(score, level, rows[(rows >= first) & (rows < y0 + len(strip))] - first)
        above = strip[-1:].copy()
    return score


def _borders(axis: AxisTiling, method: str) -> NDArray[np.int64]:
    """Positions of the first pixel after each border, inside the axis."""
    if method == "keep":
        found = {axis.keep(index)[0] for index in range(1, axis.count)}
    else:
        found = {edge for index in range(axis.count) for edge in axis.read(index)}
    return np.array(sorted(edge for edge in found if 0 < edge < axis.length), dtype=np.int64)


def _count(one: NDArray[np.uint8], other: NDArray[np.uint8], axis: int) -> NDArray[np.int64]:
    """Pairs with foreground and pairs that differ, summed along an axis: ``(2, n)``."""
    return np.stack([((one | other) > 0).sum(axis=axis), (one != other).sum(axis=axis)]).astype(np.int64)


def _share_out(score: SeamScore, counts: NDArray[np.int64], borders: NDArray[np.int64]) -> None:
    at_seams = counts[:, borders].sum(axis=1)
    score.at_seams += at_seams
    score.elsewhere += counts.sum(axis=1) - at_seams
