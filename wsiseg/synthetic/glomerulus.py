"""One glomerulus: capsule, Bowman's space, lobed tuft, capillary loops and its three kinds of nuclei."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsiseg.synthetic.dice import Dice, directions, snap
from wsiseg.synthetic.nuclei import Nuclei
from wsiseg.synthetic.spec import Preset

_OUTLINE_POINTS = 96
_GAP_UM = 0.8
Harmonics = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Glomerulus:
    """One glomerulus, all lengths in micrometres; x and y of parts are relative to its centre.

    Attributes:
        column: Lattice column; with ``row`` the identity of the glomerulus.
        row: Lattice row.
        x: Centre.
        y: Centre.
        radius: Mean radius of the outer edge of Bowman's capsule.
        harmonics: (cosine, sine) parts of the outline for 2, 3 and 4 waves a turn, of the radius.
        capsule: Thickness of Bowman's capsule.
        space: Least width of Bowman's space.
        lobes: float64 ``(n, 3)``: x, y, radius.
        loops: float64 ``(n, 7)``: capillary lumens: x, y, half length, half width, direction, PAS inside.
        podocytes: Their nuclei.
        others: Mesangial, endothelial and parietal nuclei.
        sclerosed: Whether it is a scar.
        stain: Density of the mesangium.
    """

    column: int
    row: int
    x: float
    y: float
    radius: float
    harmonics: Harmonics
    capsule: float
    space: float
    lobes: NDArray[np.float64]
    loops: NDArray[np.float64]
    podocytes: Nuclei
    others: Nuclei
    sclerosed: bool
    stain: float

    def outline(self) -> NDArray[np.float64]:
        """Outer edge of Bowman's capsule, micrometres ``(96, 2)``, not closed."""
        angle = 2.0 * math.pi * np.arange(_OUTLINE_POINTS) / _OUTLINE_POINTS
        ux, uy = np.cos(angle), np.sin(angle)
        radius = self.radius * wave(self.harmonics, ux, uy)
        return np.stack([self.x + radius * ux, self.y + radius * uy], axis=1)


def wave(harmonics: Harmonics, ux: NDArray[np.floating], uy: NDArray[np.floating]) -> NDArray[np.floating]:
    """``1 + sum(c cos k t + s sin k t)`` for k = 2, 3, 4 at unit vectors, without trigonometry."""
    dtype = ux.dtype.type
    cosine, sine = ux, uy
    result = np.ones(np.broadcast_shapes(ux.shape, uy.shape), dtype=ux.dtype)
    for c, s in harmonics:
        cosine, sine = cosine * ux - sine * uy, sine * ux + cosine * uy
        result = result + (dtype(c) * cosine + dtype(s) * sine)
    return result


def build_glomerulus(
    knobs: Preset, dice: Dice, cell: tuple[int, int], centre: tuple[float, float], radius: float
) -> Glomerulus:
    """Work out all parts of one glomerulus."""
    sclerosed = dice.chance(knobs.sclerosed)
    if sclerosed:
        radius *= 0.8
    sizes = (0.06, 0.035, 0.02)
    harmonics = tuple((dice.uniform(-s, s), dice.uniform(-s, s)) for s in sizes)
    capsule, space = dice.uniform(1.6, 3.0), (1.0 if sclerosed else dice.uniform(3.0, 8.0))
    lobes = _lobes(dice, radius - capsule - space)
    tuft = _Tuft(radius, harmonics, capsule, space, lobes)
    podocytes = _podocytes(dice, knobs, tuft) if not sclerosed else Nuclei.none()
    loops = _loops(dice, tuft) if not sclerosed else np.zeros((0, 3))
    others = _others(dice, knobs, tuft, podocytes, sclerosed=sclerosed)
    return Glomerulus(
        *cell,
        *centre,
        radius=radius,
        harmonics=harmonics,
        capsule=capsule,
        space=space,
        lobes=lobes,
        loops=loops,
        podocytes=_moved(podocytes, centre),
        others=_moved(others, centre),
        sclerosed=sclerosed,
        stain=dice.uniform(0.42, 0.62),
    )


