"""What a slide needs from whatever decodes it, and what the rest of the program needs from a slide."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid.

    Attributes:
        size: ``(width, height)`` in pixels of the level.
        scale: Level-0 pixels a level pixel measures, along x and y.
    """

    size: tuple[int, int]
    scale: tuple[float, float]

    @property
    def downsample(self) -> float:
        """Level-0 pixels a level pixel measures, both axes averaged."""
        return sum(self.scale) / 2

    @classmethod
    def of(cls, size: tuple[int, int], size_l0: tuple[int, int]) -> "Level":
        """The level of this size in a slide of that size.

        Writers halve a level and drop or keep what is left over, so 4443 px become 2221 or 2222 and each
        pixel still measures exactly 2: a whole factor that explains both sides is taken as meant.
        """
        factor = max(1, round(size_l0[0] / size[0]))
        if all(
            full // factor <= part <= -(-full // factor) for full, part in zip(size_l0, size, strict=True)
        ):
            return cls(size, (float(factor), float(factor)))
        return cls(size, (size_l0[0] / size[0], size_l0[1] / size[1]))


class RegionReader(Protocol):
    """Anything that tiles can be read from; ``Slide`` is one, a test's array another."""

    @property
    def size_l0(self) -> tuple[int, int]:
        """``(width, height)`` of level 0."""

    def read(self, box_l0: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
        """RGB of a level-0 box, resampled to ``size`` = (width, height): uint8 ``(height, width, 3)``."""


class Backend(Protocol):
    """One way to decode a file. Private to ``wsiseg.slide``; all methods may be called from any thread."""

    @property
    def name(self) -> str:
        """``openslide``, ``tiffslide``, ``direct`` or ``tifffile``."""

    @property
    def vendor(self) -> str:
        """Who made the file, in OpenSlide's words."""

    @property
    def properties(self) -> Mapping[str, str]:
        """Metadata, named as OpenSlide names it."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The pyramid, largest first."""

    def read(self, level: int, box_lv: Box) -> NDArray[np.uint8]:
        """The pixels of a box that lies inside the level: uint8 ``(h, w, 3)``, white where the file has none.

        Raises:
            RegionError: They cannot be decoded; other regions still can.
        """

    def forget(self) -> None:
        """Let go of pixels that were kept for reads nearby."""

    def close(self) -> None:
        """Let go of the file."""


class RegionError(Exception):
    """A backend could not decode a region; ``Slide`` makes a ``SlideReadError`` with name and place of it."""
