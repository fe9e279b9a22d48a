"""Tubules: the closely packed tubes, cut across or along, that fill the cortex.

Each tubule grows from a short axis in a cell of a shaken lattice, and reaches half-way to its neighbours:
a Voronoi diagram of line segments, whose pieces look like tubules pressed against each other. What bounds
one is known from the lattice cells around it alone.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wsiseg.synthetic.dice import Dice, directions, snap
from wsiseg.synthetic.glomeruli import GlomerulusField
from wsiseg.synthetic.noise import Noise
from wsiseg.synthetic.nuclei import Nuclei
from wsiseg.synthetic.outline import Outline
from wsiseg.synthetic.spec import SlideSpec
from wsiseg.synthetic.vessels import VesselField

_KIND = 3
PITCH_UM = 56.0
_REACH_UM = 105.0
_RAYS = 28
_STEP_UM = 2.5


@dataclass(frozen=True, slots=True)
class Axis:
    """The line that a tubule grows from, micrometres; ``push`` is what it gains on its neighbours."""

    x: float
    y: float
    ux: float
    uy: float
    half_length: float
    push: float


@dataclass(frozen=True)
class Tubule:
    """One tubule, in micrometres.

    Attributes:
        axis: Its own axis.
        rivals: ``(n, 6)`` axes of the neighbours that bound it.
        spheres: ``(n, 3)`` x, y, radius of glomeruli and vessels that bound it.
        extent: Bounding rectangle around the axis's centre.
        gap: From its basement membrane to the middle of the interstitium.
        wall: Height of the epithelium.
        membrane: Thickness of the basement membrane.
        brush: Height of the brush border; 0 in distal tubules.
        pas: PAS density of the cytoplasm.
        cast: PAS density of what fills the lumen.
        nuclei: Of the epithelium, and of the interstitium around it.
    """

    axis: Axis
    rivals: NDArray[np.float64]
    spheres: NDArray[np.float64]
    extent: tuple[float, float, float, float]
    gap: float
    wall: float
    membrane: float
    brush: float
    pas: float
    hem: float
    cast: float
    nuclei: Nuclei


@dataclass(frozen=True)
class _Rays:
    """How deep inside a tubule the points on rays from its centre lie.

    Attributes:
        ways: Unit vectors ``(rays, 2)``.
        steps: Distances from the centre ``(steps,)``.
        depth: ``(rays, steps)``.
        nearest: Which rival or sphere bounds the tubule there, ``(rays, steps)``.
    """

    ways: NDArray[np.float64]
    steps: NDArray[np.float64]
    depth: NDArray[np.float64]
    nearest: NDArray[np.intp]

    def reach(self, level: float) -> NDArray[np.float64]:
        """How far each ray runs until its depth falls to ``level``."""
        below = self.depth <= level
        return np.where(below.any(axis=1), self.steps[np.argmax(below, axis=1)], _REACH_UM)

    def tallest(self, level: float) -> float:
        """How much deeper than ``level`` it gets before that."""
        inside = self.steps < self.reach(level)[:, None]
        return float(np.where(inside, self.depth - level, 0.0).max())

    def along(self, dice: Dice, level: float, pitch_um: float) -> NDArray[np.float64]:
        """Places ``(n, 2)`` about ``pitch_um`` apart on the line of equal depth around the tubule."""
        radius = self.reach(level)
        found = (radius > self.steps[0]) & (radius < _REACH_UM)
        ring = (self.ways * (radius - 0.5 * _STEP_UM)[:, None])[found]
        if len(ring) < 3:
            return np.zeros((0, 2))
        closed = np.vstack([ring, ring[:1]])
        sides = np.diff(closed, axis=0)
        travelled = np.concatenate([[0.0], np.cumsum(np.sqrt((sides * sides).sum(axis=1)))])
        count = int(travelled[-1] / pitch_um)
        spread = np.arange(count) + dice.uniforms(count, -0.33, 0.33) + 0.5
        wanted = spread * (travelled[-1] / max(count, 1))
        return np.column_stack([np.interp(wanted, travelled, column) for column in closed.T])


class TubuleField:
    """The tubules of a slide.

    Args:
        spec: The slide.
        outline: Its tissue.
        glomeruli: What tubules make room for.
        vessels: The same.
    """

    def __init__(
        self, spec: SlideSpec, outline: Outline, glomeruli: GlomerulusField, vessels: VesselField
    ) -> None:
        self._spec = spec
        self._outline = outline
        self._glomeruli = glomeruli
        self._vessels = vessels
        self.warp_x = Noise(34.0, 6.0, spec.seed, _KIND, 1)
        self.warp_y = Noise(34.0, 6.0, spec.seed, _KIND, 2)
        self._fibrosis = Noise(300.0, 1.0, spec.seed, _KIND, 3)
        self._inflammation = Noise(260.0, 1.0, spec.seed, _KIND, 4)
        self._grain_x = Noise(900.0, 1.0, spec.seed, _KIND, 5)
        self._grain_y = Noise(900.0, 1.0, spec.seed, _KIND, 6)
        # Bounded: three rows of cells of the widest slide, whatever its height.
        self._axis = lru_cache(maxsize=32768)(self._make_axis)
        self._tubule = lru_cache(maxsize=16384)(self._make)

    def near(self, bounds_um: tuple[float, float, float, float]) -> list[Tubule]:
        """Tubules that may touch ``(x0, y0, x1, y1)``, in lattice order."""
        x0, y0, x1, y1 = bounds_um
        columns = range(math.floor((x0 - _REACH_UM) / PITCH_UM), math.floor((x1 + _REACH_UM) / PITCH_UM) + 1)
        rows = range(math.floor((y0 - _REACH_UM) / PITCH_UM), math.floor((y1 + _REACH_UM) / PITCH_UM) + 1)
        found = []
        for row in rows:
            for column in columns:
                tubule = self._tubule(column, row)
                if tubule is not None and _touches(tubule, bounds_um):
                    found.append(tubule)
        return found

    def _make_axis(self, column: int, row: int) -> Axis | None:
        dice = Dice(self._spec.seed, _KIND, column, row)
        x = (column + 0.5 + 0.5 * (row % 2) + dice.uniform(-0.30, 0.30)) * PITCH_UM
        y = (row + 0.5 + dice.uniform(-0.30, 0.30)) * PITCH_UM
        ux, uy = self._run(x, y, dice)
        for cx, cy, radius in self._spheres_near(x, y, 24.0):
            dx, dy = x - cx, y - cy
            away = math.sqrt(dx * dx + dy * dy) + 1e-9
            if away < radius + 2.0:
                return None
            if away < radius + 22.0:
                # Tubules beside a glomerulus are pushed off it and lie along its capsule.
                x, y = cx + dx / away * (radius + 22.0), cy + dy / away * (radius + 22.0)
                ux, uy = round(-dy / away * 4096) / 4096, round(dx / away * 4096) / 4096
        long = dice.chance(0.4)
        half = dice.uniform(14.0, 30.0) if long else dice.uniform(0.0, 7.0)
        return Axis(x, y, ux, uy, half, dice.uniform(-8.0, 8.0))

    def _run(self, x: float, y: float, dice: Dice) -> tuple[float, float]:
        """Tubules of one neighbourhood run more or less the same way."""
        dx, dy = dice.direction()
        ux = self._grain_x.at(x, y) * 2.0 + 0.5 * dx
        uy = self._grain_y.at(x, y) * 2.0 + 0.5 * dy
        length = math.sqrt(ux * ux + uy * uy) + 1e-9
        return round(ux / length * 4096) / 4096, round(uy / length * 4096) / 4096

    def _make(self, column: int, row: int) -> Tubule | None:
        axis = self._axis(column, row)
        if axis is None or self._outline.at(axis.x, axis.y) < -60.0:
            return None
        cells = [(i, j) for j in range(row - 2, row + 3) for i in range(column - 2, column + 3)]
        around = {cell: other for cell in cells if (other := self._axis(*cell)) is not None}
        del around[column, row]
        for cell, other in around.items():
            # Two that were pushed onto one place would have no boundary: the earlier one stays.
            if cell < (column, row) and math.hypot(other.x - axis.x, other.y - axis.y) < 26.0:
                return None
        rivals = np.array([(r.x, r.y, r.ux, r.uy, r.half_length, r.push) for r in around.values()])
        spheres = self._spheres_near(axis.x, axis.y, _REACH_UM)
        return self._build(Dice(self._spec.seed, _KIND, 7, column, row), axis, rivals.reshape(-1, 6), spheres)

    def _spheres_near(self, x: float, y: float, reach: float) -> NDArray[np.float64]:
        """Glomeruli and vessels around a point, ``(n, 3)``: x, y, radius."""
        around = (x - reach, y - reach, x + reach, y + reach)
        rows = [(g.x, g.y, g.radius * 1.03) for g in self._glomeruli.near(around)]
        rows += [(v.x, v.y, v.radius) for v in self._vessels.near(around)]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def _build(
        self, dice: Dice, axis: Axis, rivals: NDArray[np.float64], spheres: NDArray[np.float64]
    ) -> Tubule | None:
        fibrosis = self._fibrosis.at(axis.x, axis.y)
        gap = 0.3 + dice.uniform(0.0, 1.4) + 5.0 * max(0.0, fibrosis - 0.35)
        rays = _rays(dice, axis, rivals, spheres)
        tall = rays.tallest(gap)
        if tall < 6.0:
            return None
        edge = rays.ways * rays.reach(gap)[:, None]
        (left, top), (right, bottom) = edge.min(axis=0) - 12.0, edge.max(axis=0) + 12.0
        used = np.unique(rays.nearest[(rays.depth > -8.0) & (rays.nearest < len(rivals))])
        proximal = dice.chance(0.62)
        wall = min(dice.uniform(11.0, 15.0) if proximal else dice.uniform(6.0, 9.0), tall * 0.85)
        layer = gap + wall * (0.45 if proximal else 0.5)
        own = rays.along(dice, layer, 11.0 if proximal else 9.0)
        dense = self._inflammation.at(axis.x, axis.y) > 1.0 - 2.0 * self._spec.knobs.inflamed
        between = rays.along(dice, gap * 0.3, 6.0 if dense else 26.0)
        return Tubule(
            axis=axis,
            rivals=rivals[used],
            spheres=spheres,
            extent=(float(left), float(top), float(right), float(bottom)),
            gap=gap,
            wall=wall,
            membrane=dice.uniform(0.9, 1.5) + 1.5 * max(0.0, fibrosis - 0.4),
            brush=dice.uniform(1.5, 2.6) if proximal else 0.0,
            pas=dice.uniform(0.13, 0.27) if proximal else dice.uniform(0.07, 0.15),
            hem=dice.uniform(0.09, 0.15),
            cast=dice.uniform(0.6, 0.8) if not proximal and dice.chance(0.03) else 0.02,
            nuclei=self._nuclei(dice, axis, own, between),
        )

    def _nuclei(
        self, dice: Dice, axis: Axis, own: NDArray[np.float64], between: NDArray[np.float64]
    ) -> Nuclei:
        """Round nuclei of the epithelium, and thin dark ones between the tubules, at these places."""
        count = len(own) + len(between)
        first = np.arange(count) < len(own)
        place = np.concatenate([own, between])
        x, y = self._unwarp(axis.x + place[:, 0], axis.y + place[:, 1])
        a = np.where(first, dice.uniforms(count, 2.5, 3.3), dice.uniforms(count, 1.9, 3.4))
        b = a * np.where(first, dice.uniforms(count, 0.8, 1.0), dice.uniforms(count, 0.5, 0.9))
        turned = directions(dice.uniforms(count))
        spread = self._spec.knobs.stain_spread * dice.normals(count)
        return Nuclei(
            x=x,
            y=y,
            a=snap(a),
            b=snap(b),
            ux=turned[:, 0],
            uy=turned[:, 1],
            bend=np.zeros(count),
            hem=np.maximum(0.3, np.where(first, 0.66, 0.8) + spread),
            rim=dice.uniforms(count, 0.0, 0.4),
        )

    def _unwarp(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where on the slide a place in the straight world is seen (two steps of a fixed point)."""
        px, py = x, y
        for _ in range(2):
            px, py = x - self.warp_x.points(px, py), y - self.warp_y.points(px, py)
        return snap(px), snap(py)