@dataclass(frozen=True)
class _Tuft:
    """The shape of a tuft, for placing things in it."""

    radius: float
    harmonics: Harmonics
    capsule: float
    space: float
    lobes: NDArray[np.float64]

    def edge(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth inside the outer edge of the capsule."""
        distance = np.sqrt(x * x + y * y) + 1e-9
        return self.radius * wave(self.harmonics, x / distance, y / distance) - distance

    def depth(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth inside the tuft, negative in Bowman's space."""
        dx, dy = x[..., None] - self.lobes[:, 0], y[..., None] - self.lobes[:, 1]
        inside = (self.lobes[:, 2] - np.sqrt(dx * dx + dy * dy)).max(axis=-1)
        depth: NDArray[np.float64] = np.minimum(inside, self.edge(x, y) - self.capsule - self.space)
        return depth

    def slope(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unit vectors ``(n, 2)`` that point out of the tuft."""
        step = 1.5
        gx = self.depth(x - step, y) - self.depth(x + step, y)
        gy = self.depth(x, y - step) - self.depth(x, y + step)
        length = np.sqrt(gx * gx + gy * gy) + 1e-9
        return snap(np.stack([gx / length, gy / length], axis=1))


def _lobes(dice: Dice, radius: float) -> NDArray[np.float64]:
    """Round a middle one, uneven, and nearer to the capsule on the side of the vascular pole."""
    count = dice.integer(6, 9)
    turns = (np.arange(count) + dice.uniforms(count, -0.22, 0.22)) / count + dice.uniform()
    away = radius * dice.uniforms(count, 0.52, 0.70)
    ring = np.column_stack([directions(turns) * away[:, None], radius * dice.uniforms(count, 0.31, 0.46)])
    lobes = np.vstack([[0.0, 0.0, radius * 0.48], ring])
    lobes[:, :2] += np.array(dice.direction()) * radius * dice.uniform(0.03, 0.10)
    return snap(lobes)


def _podocytes(dice: Dice, knobs: Preset, tuft: _Tuft) -> Nuclei:
    """On the outer side of the tuft, lying along it."""
    count = round(tuft.radius * dice.uniform(0.17, 0.24))
    turns = (np.arange(count) + dice.uniforms(count, -0.38, 0.38)) / count
    ray = directions(turns)
    steps = np.arange(0.15, 1.0, 0.01) * tuft.radius
    depth = tuft.depth(ray[:, :1] * steps, ray[:, 1:] * steps)
    last = depth.shape[1] - 1 - np.argmax(depth[:, ::-1] > 0, axis=1)
    x, y = ray[:, 0] * steps[last], ray[:, 1] * steps[last]
    low, high = knobs.podocyte_um
    a = dice.uniforms(count, low, high)
    b = a * dice.uniforms(count, 0.66, 0.84)
    out = tuft.slope(x, y)
    lift = b * dice.uniforms(count, -0.35, 0.45)
    lift = lift + np.where(dice.uniforms(count) < knobs.lifted, b, 0.0)
    room = tuft.edge(x, y) - tuft.capsule - 1.0 - b
    lift = np.minimum(lift, np.maximum(room, -b))
    tilt = directions(dice.uniforms(count, -0.05, 0.05))
    along_x, along_y = -out[:, 1], out[:, 0]
    nuclei = Nuclei(
        x=snap(x + out[:, 0] * lift),
        y=snap(y + out[:, 1] * lift),
        a=snap(a),
        b=snap(b),
        ux=along_x * tilt[:, 0] - along_y * tilt[:, 1],
        uy=along_y * tilt[:, 0] + along_x * tilt[:, 1],
        bend=snap(dice.uniforms(count, -0.01, 0.05)),
        hem=_densities(dice, knobs.podocyte_stain, knobs, count),
        rim=dice.uniforms(count, 0.2, 0.45),
    )
    return _apart(nuclei, Nuclei.none())


def _loops(dice: Dice, tuft: _Tuft) -> NDArray[np.float64]:
    """Capillary lumens on a shaken triangular lattice, fewer in the depth of the tuft."""
    pitch = 12.5
    half = int(tuft.radius / pitch) + 2
    row, column = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    count = len(row)
    x = (column + 0.5 * (row % 2)) * pitch + dice.uniforms(count, -4.0, 4.0)
    y = row * pitch * 0.87 + dice.uniforms(count, -4.0, 4.0)
    width = dice.uniforms(count, 2.4, 5.2)
    length = np.minimum(width * dice.uniforms(count, 1.0, 2.4), 9.5)
    turned = directions(dice.uniforms(count))
    filled = np.where(dice.uniforms(count) < 0.2, dice.uniforms(count, 0.12, 0.25), 0.05)
    depth = tuft.depth(x, y)
    keep = (depth > width * 0.9) & (dice.uniforms(count) < np.where(depth < 18.0, 0.92, 0.6))
    return snap(np.column_stack([x, y, length, width, turned, filled])[keep])


def _others(dice: Dice, knobs: Preset, tuft: _Tuft, podocytes: Nuclei, *, sclerosed: bool) -> Nuclei:
    """Mesangial and endothelial nuclei inside the tuft, then parietal ones along the capsule."""
    wanted = round(knobs.other_count * (tuft.radius / 90.0) ** 2 * (0.35 if sclerosed else 1.0))
    tries = 5 * wanted
    radius = tuft.radius * np.sqrt(dice.uniforms(tries))
    place = snap(directions(dice.uniforms(tries)) * radius[:, None])
    turned = directions(dice.uniforms(tries))
    a = snap(dice.uniforms(tries, *knobs.other_um))
    inner = Nuclei(
        x=place[:, 0],
        y=place[:, 1],
        a=a,
        b=snap(a * dice.uniforms(tries, 0.74, 0.98)),
        ux=turned[:, 0],
        uy=turned[:, 1],
        bend=snap(dice.uniforms(tries, -0.03, 0.03)),
        hem=_densities(dice, knobs.other_stain, knobs, tries),
        rim=dice.uniforms(tries, 0.0, 0.25),
    )
    inner = inner.take(tuft.depth(inner.x, inner.y) > 3.5)
    inner = _apart(inner, podocytes).take(slice(wanted))
    flat = _parietal(dice, knobs, tuft)
    return Nuclei.join([inner, _apart(flat, Nuclei.join([podocytes, inner]))])


def _parietal(dice: Dice, knobs: Preset, tuft: _Tuft) -> Nuclei:
    """Thin nuclei on the inner face of Bowman's capsule."""
    count = dice.integer(0, knobs.parietal_count)
    ray = directions(dice.uniforms(count))
    b = snap(dice.uniforms(count, 1.5, 1.9))
    rim = tuft.edge(ray[:, 0] * 1e-3, ray[:, 1] * 1e-3) - tuft.capsule - b * 0.8
    return Nuclei(
        x=snap(ray[:, 0] * rim),
        y=snap(ray[:, 1] * rim),
        a=snap(dice.uniforms(count, 3.0, 4.2)),
        b=b,
        ux=-ray[:, 1],
        uy=ray[:, 0],
        bend=np.zeros(count),
        hem=_densities(dice, knobs.other_stain, knobs, count),
        rim=np.zeros(count),
    )


def _apart(nuclei: Nuclei, taken: Nuclei) -> Nuclei:
    """Those that touch neither ``taken`` ones nor an earlier one of their own."""
    size = 0.5 * np.concatenate([taken.a + taken.b, nuclei.a + nuclei.b])
    x, y = np.concatenate([taken.x, nuclei.x]), np.concatenate([taken.y, nuclei.y])
    reach = size[:, None] + size[None, :] + _GAP_UM
    near = (x[:, None] - x[None, :]) ** 2 + (y[:, None] - y[None, :]) ** 2 < reach * reach
    first = len(taken)
    free = np.ones(len(x), dtype=bool)
    for index in range(first, len(x)):
        free[index] = not (near[index, :index] & free[:index]).any()
    return nuclei.take(free[first:])


def _moved(nuclei: Nuclei, by: tuple[float, float]) -> Nuclei:
    return replace(nuclei, x=nuclei.x + by[0], y=nuclei.y + by[1])


def _densities(dice: Dice, mean: float, knobs: Preset, count: int) -> NDArray[np.float64]:
    return np.maximum(0.3, mean + knobs.stain_spread * dice.normals(count))
