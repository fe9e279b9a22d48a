"""How a glomerulus is painted."""

import numpy as np
from numpy.typing import NDArray

from wsiseg.synthetic.canvas import Canvas, Window, unit_ramp
from wsiseg.synthetic.glomerulus import Glomerulus, wave
from wsiseg.synthetic.noise import FloatArray
from wsiseg.synthetic.nuclei import paint_nuclei

_CLEFT_UM = np.float32(1.1)
_WALL_UM = np.float32(1.1)
_NUCLEUS_PAS = 0.16


def paint_glomerulus(
    canvas: Canvas, glomerulus: Glomerulus, warp: tuple[FloatArray, FloatArray], rough: FloatArray
) -> None:
    """Paint one glomerulus over whatever is there.

    Args:
        canvas: The region.
        glomerulus: What to paint.
        warp: How far each pixel of the canvas is shifted, x and y (um): capillaries are not ellipses.
        rough: Noise of the whole canvas, -1 to 1, that makes edges and densities uneven.
    """
    window = canvas.window(glomerulus.x, glomerulus.y, glomerulus.radius * 1.15 + 3.0)
    if window is None:
        return
    rough = rough[window.rows, window.columns]
    edge = _edge(glomerulus, window)
    canvas.paint(window, canvas.cover(edge), 0.80 + 0.15 * rough, 0.10)
    space = canvas.cover(edge - np.float32(glomerulus.capsule) - rough * np.float32(0.5))
    canvas.paint(window, space, 0.04 + 0.04 * rough, 0.02)
    depth, cleft = _lobes(glomerulus, window, edge, rough)
    tuft = canvas.cover(depth) * cleft
    canvas.paint(window, tuft, glomerulus.stain * (1.0 + np.float32(0.6) * rough), 0.15 + 0.08 * rough)
    # The basement membrane of the outermost loops: the tuft's own outline.
    canvas.paint(window, tuft * (1.0 - canvas.cover(depth - _WALL_UM)), 0.72, 0.12)
    for loop in glomerulus.loops:
        _paint_loop(canvas, glomerulus, loop, warp)
    paint_nuclei(canvas, glomerulus.others, pas=_NUCLEUS_PAS)
    _paint_podocytes(canvas, glomerulus)


def _edge(glomerulus: Glomerulus, window: Window) -> FloatArray:
    """Depth inside the outer edge of the capsule (um)."""
    distance = np.sqrt(window.dx * window.dx + window.dy * window.dy) + np.float32(1e-3)
    ratio = wave(glomerulus.harmonics, window.dx / distance, window.dy / distance)
    return np.float32(glomerulus.radius) * ratio - distance


def _lobes(
    glomerulus: Glomerulus, window: Window, edge: FloatArray, rough: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Depth inside the tuft, and 0 in the clefts between lobes to 1 elsewhere."""
    first = np.full(edge.shape, -1e3, dtype=np.float32)
    second = first.copy()
    for x, y, radius in glomerulus.lobes.astype(np.float32):
        dx, dy = window.dx - x, window.dy - y
        depth = radius - np.sqrt(dx * dx + dy * dy)
        second = np.maximum(second, np.minimum(first, depth))
        first = np.maximum(first, depth)
    first = np.minimum(first, edge - np.float32(glomerulus.capsule + glomerulus.space))
    # Clefts open towards Bowman's space and close in the depth, where the lobes hang together.
    gap = _CLEFT_UM * (1.0 - unit_ramp((second - np.float32(8.0)) / np.float32(6.0)))
    cleft = unit_ramp((first - second) - gap + np.float32(0.5)) if not glomerulus.sclerosed else 1.0
    return first + rough * np.float32(1.3), np.asarray(cleft, dtype=np.float32)


def _paint_loop(
    canvas: Canvas,
    glomerulus: Glomerulus,
    loop: NDArray[np.float64],
    warp: tuple[FloatArray, FloatArray],
) -> None:
    """A capillary: a magenta wall around an open lumen."""
    x, y, length, width = (float(value) for value in loop[:4])
    ux, uy, filled = np.float32(loop[4]), np.float32(loop[5]), float(loop[6])
    window = canvas.window(glomerulus.x + x, glomerulus.y + y, length + 5.0)
    if window is None:
        return
    dx = window.dx + warp[0][window.rows, window.columns]
    dy = window.dy + warp[1][window.rows, window.columns]
    along = (dx * ux + dy * uy) * np.float32(1.0 / length)
    across = (dy * ux - dx * uy) * np.float32(1.0 / width)
    inside = (1.0 - np.sqrt(along * along + across * across)) * np.float32(width)
    canvas.paint(window, canvas.cover(inside + _WALL_UM), glomerulus.stain + 0.25, 0.12)
    canvas.paint(window, canvas.cover(inside), filled, 0.03)


def _paint_podocytes(canvas: Canvas, glomerulus: Glomerulus) -> None:
    """Pale cell bodies first, then the nuclei in them."""
    cells = glomerulus.podocytes
    for index in range(len(cells)):
        radius = float(cells.a[index]) + 1.6
        window = canvas.window(float(cells.x[index]), float(cells.y[index]), radius)
        if window is None:
            continue
        distance = np.sqrt(window.dx * window.dx + window.dy * window.dy)
        body = unit_ramp((np.float32(radius) - distance) / np.float32(2.5))
        canvas.paint(window, body * np.float32(0.75), 0.16, 0.12)
    paint_nuclei(canvas, cells, pas=_NUCLEUS_PAS)
