"""All the coordinate arithmetic of the program.

Four frames, told apart by the suffix of a name:

========  ===================================================  ==============================
suffix    frame                                                unit
========  ===================================================  ==============================
``_l0``   level 0 of the slide, the full OpenSlide plane       pixels, x right, y down
``_lv``   one pyramid level (inside ``wsiseg.slide`` only)     pixels
``_gr``   the grid: the slide resampled to the model's mpp     integer pixels
``_um``   physical                                             micrometres
========  ===================================================  ==============================

Boxes are half-open ``[x0, x1) x [y0, y1)``; points and sizes are ``(x, y)`` and ``(width, height)``;
arrays are ``[row, column]``; only ``Box.slices`` turns one into the other. Tiles live on the integer
grid frame and level 0 is derived once, when reading, each edge rounded from the origin: nothing is
ever found by adding up rounded strides, so stitching has no drift and no one-pixel seams.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ResolutionError

PLAUSIBLE_MPP = (0.05, 5.0)
"""Microns per pixel that a microscope slide can have; a 72-dpi TIFF claims 352.8 and is refused."""

UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Micrometres in the units of OME metadata; micro is written in two ways."""

_SAME = 3e-3
"""Resolutions that differ by a smaller part are one."""


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open rectangle of integer pixels, ``[x0, x1) x [y0, y1)``, in any one frame.

    Examples:
        >>> Box(0, 0, 4, 3).slices()
        (slice(0, 3, None), slice(0, 4, None))
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def from_size(cls, x: int, y: int, width: int, height: int) -> Self:
        """The box with its top-left corner at (x, y)."""
        return cls(x, y, x + width, y + height)

    @property
    def width(self) -> int:
        """Columns; 0 for an empty box."""
        return max(0, self.x1 - self.x0)

    @property
    def height(self) -> int:
        """Rows; 0 for an empty box."""
        return max(0, self.y1 - self.y0)

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)``."""
        return self.width, self.height

    @property
    def area(self) -> int:
        """Pixels in the box."""
        return self.width * self.height

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.area == 0

    def intersection(self, other: "Box") -> "Box":
        """The pixels in both boxes; an empty box where there are none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Box(x0, y0, max(x0, min(self.x1, other.x1)), max(y0, min(self.y1, other.y1)))

    def contains(self, other: "Box") -> bool:
        """Whether every pixel of ``other`` is in this box."""
        return other.is_empty or self.intersection(other) == other

    def slices(self, origin: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
        """Row and column slices of an array whose pixel [0, 0] sits at ``origin`` = (x, y).

        This is the only place where (x, y) becomes [row, column].
        """
        x, y = origin
        return slice(self.y0 - y, self.y1 - y), slice(self.x0 - x, self.x1 - x)


@dataclass(frozen=True, slots=True)
class Resolution:
    """Size of a level-0 pixel in micrometres, along x and along y.

    Raises:
        ResolutionError: A value is not finite or outside ``PLAUSIBLE_MPP``.
    """

    mpp_x: float
    mpp_y: float

    def __post_init__(self) -> None:
        low, high = PLAUSIBLE_MPP
        for mpp in (self.mpp_x, self.mpp_y):
            if not (math.isfinite(mpp) and low <= mpp <= high):
                raise ResolutionError(
                    "implausible resolution",
                    found=f"{self.mpp_x:g} x {self.mpp_y:g} um/px",
                    expected=f"{low:g} to {high:g} um/px",
                    remedy="Give the true value with --mpp-slide",
                )

    @property
    def pixel_area_um2(self) -> float:
        """Area of one level-0 pixel."""
        return self.mpp_x * self.mpp_y


@dataclass(frozen=True, slots=True)
class GridFrame:
    """The grid frame of one slide: level 0 resampled so that a pixel measures ``mpp`` both ways.

    Grid pixel (i, j) covers level 0 from ``(i * downsample_x, j * downsample_y)`` to the next; the last
    column and row may reach past the slide, where reading gives white.
    """

    size_l0: tuple[int, int]
    downsample: tuple[float, float]
    mpp: float

    @classmethod
    def of(cls, size_l0: tuple[int, int], resolution: Resolution, mpp: float) -> Self:
        """The frame in which a slide of this size and resolution has ``mpp`` um/px.

        A factor within three parts in a thousand of 1 is taken as 1: scanners write 0.4990 for 0.5, and
        resampling for it would blur every pixel.
        """
        Resolution(mpp, mpp)
        factors = (mpp / resolution.mpp_x, mpp / resolution.mpp_y)
        if all(abs(factor - 1) < _SAME for factor in factors):
            factors = (1.0, 1.0)
        return cls(size_l0, factors, mpp)

    @property
    def size_gr(self) -> tuple[int, int]:
        """``(width, height)`` of the whole slide on the grid; covers all of level 0."""
        (width, height), (dx, dy) = self.size_l0, self.downsample
        # The small slack keeps 1000 / 0.1 from becoming 10001 through rounding of the factor.
        return max(1, math.ceil(width / dx - 1e-6)), max(1, math.ceil(height / dy - 1e-6))

    @property
    def box_gr(self) -> Box:
        """The whole slide on the grid."""
        return Box(0, 0, *self.size_gr)

    @property
    def pixel_area_um2(self) -> float:
        """Area of one grid pixel."""
        return self.mpp * self.mpp

    def to_l0(self, box_gr: Box) -> Box:
        """The level-0 box under a grid box: each edge rounded from the origin, at least one pixel wide."""
        dx, dy = self.downsample
        x0, y0 = _round(box_gr.x0 * dx), _round(box_gr.y0 * dy)
        x1, y1 = _round(box_gr.x1 * dx), _round(box_gr.y1 * dy)
        return Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))

    def cover_l0(self, box_l0: Box) -> Box:
        """The smallest grid box that covers a level-0 box, clipped to the slide."""
        dx, dy = self.downsample
        box_gr = Box(
            math.floor(box_l0.x0 / dx + 1e-6),
            math.floor(box_l0.y0 / dy + 1e-6),
            math.ceil(box_l0.x1 / dx - 1e-6),
            math.ceil(box_l0.y1 / dy - 1e-6),
        )
        return box_gr.intersection(self.box_gr)

    def points_to_l0(self, points_gr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``(n, 2)`` from the grid to level 0: multiplied by the downsample."""
        return np.multiply(points_gr, self.downsample)

    def points_to_gr(self, points_l0: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``(n, 2)`` from level 0 to the grid: divided by the downsample."""
        return np.divide(points_l0, self.downsample)


@dataclass(frozen=True, slots=True)
class AxisTiling:
    """Tiles along one axis: tile i reads ``[i * stride, i * stride + tile)`` and keeps a part of it.

    The keeps partition ``[0, length)``: neighbours meet in the middle of their overlap.

    Examples:
        >>> tiling = AxisTiling(length=10, tile=6, overlap=2)
        >>> [tiling.keep(i) for i in range(tiling.count)]
        [(0, 5), (5, 10)]
    """

    length: int
    tile: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.length < 1 or self.tile < 1 or not 0 <= self.overlap < self.tile:
            raise ValueError(f"impossible tiling: {self}; needs length, tile >= 1 and 0 <= overlap < tile")

    @property
    def stride(self) -> int:
        """Distance from one tile to the next."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """Tiles needed to cover the axis."""
        return max(1, math.ceil((self.length - self.overlap) / self.stride))

    def read(self, index: int) -> tuple[int, int]:
        """What tile ``index`` reads; the last one may reach past ``length``."""
        start = index * self.stride
        return start, start + self.tile

    def keep(self, index: int) -> tuple[int, int]:
        """What tile ``index`` owns."""
        before = self.overlap // 2
        start = 0 if index == 0 else index * self.stride + before
        last = index == self.count - 1
        return start, self.length if last else (index + 1) * self.stride + before

    def reading(self, start: int, stop: int) -> range:
        """Indices of the tiles whose read touches ``[start, stop)``, for a span inside the axis."""
        first = max(0, (start - self.tile) // self.stride + 1)
        last = min(self.count - 1, (stop - 1) // self.stride)
        return range(first, max(first, last + 1))


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a grid, in the grid frame."""

    index: int
    row: int
    column: int
    read: Box
    """What is read, context included; may reach past the slide."""
    keep: Box
    """What this tile owns; the keeps of a grid partition the slide."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Square tiles over the grid frame, row by row from the top left."""

    size_gr: tuple[int, int]
    tile_px: int
    overlap_px: int = 0

    @property
    def x_axis(self) -> AxisTiling:
        """The columns."""
        return AxisTiling(self.size_gr[0], self.tile_px, self.overlap_px)

    @property
    def y_axis(self) -> AxisTiling:
        """The rows."""
        return AxisTiling(self.size_gr[1], self.tile_px, self.overlap_px)

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return self.x_axis.count

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return self.y_axis.count

    def __len__(self) -> int:
        return self.columns * self.rows

    def __getitem__(self, index: int) -> Tile:
        x_axis, y_axis = self.x_axis, self.y_axis
        columns = x_axis.count
        if not 0 <= index < columns * y_axis.count:
            raise IndexError(f"tile {index} of {len(self)}")
        row, column = divmod(index, columns)
        (read_x0, read_x1), (read_y0, read_y1) = x_axis.read(column), y_axis.read(row)
        (keep_x0, keep_x1), (keep_y0, keep_y1) = x_axis.keep(column), y_axis.keep(row)
        return Tile(
            index=index,
            row=row,
            column=column,
            read=Box(read_x0, read_y0, read_x1, read_y1),
            keep=Box(keep_x0, keep_y0, keep_x1, keep_y1),
        )

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def row(self, row: int) -> list[Tile]:
        """The tiles of one row, left to right."""
        return [self[row * self.columns + column] for column in range(self.columns)]

    def reading(self, box_gr: Box) -> list[Tile]:
        """The tiles whose read touches a box inside the slide."""
        return [
            self[row * self.columns + column]
            for row in self.y_axis.reading(box_gr.y0, box_gr.y1)
            for column in self.x_axis.reading(box_gr.x0, box_gr.x1)
        ]


def _round(value: float) -> int:
    """Round half up: Python's round-half-even would make equal tiles differ by a pixel."""
    return math.floor(value + 0.5)
