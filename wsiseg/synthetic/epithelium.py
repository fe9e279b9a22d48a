"""How a tubule is painted."""

import numpy as np

from wsiseg.synthetic.canvas import Canvas, Window, unit_ramp
from wsiseg.synthetic.noise import AnyFloats, FloatArray
from wsiseg.synthetic.tubules import Tubule

_MARGIN_UM = np.float32(4.0)
_ROUND_UM = np.float32(16.0)


def paint_tubule(
    canvas: Canvas, tubule: Tubule, warp: tuple[FloatArray, FloatArray], rough: FloatArray
) -> None:
    """Paint one tubule, without its nuclei, over the interstitium.

    Args:
        canvas: The region.
        tubule: What to paint.
        warp: How far each pixel of the canvas is shifted, x and y (um): tubules are not straight.
        rough: Noise of the whole canvas, -1 to 1.
    """
    window = canvas.window_of(tubule.axis.x, tubule.axis.y, tubule.extent)
    if window is None:
        return
    rough = rough[window.rows, window.columns]
    depth = _depth(tubule, window, warp) - np.float32(tubule.gap)
    if float(depth.max()) < -1.0:
        return
    canvas.paint(window, canvas.cover(depth), 0.78 + 0.1 * rough, 0.08)
    inner = depth - np.float32(tubule.membrane) + rough * np.float32(0.3)
    canvas.paint(window, canvas.cover(inner), tubule.pas + 0.07 * rough, tubule.hem + 0.04 * rough)
    height = np.float32(tubule.wall - tubule.membrane)
    ragged = inner - height + rough * np.float32(2.2)
    if tubule.brush:
        band = unit_ramp(np.float32(1.0) + ragged / np.float32(tubule.brush))
        canvas.add(window, band * band, 0.30, 0.0)
    canvas.paint(window, canvas.cover(ragged), tubule.cast + 0.02 + 0.03 * rough, 0.02)


def _depth(tubule: Tubule, window: Window, warp: tuple[FloatArray, FloatArray]) -> FloatArray:
    axis = tubule.axis
    x = window.dx + warp[0][window.rows, window.columns]
    y = window.dy + warp[1][window.rows, window.columns]
    own = _distance(x, y, axis.ux, axis.uy, axis.half_length) - np.float32(axis.push)
    nearest = np.full(x.shape, 1e3, dtype=np.float32)
    for rx, ry, ux, uy, half, push in tubule.rivals:
        other = _distance(x - np.float32(rx - axis.x), y - np.float32(ry - axis.y), ux, uy, half)
        nearest = soft_minimum(nearest, other - np.float32(push))
    depth = (nearest - own) * np.float32(0.5)
    left, top, right, bottom = (np.float32(side) for side in tubule.extent)
    # Far from its axis a tubule may be bounded by none of its rivals; there it ends round, in its extent.
    depth = soft_minimum(depth, np.minimum(window.dx - left, right - window.dx) - _MARGIN_UM)
    depth = soft_minimum(depth, np.minimum(window.dy - top, bottom - window.dy) - _MARGIN_UM)
    for sx, sy, radius in tubule.spheres:
        dx, dy = window.dx - np.float32(sx - axis.x), window.dy - np.float32(sy - axis.y)
        depth = soft_minimum(depth, np.sqrt(dx * dx + dy * dy) - np.float32(radius))
    return depth


def soft_minimum(first: FloatArray, second: FloatArray) -> FloatArray:
    """The smaller of two distances, rounded off where they are within 16 um of each other.

    The polynomial of I. Quilez's smooth minimum: no exponentials, hence the same bits everywhere.
    """
    near = np.maximum(_ROUND_UM - np.abs(first - second), np.float32(0.0))
    rounded: FloatArray = np.minimum(first, second) - near * near * np.float32(0.25 / float(_ROUND_UM))
    return rounded


def _distance(dx: AnyFloats, dy: AnyFloats, ux: float, uy: float, half: float) -> FloatArray:
    """Distance to an axis."""
    fx, fy, length = np.float32(ux), np.float32(uy), np.float32(half)
    along = np.clip(dx * fx + dy * fy, -length, length)
    across_x, across_y = dx - along * fx, dy - along * fy
    distance: FloatArray = np.sqrt(across_x * across_x + across_y * across_y)
    return distance
