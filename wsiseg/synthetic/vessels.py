"""Arteries and veins of the cortex."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wsiseg.synthetic.canvas import Canvas
from wsiseg.synthetic.dice import Dice, directions, snap
from wsiseg.synthetic.glomeruli import GlomerulusField
from wsiseg.synthetic.noise import FloatArray
from wsiseg.synthetic.nuclei import Nuclei, paint_nuclei
from wsiseg.synthetic.outline import Outline
from wsiseg.synthetic.spec import SlideSpec

_KIND = 4
PITCH_UM = 420.0
_MAX_RADIUS_UM = 62.0


@dataclass(frozen=True)
class Vessel:
    """One vessel cut across, micrometres.

    Attributes:
        x: Centre.
        y: Centre.
        radius: Outer edge of the wall.
        lumen: Radius of the lumen.
        nuclei: Smooth muscle and endothelium.
    """

    x: float
    y: float
    radius: float
    lumen: float
    nuclei: Nuclei


class VesselField:
    """The vessels of a slide, at most one in each cell of a coarse lattice.

    Args:
        spec: The slide.
        outline: Its tissue.
        glomeruli: What vessels keep away from.
    """

    def __init__(self, spec: SlideSpec, outline: Outline, glomeruli: GlomerulusField) -> None:
        self._spec = spec
        self._outline = outline
        self._glomeruli = glomeruli
        self._cell = lru_cache(maxsize=1024)(self._make)

    def near(self, bounds_um: tuple[float, float, float, float]) -> list[Vessel]:
        """Vessels that may touch ``(x0, y0, x1, y1)``, in lattice order."""
        x0, y0, x1, y1 = bounds_um
        reach = _MAX_RADIUS_UM + 8.0
        found = []
        for row in range(math.floor((y0 - reach) / PITCH_UM), math.floor((y1 + reach) / PITCH_UM) + 1):
            for column in range(math.floor((x0 - reach) / PITCH_UM), math.floor((x1 + reach) / PITCH_UM) + 1):
                vessel = self._cell(column, row)
                if vessel is not None and (
                    x0 - reach < vessel.x < x1 + reach and y0 - reach < vessel.y < y1 + reach
                ):
                    found.append(vessel)
        return found

    def _make(self, column: int, row: int) -> Vessel | None:
        dice = Dice(self._spec.seed, _KIND, column, row)
        if not dice.chance(0.6):
            return None
        radius = 16.0 + 46.0 * dice.uniform() ** 2
        x = (column + dice.uniform(0.2, 0.8)) * PITCH_UM
        y = (row + dice.uniform(0.2, 0.8)) * PITCH_UM
        if self._outline.at(x, y) < radius + 10.0:
            return None
        clear = radius + 6.0
        for glomerulus in self._glomeruli.near((x - clear, y - clear, x + clear, y + clear)):
            if math.hypot(x - glomerulus.x, y - glomerulus.y) < glomerulus.radius * 1.12 + clear:
                return None
        lumen = radius * dice.uniform(0.35, 0.75)
        spread = self._spec.knobs.stain_spread
        nuclei = _wall_nuclei(dice, (x, y), radius=radius, lumen=lumen, spread=spread)
        return Vessel(x, y, radius, lumen, nuclei)


def _wall_nuclei(
    dice: Dice, centre: tuple[float, float], *, radius: float, lumen: float, spread: float
) -> Nuclei:
    """Flat nuclei that lie around the lumen."""
    count = int(2.0 * math.pi * radius * (radius - lumen) / 190.0) + 4
    ray = directions(dice.uniforms(count))
    away = dice.uniforms(count, lumen + 1.5, radius - 1.0)
    return Nuclei(
        x=snap(centre[0] + ray[:, 0] * away),
        y=snap(centre[1] + ray[:, 1] * away),
        a=snap(dice.uniforms(count, 3.2, 5.0)),
        b=snap(dice.uniforms(count, 1.2, 1.7)),
        ux=-ray[:, 1],
        uy=ray[:, 0],
        bend=snap(0.5 / away),
        hem=np.maximum(0.3, 0.68 + spread * dice.normals(count)),
        rim=np.zeros(count),
    )


def paint_vessel(
    canvas: Canvas, vessel: Vessel, warp: tuple[FloatArray, FloatArray], rough: FloatArray
) -> None:
    """Paint one vessel: wall, inner membrane, lumen, nuclei.

    Args:
        canvas: The region.
        vessel: What to paint.
        warp: How far each pixel of the canvas is shifted, x and y (um): vessels are not circles.
        rough: Noise of the whole canvas, -1 to 1.
    """
    window = canvas.window(vessel.x, vessel.y, vessel.radius + 9.0)
    if window is None:
        return
    rough = rough[window.rows, window.columns]
    dx = window.dx + warp[0][window.rows, window.columns]
    dy = window.dy + warp[1][window.rows, window.columns]
    distance = np.sqrt(dx * dx + dy * dy) + rough * np.float32(1.2)
    wall = canvas.cover(np.float32(vessel.radius) - distance)
    canvas.paint(window, wall, 0.36 + 0.14 * rough, 0.11)
    # Layers of muscle: a saw-tooth over the wall, magenta where the basement membranes lie.
    layer = distance * np.float32(1.0 / 4.5)
    layer = layer - np.floor(layer)
    canvas.add(window, wall * layer * layer, 0.16, 0.0)
    canvas.paint(window, canvas.cover(np.float32(vessel.lumen + 1.6) - distance), 0.75, 0.10)
    canvas.paint(window, canvas.cover(np.float32(vessel.lumen) - distance), 0.03, 0.015)
    paint_nuclei(canvas, vessel.nuclei, pas=0.25)
