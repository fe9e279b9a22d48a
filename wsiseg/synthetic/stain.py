"""From stain densities to colours, and what differs from slide to slide: stain, focus, light."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from wsiseg.synthetic.dice import Dice
from wsiseg.synthetic.noise import FloatArray
from wsiseg.synthetic.spec import SlideSpec

_KIND = 5
_STEPS = 256
_FULL = 1.6
"""Density at the last step of the colour table."""

_PAS = (0.20, 1.00, 0.42)
_HEM = (0.98, 0.86, 0.46)


@dataclass(frozen=True)
class Style:
    """The look of one slide.

    Attributes:
        table: Colours ``(65536, 3)`` uint8 by ``pas_step * 256 + hem_step``.
        kernel: Blur, odd length, float32; its weights are whole multiples of 1/128.
        grain: Strength of the sensor's noise, grey levels.
    """

    table: NDArray[np.uint8]
    kernel: FloatArray
    grain: float

    @property
    def margin(self) -> int:
        """Pixels around a region that its blur looks at."""
        return len(self.kernel) // 2

    def develop(self, pas: FloatArray, hem: FloatArray) -> NDArray[np.uint8]:
        """Blur two planes and turn them into colours.

        Args:
            pas: Density ``(h, w)``, with ``margin`` pixels more on each side than the result.
            hem: The same for haematoxylin.

        Returns:
            uint8 ``(h - 2 margin, w - 2 margin, 3)``.
        """
        index = self._steps(pas) * _STEPS + self._steps(hem)
        return np.take(self.table, index, axis=0)

    def _steps(self, plane: FloatArray) -> NDArray[np.int32]:
        # 8 bits of density and twice 7 bits of kernel fit into a float32, so every sum is exact
        # and comes out the same in any order, on any processor.
        steps = np.floor(np.clip(plane * np.float32((_STEPS - 1) / _FULL), 0, _STEPS - 1) + np.float32(0.5))
        blurred = correlate1d(correlate1d(steps, self.kernel, axis=0), self.kernel, axis=1)
        inner = slice(self.margin, -self.margin)
        whole: FloatArray = np.floor(blurred[inner, inner] + np.float32(0.5))
        return whole.astype(np.int32)


def style_of(spec: SlideSpec) -> Style:
    """The look of a slide, from its seed."""
    dice = Dice(spec.seed, _KIND)
    knobs = spec.knobs
    shift = knobs.stain_shift
    pas = _colour(dice, _PAS, 1.25 * (1.0 + 0.25 * shift * dice.uniform(-1, 1)), shift)
    hem = _colour(dice, _HEM, 1.05 * (1.0 + 0.2 * shift * dice.uniform(-1, 1)), shift)
    light = [round(243 + 4 * shift * dice.uniform(-1, 1)) for _ in range(3)]
    sigma_um = dice.uniform(*knobs.focus_um)
    return Style(
        table=_table(pas, hem, light),
        kernel=_kernel(sigma_um / spec.mpp),
        grain=dice.uniform(2.0, 4.0),
    )


def _colour(dice: Dice, base: tuple[float, ...], strength: float, shift: float) -> list[float]:
    return [strength * part * (1.0 + 0.12 * shift * dice.uniform(-1, 1)) for part in base]


def _table(pas: list[float], hem: list[float], light: list[int]) -> NDArray[np.uint8]:
    """Beer and Lambert: each stain takes its part of the light, colour by colour."""
    density = np.arange(_STEPS) * (_FULL / (_STEPS - 1))
    channels = [
        white * np.exp(-(density[:, None] * p + density[None, :] * h))
        for p, h, white in zip(pas, hem, light, strict=True)
    ]
    # Rounded twice: the last bit of exp must not decide a grey level.
    grey = np.round(np.round(np.stack(channels, axis=-1), 6))
    return grey.astype(np.uint8).reshape(-1, 3)


def _kernel(sigma_px: float) -> FloatArray:
    """A bell of whole 128ths that sum to exactly 1."""
    radius = max(1, math.ceil(2.5 * sigma_px))
    bell = [math.exp(-0.5 * (k / max(sigma_px, 0.3)) ** 2) for k in range(radius + 1)]
    total = bell[0] + 2.0 * sum(bell[1:])
    side = [round(128.0 * value / total) for value in bell[1:]]
    weights = [*side[::-1], 128 - 2 * sum(side), *side]
    return np.array(weights, dtype=np.float32) / np.float32(128.0)
