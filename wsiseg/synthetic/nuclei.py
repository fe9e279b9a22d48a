"""Nuclei: where they are, how they look, their outlines, and how many are painted at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsiseg.synthetic.canvas import Canvas
from wsiseg.synthetic.noise import FloatArray

_OUTLINE_POINTS = 28
FloatColumn = NDArray[np.float64]


@dataclass(frozen=True)
class Nuclei:
    """A set of nuclei; every field is float64 ``(n,)``.

    A nucleus is an ellipse, bent along its length like a bean.

    Attributes:
        x: Centre, micrometres.
        y: Centre, micrometres.
        a: Half length.
        b: Half width.
        ux: Direction of the length.
        uy: Direction of the length.
        bend: How much the ends turn aside, 1/um.
        hem: Haematoxylin density.
        rim: Extra density at the nuclear membrane, as a part of ``hem``.
    """

    x: FloatColumn
    y: FloatColumn
    a: FloatColumn
    b: FloatColumn
    ux: FloatColumn
    uy: FloatColumn
    bend: FloatColumn
    hem: FloatColumn
    rim: FloatColumn

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def none(cls) -> Self:
        """No nuclei."""
        return cls(*(np.zeros(0) for _ in fields(cls)))

    @classmethod
    def join(cls, parts: Sequence["Nuclei"]) -> Self:
        """All nuclei of several sets."""
        if not parts:
            return cls.none()
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def take(self, which: NDArray[np.bool_] | slice) -> "Nuclei":
        """Some of them."""
        return Nuclei(*(getattr(self, field.name)[which] for field in fields(self)))

    def outline(self, index: int) -> NDArray[np.float64]:
        """Outline of one nucleus, micrometres ``(28, 2)``, not closed."""
        angle = 2.0 * math.pi * np.arange(_OUTLINE_POINTS) / _OUTLINE_POINTS
        along = self.a[index] * np.cos(angle)
        across = self.b[index] * np.sin(angle) - self.bend[index] * along * along
        ux, uy = self.ux[index], self.uy[index]
        x = self.x[index] + along * ux - across * uy
        y = self.y[index] + along * uy + across * ux
        return np.stack([x, y], axis=1)


def paint_nuclei(canvas: Canvas, nuclei: Nuclei, pas: float = 0.1) -> None:
    """Paint all nuclei that touch the canvas, in their order."""
    x0, y0, x1, y1 = canvas.bounds_um
    reach = nuclei.a + nuclei.b
    touching = (nuclei.x + reach > x0) & (nuclei.x - reach < x1)
    touching &= (nuclei.y + reach > y0) & (nuclei.y - reach < y1)
    here = nuclei.take(touching)
    if not len(here):
        return
    half = math.ceil(float((here.a + 0.3 * here.b).max()) / canvas.mpp) + 1
    columns = np.floor(here.x / canvas.mpp).astype(np.int64) - half
    rows = np.floor(here.y / canvas.mpp).astype(np.int64) - half
    cover, density = _shapes(here, columns, rows, 2 * half + 1, canvas.mpp)
    for index in range(len(here)):
        _paste(canvas, (int(columns[index]), int(rows[index])), cover[index], density[index], pas)


def _shapes(
    nuclei: Nuclei, columns: NDArray[np.int64], rows: NDArray[np.int64], side: int, mpp: float
) -> tuple[FloatArray, FloatArray]:
    """Cover and haematoxylin of each nucleus in its own square, ``(n, side, side)`` each."""
    offset = np.arange(side) + 0.5
    dx = ((columns[:, None] + offset) * mpp - nuclei.x[:, None]).astype(np.float32)[:, None, :]
    dy = ((rows[:, None] + offset) * mpp - nuclei.y[:, None]).astype(np.float32)[:, :, None]

    def column(values: FloatColumn) -> FloatArray:
        return values.astype(np.float32)[:, None, None]

    ux, uy = column(nuclei.ux), column(nuclei.uy)
    along = dx * ux + dy * uy
    across = dy * ux - dx * uy + column(nuclei.bend) * along * along
    along *= column(1.0 / nuclei.a)
    across *= column(1.0 / nuclei.b)
    squared = along * along + across * across
    radius = np.sqrt(squared)
    cover = np.clip((1.0 - radius) * column(nuclei.b / mpp) + np.float32(0.5), 0.0, 1.0)
    fourth = np.minimum(squared * squared, np.float32(1.0))
    density = column(nuclei.hem) * (1.0 + column(nuclei.rim) * (fourth - np.float32(0.45)))
    return cover, density.astype(np.float32, copy=False)


def _paste(
    canvas: Canvas, corner: tuple[int, int], cover: FloatArray, density: FloatArray, pas: float
) -> None:
    (column, row), box, side = corner, canvas.box, cover.shape[0]
    left, top = max(column, box.x0), max(row, box.y0)
    right, bottom = min(column + side, box.x1), min(row + side, box.y1)
    if right <= left or bottom <= top:
        return
    there = (slice(top - box.y0, bottom - box.y0), slice(left - box.x0, right - box.x0))
    here = (slice(top - row, bottom - row), slice(left - column, right - column))
    part = cover[here]
    hem, magenta = canvas.hem[there], canvas.pas[there]
    hem += part * (density[here] - hem)
    magenta += part * (np.float32(pas) - magenta)