def _rays(dice: Dice, axis: Axis, rivals: NDArray[np.float64], spheres: NDArray[np.float64]) -> _Rays:
    ways = directions((np.arange(_RAYS) + dice.uniform()) / _RAYS)
    steps = np.arange(1.0, _REACH_UM, _STEP_UM)
    x, y = axis.x + ways[:, :1] * steps, axis.y + ways[:, 1:] * steps
    own = np.array([[axis.x, axis.y, axis.ux, axis.uy, axis.half_length, axis.push]])
    distances = _distance(np.vstack([own, rivals]), x, y)
    depth = (distances[1:] - distances[0]) * 0.5
    if len(spheres):
        dx, dy = x - spheres[:, 0, None, None], y - spheres[:, 1, None, None]
        depth = np.concatenate([depth, np.sqrt(dx * dx + dy * dy) - spheres[:, 2, None, None]])
    return _Rays(ways, steps, depth.min(axis=0), np.argmin(depth, axis=0))


def _distance(
    axes: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From each axis to each point, less its push: ``(axes, *points)``."""
    ax, ay, ux, uy, half, push = (column[:, None, None] for column in axes.T)
    dx, dy = x - ax, y - ay
    along = np.clip(dx * ux + dy * uy, -half, half)
    dx, dy = dx - along * ux, dy - along * uy
    distance: NDArray[np.float64] = np.sqrt(dx * dx + dy * dy) - push
    return distance


def _touches(tubule: Tubule, bounds_um: tuple[float, float, float, float]) -> bool:
    x0, y0, x1, y1 = bounds_um
    left, top, right, bottom = tubule.extent
    axis = tubule.axis
    return axis.x + left < x1 and axis.x + right > x0 and axis.y + top < y1 and axis.y + bottom > y0
