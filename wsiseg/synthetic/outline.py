"""Where the tissue lies on the glass, and where it is folded or faded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.synthetic.dice import Dice
from wsiseg.synthetic.noise import FloatArray, Noise
from wsiseg.synthetic.spec import SlideSpec

_KIND = 1
_BORDER_UM = 30.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight line with a radius: a core, or a fold."""

    x: float
    y: float
    ux: float
    uy: float
    half_length: float
    radius: float

    def inside(self, dx: NDArray[np.floating], dy: NDArray[np.floating]) -> NDArray[np.floating]:
        """Radius less distance, positive inside, at offsets from the centre."""
        along = np.clip(dx * self.ux + dy * self.uy, -self.half_length, self.half_length)
        across_x, across_y = dx - along * self.ux, dy - along * self.uy
        return self.radius - np.sqrt(across_x * across_x + across_y * across_y)


class Outline:
    """The tissue of one slide: a signed distance (um, positive inside), approximate but smooth.

    Args:
        spec: The slide.
    """

    def __init__(self, spec: SlideSpec) -> None:
        self._spec = spec
        dice = Dice(spec.seed, _KIND)
        shape = spec.shape if spec.shape != "auto" else ("cores" if dice.chance(0.6) else "wedge")
        self.shape = shape
        width, height = spec.size_um
        short = min(width, height)
        self.segments = _cores(dice, width, height) if shape == "cores" else []
        self._planes = _wedge(dice, width, height) if shape == "wedge" else []
        scale = min(1.0, short / 2000.0)
        self._waves = [
            Noise(420.0, 60.0 * scale, spec.seed, _KIND, 1),
            Noise(60.0, 16.0 * scale, spec.seed, _KIND, 2),
            Noise(13.0, 8.0, spec.seed, _KIND, 3),
        ]
        self.folds = _folds(dice, width, height)
        self._fold_wave = Noise(150.0, 25.0, spec.seed, _KIND, 4)
        self._fade = Noise(700.0, 1.0, spec.seed, _KIND, 5)

    def block(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> FloatArray:
        """Distance into the tissue where columns ``x_um`` and rows ``y_um`` cross."""
        distance = self._smooth(x_um[None, :], y_um[:, None]).astype(np.float32)
        if float(distance.max()) < -100.0:  # far off: the ragged edge cannot reach
            return distance
        for wave in self._waves:
            distance += wave.block(x_um, y_um)
        return distance

    def points(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance into the tissue at single points."""
        distance = self._smooth(x_um, y_um)
        for wave in self._waves:
            distance = distance + wave.points(x_um, y_um)
        return distance

    def at(self, x_um: float, y_um: float) -> float:
        """Distance into the tissue at one point."""
        smooth = float(self._smooth(np.array([x_um]), np.array([y_um]))[0])
        return smooth + sum(wave.at(x_um, y_um) for wave in self._waves)

    def thickness(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> FloatArray | None:
        """How much darker folds make the tissue, as a factor; None where there is no fold near."""
        factor: FloatArray | None = None
        for fold in self.folds:
            dx, dy = x_um[None, :] - fold.x, y_um[:, None] - fold.y
            if float(fold.inside(dx, dy).max()) < -30.0:
                continue
            depth = (fold.inside(dx, dy)).astype(np.float32) + self._fold_wave.block(x_um, y_um)
            extra = 1.0 + np.float32(0.75) * np.clip(depth / np.float32(5.0), 0.0, 1.0)
            factor = extra if factor is None else np.maximum(factor, extra)
        return factor

    def fading(self, x_um: NDArray[np.float64], y_um: NDArray[np.float64]) -> FloatArray:
        """Stain that is left, as a factor around 1."""
        loss = np.clip(self._fade.block(x_um, y_um), 0.0, 1.0)
        return np.float32(1.0) - np.float32(self._spec.knobs.faded) * loss

    def _smooth(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        width, height = self._spec.size_um
        border = np.minimum(np.minimum(x, width - x), np.minimum(y, height - y)) - _BORDER_UM
        if self._planes:
            return np.minimum(border, np.minimum.reduce(self._flanks(x, y)))
        return np.minimum(
            border, np.maximum.reduce([core.inside(x - core.x, y - core.y) for core in self.segments])
        )

    def _flanks(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [(x - px) * nx + (y - py) * ny for px, py, nx, ny in self._planes]


def _cores(dice: Dice, width: float, height: float) -> list[Segment]:
    """Needle cores side by side along the longer side of the slide."""
    long_side, short_side = max(width, height), min(width, height)
    count = max(1, round(short_side / 1150.0))
    pitch = short_side / count
    cores = []
    for number in range(count):
        radius = pitch * dice.uniform(0.33, 0.39)
        across = (number + 0.5) * pitch + pitch * dice.uniform(-0.03, 0.03)
        along = long_side * dice.uniform(0.48, 0.52)
        half = max(0.0, long_side * dice.uniform(0.42, 0.46) - radius)
        tilt = dice.uniform(-0.06, 0.06) * pitch / long_side
        length = (1.0 + tilt * tilt) ** 0.5
        core = Segment(along, across, 1.0 / length, tilt / length, half, radius)
        upright = Segment(across, along, tilt / length, 1.0 / length, half, radius)
        cores.append(core if width >= height else upright)
    return cores


def _wedge(dice: Dice, width: float, height: float) -> list[tuple[float, float, float, float]]:
    """Half planes, as a point and an inward normal, whose common part is a wedge."""
    cx, cy = width / 2, height / 2
    reach = min(width, height) * 0.40
    ux, uy = dice.direction()
    planes = []
    # Two flanks that run together, the capsule side, and the cut-off tip.
    for nx, ny, distance in (
        (0.25, 1.0, dice.uniform(0.72, 0.92)),
        (0.25, -1.0, dice.uniform(0.72, 0.92)),
        (1.0, 0.1, dice.uniform(0.95, 1.1)),
        (-1.0, 0.15, dice.uniform(0.9, 1.1)),
    ):
        length = (nx * nx + ny * ny) ** 0.5
        normal_x = (nx * ux - ny * uy) / length
        normal_y = (nx * uy + ny * ux) / length
        stretch_x, stretch_y = width / min(width, height), height / min(width, height)
        px = cx - normal_x * reach * distance * stretch_x
        py = cy - normal_y * reach * distance * stretch_y
        planes.append((px, py, normal_x, normal_y))
    return planes


def _folds(dice: Dice, width: float, height: float) -> list[Segment]:
    """A fold for each 6 mm2 of glass or so."""
    count = int(width * height / 6e6 + dice.uniform(0.0, 1.3))
    folds = []
    for _ in range(count):
        ux, uy = dice.direction()
        x, y = dice.uniform(0.15, 0.85) * width, dice.uniform(0.15, 0.85) * height
        folds.append(Segment(x, y, ux, uy, dice.uniform(150.0, 500.0), dice.uniform(6.0, 16.0)))
    return folds
