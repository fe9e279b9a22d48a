"""Smooth random fields over the slide, as functions of position.

Only additions and multiplications are used, whose results are the same on every processor, so a pixel
has one value whichever region it is drawn in.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.synthetic.dice import lattice_unit, lattice_units, mix, scramble

FloatArray = NDArray[np.float32]
AnyFloats = NDArray[np.floating[Any]]
"""What is computed on: float32, which type checkers take for float64 beside a Python number."""

_PERIOD = 1024


class Noise:
    """Value noise: random numbers at the nodes of a lattice, smoothly interpolated.

    Args:
        wavelength_um: Distance between nodes.
        amplitude: The field runs from ``-amplitude`` to ``amplitude``.
        keys: What the field is for; equal keys give equal fields.
    """

    def __init__(self, wavelength_um: float, amplitude: float, *keys: int) -> None:
        self._wavelength = wavelength_um
        self._amplitude = amplitude
        self._key = mix(*keys)

    def block(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> FloatArray:
        """The field where columns ``x_um`` (w,) and rows ``y_um`` (h,) cross, float32 ``(h, w)``."""
        column, along_x = self._split(x_um)
        row, along_y = self._split(y_um)
        columns = np.arange(column[0], column[-1] + 2)
        rows = np.arange(row[0], row[-1] + 2)
        nodes = self._nodes(columns[None, :], rows[:, None])
        top, bottom = nodes[row - row[0]], nodes[row - row[0] + 1]
        lines = top + (bottom - top) * along_y[:, None]
        slopes = lines[:, 1:] - lines[:, :-1]
        position = column - column[0]
        field: FloatArray = np.take(lines, position, axis=1) + np.take(slopes, position, axis=1) * along_x
        return field

    def points(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """The field at single points, ``(n,)`` each."""
        column, along_x = self._split(x_um)
        row, along_y = self._split(y_um)
        side = np.arange(2)
        nodes = self._nodes(column + side[:, None], (row + side[:, None])[:, None]).astype(np.float64)
        left, right = nodes[:, 0], nodes[:, 1]
        top, bottom = left + (right - left) * along_x
        field: NDArray[np.float64] = top + (bottom - top) * along_y
        return field

    def at(self, x_um: float, y_um: float) -> float:
        """The field at one point."""
        column, row = math.floor(x_um / self._wavelength), math.floor(y_um / self._wavelength)
        along_x = _smooth(x_um / self._wavelength - column)
        along_y = _smooth(y_um / self._wavelength - row)
        nodes = [lattice_unit(self._key, column + dx, row + dy) for dy in (0, 1) for dx in (0, 1)]
        top = nodes[0] + (nodes[1] - nodes[0]) * along_x
        bottom = nodes[2] + (nodes[3] - nodes[2]) * along_x
        return (2.0 * (top + (bottom - top) * along_y) - 1.0) * self._amplitude

    def _split(self, position_um: NDArray[np.float64]) -> tuple[NDArray[np.int64], FloatArray]:
        scaled = position_um / self._wavelength
        node = np.floor(scaled)
        part = scaled - node
        return node.astype(np.int64), (part * part * (3.0 - 2.0 * part)).astype(np.float32)

    def _nodes(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> FloatArray:
        units = lattice_units(self._key, columns, rows)
        return ((2.0 * units - 1.0) * self._amplitude).astype(np.float32)


def _smooth(part: float) -> float:
    return part * part * (3.0 - 2.0 * part)


class Grain:
    """Pixel noise that repeats every 1024 pixels: cheap, and too fine for the repeat to be seen.

    Args:
        softness: How often the noise is averaged with its neighbours; each time it gets coarser.
        keys: What it is for.
    """

    def __init__(self, softness: int, *keys: int) -> None:
        index = np.arange(_PERIOD * _PERIOD, dtype=np.uint64)
        bits = scramble(index + np.uint64(mix(*keys)))
        values = (bits >> np.uint64(52)).astype(np.int64).reshape(_PERIOD, _PERIOD)
        for step in range(softness):
            # Wider each time (1, 2, 3 ...), in whole numbers: no rounding, the same on every machine.
            values = values + np.roll(values, step + 1, axis=0)
            values = values + np.roll(values, step + 1, axis=1)
        centred = values - int(values.sum()) // values.size
        peak = int(np.abs(centred).max())
        self._tile = (centred / peak).astype(np.float32)

    def at(self, x0: int, y0: int, width: int, height: int) -> FloatArray:
        """The noise, within -1 and 1, on the pixels from (x0, y0), float32 ``(height, width)``."""
        columns = np.arange(x0, x0 + width) % _PERIOD
        rows = np.arange(y0, y0 + height) % _PERIOD
        return np.take(np.take(self._tile, rows, axis=0), columns, axis=1)
