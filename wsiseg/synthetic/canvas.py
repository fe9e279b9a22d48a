"""The stain planes of one region, and how things are painted on them.

Everything is given in micrometres and painted with an edge one pixel wide. What a pixel gets depends on
its position alone, never on the region, so regions drawn apart fit together exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.synthetic.noise import AnyFloats, FloatArray


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a canvas: where it is, and how far its pixels are from a point.

    Attributes:
        rows: Rows of the canvas.
        columns: Columns of the canvas.
        dx: Micrometres right of the point, float32 ``(1, w)``.
        dy: Micrometres below the point, float32 ``(h, 1)``.
    """

    rows: slice
    columns: slice
    dx: FloatArray
    dy: FloatArray


class Canvas:
    """Two stain densities on a box of pixels: PAS (magenta) and haematoxylin (blue).

    Args:
        box: The pixels, level 0.
        mpp: Micrometres per pixel.

    Attributes:
        pas: float32 ``(h, w)``, 0 clear, 1 strong.
        hem: The same for haematoxylin.
    """

    def __init__(self, box: Box, mpp: float) -> None:
        self.box = box
        self.mpp = mpp
        self.x_um: NDArray[np.float64] = (np.arange(box.x0, box.x1, dtype=np.float64) + 0.5) * mpp
        self.y_um: NDArray[np.float64] = (np.arange(box.y0, box.y1, dtype=np.float64) + 0.5) * mpp
        shape = (box.height, box.width)
        self.pas: FloatArray = np.zeros(shape, dtype=np.float32)
        self.hem: FloatArray = np.zeros(shape, dtype=np.float32)

    @property
    def bounds_um(self) -> tuple[float, float, float, float]:
        """``(x0, y0, x1, y1)`` in micrometres."""
        box, mpp = self.box, self.mpp
        return box.x0 * mpp, box.y0 * mpp, box.x1 * mpp, box.y1 * mpp

    def cover(self, depth_um: AnyFloats) -> FloatArray:
        """Part of a pixel that is covered, from the depth of its centre inside the thing (um)."""
        return unit_ramp(depth_um * np.float32(1.0 / self.mpp) + np.float32(0.5))

    def window(self, x_um: float, y_um: float, reach_um: float) -> Window | None:
        """The pixels within ``reach_um`` of a point along either axis; None if there are none here."""
        return self.window_of(x_um, y_um, (-reach_um, -reach_um, reach_um, reach_um))

    def window_of(
        self, x_um: float, y_um: float, extent_um: tuple[float, float, float, float]
    ) -> Window | None:
        """The pixels in a rectangle ``(x0, y0, x1, y1)`` around a point; None if there are none here."""
        wanted = Box(
            int((x_um + extent_um[0]) // self.mpp),
            int((y_um + extent_um[1]) // self.mpp),
            int((x_um + extent_um[2]) // self.mpp) + 1,
            int((y_um + extent_um[3]) // self.mpp) + 1,
        ).intersection(self.box)
        if wanted.is_empty:
            return None
        rows, columns = wanted.slices((self.box.x0, self.box.y0))
        dx = (self.x_um[columns] - x_um).astype(np.float32)[None, :]
        dy = (self.y_um[rows] - y_um).astype(np.float32)[:, None]
        return Window(rows, columns, dx, dy)

    def paint(self, window: Window, cover: AnyFloats, pas: AnyFloats | float, hem: AnyFloats | float) -> None:
        """Lay stain densities over what is there, as far as ``cover`` (0-1) goes."""
        for plane, value in ((self.pas, pas), (self.hem, hem)):
            part = plane[window.rows, window.columns]
            part += cover * (np.float32(value) - part)

    def add(self, window: Window, cover: AnyFloats, pas: float, hem: float) -> None:
        """Add stain to what is there."""
        if pas:
            self.pas[window.rows, window.columns] += cover * np.float32(pas)
        if hem:
            self.hem[window.rows, window.columns] += cover * np.float32(hem)


def unit_ramp(values: AnyFloats) -> FloatArray:
    """Values clipped to 0-1."""
    ramp: FloatArray = np.clip(values, np.float32(0.0), np.float32(1.0)).astype(np.float32, copy=False)
    return ramp
