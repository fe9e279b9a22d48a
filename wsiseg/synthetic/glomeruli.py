"""Where the glomeruli of a slide lie."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from wsiseg.synthetic.dice import Dice, directions
from wsiseg.synthetic.glomerulus import Glomerulus, build_glomerulus
from wsiseg.synthetic.outline import Outline
from wsiseg.synthetic.spec import SlideSpec

_KIND = 2
PITCH_UM = 450.0
MAX_RADIUS_UM = 118.0
_JITTER_UM = 100.0
_TRIES = 4


class GlomerulusField:
    """The glomeruli of a slide, one at most in each cell of a coarse lattice.

    Args:
        spec: The slide.
        outline: Its tissue; a glomerulus lies in it as a whole.
    """

    def __init__(self, spec: SlideSpec, outline: Outline) -> None:
        self._spec = spec
        self._outline = outline
        # Bounded: two rows of cells of the widest slide, whatever its height.
        self._cell = lru_cache(maxsize=1024)(self._make)

    def near(self, bounds_um: tuple[float, float, float, float]) -> list[Glomerulus]:
        """Glomeruli that may touch ``(x0, y0, x1, y1)``, in lattice order."""
        x0, y0, x1, y1 = bounds_um
        reach = MAX_RADIUS_UM + 12.0
        found = []
        for row in range(*_cells(y0 - reach, y1 + reach)):
            for column in range(*_cells(x0 - reach, x1 + reach)):
                glomerulus = self._cell(column, row)
                if glomerulus is not None and _touches(glomerulus, bounds_um):
                    found.append(glomerulus)
        return found

    def every(self) -> Iterator[Glomerulus]:
        """All glomeruli of the slide, row by row."""
        width, height = self._spec.size_um
        for row in range(*_cells(0.0, height)):
            for column in range(*_cells(0.0, width)):
                glomerulus = self._cell(column, row)
                if glomerulus is not None:
                    yield glomerulus

    def _make(self, column: int, row: int) -> Glomerulus | None:
        dice = Dice(self._spec.seed, _KIND, column, row)
        for _ in range(_TRIES):
            radius = dice.uniform(70.0, 104.0)
            x = (column + 0.5) * PITCH_UM + dice.uniform(-_JITTER_UM, _JITTER_UM)
            y = (row + 0.5) * PITCH_UM + dice.uniform(-_JITTER_UM, _JITTER_UM)
            rim = np.array([x, y]) + directions(np.arange(12) / 12.0) * radius * 1.15
            if float(self._outline.points(rim[:, 0], rim[:, 1]).min()) > 8.0:
                return build_glomerulus(self._spec.knobs, dice, (column, row), (x, y), radius)
        return None


def _cells(low: float, high: float) -> tuple[int, int]:
    return math.floor(low / PITCH_UM), math.floor(high / PITCH_UM) + 1


def _touches(glomerulus: Glomerulus, bounds_um: tuple[float, float, float, float]) -> bool:
    x0, y0, x1, y1 = bounds_um
    reach = glomerulus.radius * 1.15 + 10.0
    return x0 - reach < glomerulus.x < x1 + reach and y0 - reach < glomerulus.y < y1 + reach
