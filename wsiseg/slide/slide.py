"""An open slide: one class and one contract, whatever decodes the file."""

import logging
import math
from collections.abc import Mapping
from dataclasses import astuple
from functools import cached_property
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import SlideReadError
from wsiseg.geometry import Box, GridFrame, Resolution
from wsiseg.process import give_back
from wsiseg.slide.opening import BackendName, fingerprint, name_of, open_backend
from wsiseg.slide.properties import bounds_of, contradiction, objective_of, origin_qupath_of, resolution_of
from wsiseg.slide.protocol import Level, RegionError
from wsiseg.slide.resample import area_average

_log = logging.getLogger(__name__)

_BAND_PIXELS = 2 << 20
"""Pixels of a level that are held at a time; a larger region is resampled band by band."""
_OVERVIEW_BAND_PIXELS = 1 << 19
"""The same for the overview, before which the process holds little: it would be what the peak is made of."""
_MAGNIFIED = 1.5
"""Less is how scanners of one power differ; more is one power in place of the next, as 20x for 40x."""
_PIECE_PX = 192
"""A damaged region is narrowed down to whole stored tiles of this side or more, or to pieces of it."""


class Slide:
    """An open slide; make one with ``Slide.open``.

    A context manager. Pickling keeps the path and the options, and opens the file again where it is
    unpickled, so a slide can be handed to worker processes. Threads may read from one slide at once.

    Attributes:
        path: As it was given; an absolute path is not made of it.
        name: File name.
        stem: File name without its suffix, the name that outputs get.
        levels: The pyramid, largest first.
    """

    def __init__(self, path: str, *, mpp: float | None = None, backend: BackendName = "auto") -> None:
        self.path = path
        self.name, self.stem = name_of(path)
        self._mpp = mpp
        self._choice: BackendName = backend
        self._backend = open_backend(path, backend)
        self.levels: tuple[Level, ...] = self._backend.levels

    @classmethod
    def open(cls, path: str | Path, *, mpp: float | None = None, backend: BackendName = "auto") -> Self:
        """Open a slide; that ``mpp`` contradicts what the file says is logged.

        Args:
            path: A file, or an fsspec address such as ``s3://bucket/slide.svs``.
            mpp: Micrometres per pixel of level 0, where the file does not say or is wrong.
            backend: What decodes it: ``auto`` takes the fastest that is sure to be right.

        Raises:
            SlideOpenError: No such file, not a slide, broken, or not one for this backend.
        """
        slide = cls(str(path), mpp=mpp, backend=backend)
        if mpp is not None and (stated := contradiction(slide.properties, mpp)) is not None:
            said = " x ".join(dict.fromkeys(f"{value:.4g}" for value in stated))
            _log.warning("%s says %s um/px; it is taken to have %g um/px, as given", slide.name, said, mpp)
        return slide

    @property
    def vendor(self) -> str:
        """Who made the file, in OpenSlide's words: ``aperio``, ``hamamatsu``, ``generic-tiff`` ..."""
        return self._backend.vendor

    @property
    def backend(self) -> str:
        """What decodes the file: ``direct``, ``openslide``, ``tiffslide`` or ``tifffile``."""
        return self._backend.name

    @property
    def properties(self) -> Mapping[str, str]:
        """All metadata, named as OpenSlide names it."""
        return self._backend.properties

    @property
    def size_l0(self) -> tuple[int, int]:
        """``(width, height)`` of level 0."""
        return self.levels[0].size

    @property
    def box_l0(self) -> Box:
        """The whole plane."""
        return Box(0, 0, *self.size_l0)

    @property
    def resolution(self) -> Resolution:
        """Size of a level-0 pixel.

        Raises:
            ResolutionError: The file does not say, or says something implausible, and no mpp was given.
        """
        return resolution_of(self.name, self.properties, self._mpp)

    @property
    def objective(self) -> float | None:
        """Power of the objective, where the file says."""
        return objective_of(self.properties)

    @property
    def bounds_l0(self) -> Box:
        """The part of the plane that was scanned (MIRAX, SCN); elsewhere all of it."""
        return bounds_of(self.properties, self.size_l0)

    @property
    def origin_qupath(self) -> tuple[int, int]:
        """The level-0 point that QuPath calls (0, 0)."""
        return origin_qupath_of(self.properties)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of the content; the same whatever the file is called and wherever it lies."""
        return fingerprint(self.path)

    def frame(self, mpp: float) -> GridFrame:
        """The grid frame of this slide at ``mpp`` um/px.

        Raises:
            ResolutionError: As ``resolution``.
        """
        return GridFrame.of(self.size_l0, self.resolution, mpp)

    def pixel_um(self, frame: GridFrame) -> tuple[float, float]:
        """Micrometres that a pixel of a frame measures here, ``(x, y)``.

        Not quite ``frame.mpp`` where that stands for the slide's own, as 0.5 for 0.499.

        Raises:
            ResolutionError: As ``resolution``.
        """
        (x, y), resolution = frame.downsample, self.resolution
        return resolution.mpp_x * x, resolution.mpp_y * y

    def magnified(self, frame: GridFrame) -> str | None:
        """A sentence for the user where a frame is clearly finer than level 0; None elsewhere.

        Raises:
            ResolutionError: As ``resolution``.
        """
        times = 1 / min(frame.downsample)
        if times <= _MAGNIFIED:
            return None
        own = max(self.resolution.mpp_x, self.resolution.mpp_y)
        return (
            f"its {own:.4g} um/px are magnified {times:.3g} times, to {frame.mpp:g}: that shows nothing new"
        )

    def read(
        self, box_l0: Box, size: tuple[int, int], *, unreadable: list[Box] | None = None
    ) -> NDArray[np.uint8]:
        """RGB of a level-0 box, resampled to ``size``.

        Taken from the smallest level that is no coarser than wanted, each output pixel the mean of the
        area under it. Asked for at its own size, level 0 comes back bit for bit.

        Args:
            box_l0: Any box that is not empty; it may reach past the slide.
            size: ``(width, height)`` of the result.
            unreadable: Where given, what cannot be decoded is left white and its level-0 boxes are added
                here, instead of raising: for overviews, whose reader must be told.

        Returns:
            uint8 ``(height, width, 3)``: white off the slide and where the file stores nothing.

        Raises:
            ValueError: An empty box or size.
            SlideReadError: A part cannot be decoded. The slide stays usable.
        """
        if box_l0.is_empty or min(size) < 1:
            raise ValueError(f"nothing to read: {box_l0} as {size}")
        if size == (box_l0.width, box_l0.height):
            return self._read_level(0, box_l0, unreadable)
        return self._resample(box_l0, size, unreadable)

    def thumbnail(
        self, max_side: int = 2048, *, unreadable: list[Box] | None = None
    ) -> tuple[NDArray[np.uint8], tuple[float, float]]:
        """The whole plane, its longer side at most ``max_side`` pixels; never magnified.

        Args:
            max_side: Of the result, in pixels.
            unreadable: As for ``read``.

        Returns:
            uint8 ``(h, w, 3)`` and the level-0 pixels that one of its pixels measures, (x, y).

        Raises:
            SlideReadError: A part cannot be decoded.
        """
        width, height = self.size_l0
        shrink = max(1.0, max(width, height) / max_side)
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        if size == (width, height):
            rgb = self._read_level(0, self.box_l0, unreadable)
        else:
            rgb = self._resample(self.box_l0, size, unreadable, overview=True)
        # Tiles kept for a next read nearby would lie there while the overview is looked at.
        self._backend.forget()
        give_back()
        return rgb, (width / size[0], height / size[1])

    def _resample(
        self, box_l0: Box, size: tuple[int, int], unreadable: list[Box] | None, *, overview: bool = False
    ) -> NDArray[np.uint8]:
        """See ``read``; for an overview in thin bands, of which nothing is kept."""
        factor = (box_l0.width / size[0], box_l0.height / size[1])
        level = self._level_for(min(factor))
        scale_x, scale_y = self.levels[level].scale
        start, step = (box_l0.x0 / scale_x, box_l0.y0 / scale_y), (factor[0] / scale_x, factor[1] / scale_y)
        band_px = _OVERVIEW_BAND_PIXELS if overview else _BAND_PIXELS
        rows = max(1, int(band_px / (step[1] * max(1.0, step[0]) * size[0])))
        if rows >= size[1]:
            return self._read_resampled(level, start, step, size, unreadable)
        image = np.empty((size[1], size[0], 3), dtype=np.uint8)
        for row in range(0, size[1], rows):
            height = min(rows, size[1] - row)
            corner = (start[0], start[1] + row * step[1])
            part = (size[0], height)
            image[row : row + height] = self._read_resampled(level, corner, step, part, unreadable)
            if overview:
                self._backend.forget()
        return image

    def _level_for(self, factor: float) -> int:
        """The smallest level that is no coarser than ``factor``, give or take a thousandth."""
        fine_enough = [i for i, level in enumerate(self.levels) if max(level.scale) <= factor * 1.001]
        return max(fine_enough, key=lambda i: self.levels[i].downsample, default=0)

    def _read_resampled(
        self,
        level: int,
        start: tuple[float, float],
        step: tuple[float, float],
        size: tuple[int, int],
        unreadable: list[Box] | None,
    ) -> NDArray[np.uint8]:
        (x0, x1), (y0, y1) = (_span(*axis) for axis in zip(start, step, size, strict=True))
        image = self._read_level(level, Box(x0, y0, x1, y1), unreadable)
        return area_average(image, size, (start[0] - x0, start[1] - y0), step)

    def _read_level(self, level: int, box_lv: Box, unreadable: list[Box] | None) -> NDArray[np.uint8]:
        """A box of one level, reaching anywhere: white off the slide."""
        width, height = self.levels[level].size
        inside = box_lv.intersection(Box(0, 0, width, height))
        if inside == box_lv:
            return self._decode(level, box_lv, unreadable)
        if inside.is_empty and not box_lv.intersection(self._shown(level)).is_empty:
            wider = Box(min(box_lv.x0, width - 1), min(box_lv.y0, height - 1), box_lv.x1, box_lv.y1)
            return self._read_level(level, wider, unreadable)[box_lv.slices((wider.x0, wider.y0))]
        image = np.full((box_lv.height, box_lv.width, 3), 255, dtype=np.uint8)
        if not inside.is_empty:
            image[inside.slices((box_lv.x0, box_lv.y0))] = self._decode(level, inside, unreadable)
            self._extend(image, level, box_lv, inside)
        return image

    def _shown(self, level: int) -> Box:
        """What a level would cover if it showed the whole slide."""
        scale_x, scale_y = self.levels[level].scale
        return Box(
            0, 0, math.ceil(self.size_l0[0] / scale_x - 1e-6), math.ceil(self.size_l0[1] / scale_y - 1e-6)
        )

    def _extend(self, image: NDArray[np.uint8], level: int, box_lv: Box, inside: Box) -> None:
        """Repeat the last column and row where a level stops short of the slide it shows.

        A level of half the size drops an odd last column; white there would be a line that no slide has.
        """
        (width, height), shown = self.levels[level].size, self._shown(level)
        right, below = min(box_lv.x1, shown.x1), min(box_lv.y1, shown.y1)
        rows, columns = inside.slices((box_lv.x0, box_lv.y0))
        if inside.x1 == width < right:
            last = columns.stop
            image[rows, last : right - box_lv.x0] = image[rows, last - 1 : last]
        if inside.y1 == height < below:
            last = rows.stop
            image[last : below - box_lv.y0, : max(0, right - box_lv.x0)] = image[
                last - 1 : last, : max(0, right - box_lv.x0)
            ]

    def _decode(self, level: int, box_lv: Box, unreadable: list[Box] | None) -> NDArray[np.uint8]:
        try:
            return self._backend.read(level, box_lv)
        except RegionError as err:
            scale = self.levels[level].scale
            box_l0 = Box(*(round(edge * scale[i % 2]) for i, edge in enumerate(astuple(box_lv))))
            if unreadable is None:
                raise SlideReadError(
                    f"{self.path}: cannot read {box_l0.width} x {box_l0.height} px at "
                    f"({box_l0.x0}, {box_l0.y0}) of level 0",
                    found=str(err),
                ) from err
            width, height = self._piece(level)
            columns, rows = _halves(box_lv.x0, box_lv.x1, width), _halves(box_lv.y0, box_lv.y1, height)
            image = np.full((box_lv.height, box_lv.width, 3), 255, dtype=np.uint8)
            if len(columns) == len(rows) == 1:
                unreadable.append(box_l0)
                return image
            for (y0, y1), (x0, x1) in product(rows, columns):
                part = Box(x0, y0, x1, y1)
                image[part.slices((box_lv.x0, box_lv.y0))] = self._decode(level, part, unreadable)
            return image

    def _piece(self, level: int) -> tuple[int, int]:
        """What can be damaged alone: width and height of a stored tile, by the library's own properties."""
        for library in ("openslide", "tiffslide"):
            tile = f"{library}.level[{level}].tile-"
            width, height = (self._backend.properties.get(tile + side) for side in ("width", "height"))
            if width and height:
                return _least_multiple(int(width)), _least_multiple(int(height))
        return _PIECE_PX, _PIECE_PX

    def close(self) -> None:
        """Let go of the file."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self._mpp, self._choice)

    def __repr__(self) -> str:
        return f"Slide({self.path!r}, {self.size_l0[0]} x {self.size_l0[1]}, {self.backend})"


def _reopen(path: str, mpp: float | None, backend: BackendName) -> Slide:
    return Slide(path, mpp=mpp, backend=backend)


def _least_multiple(side: int) -> int:
    """The least multiple of a tile's side that is no smaller than a piece; tiny tiles would take minutes."""
    return side * -(-_PIECE_PX // side)


def _halves(start: int, stop: int, piece: int) -> list[tuple[int, int]]:
    """A span cut in two at the multiple of ``piece`` nearest its middle; whole where it spans none."""
    first, last = (start // piece + 1) * piece, (stop - 1) // piece * piece
    if first > last:
        return [(start, stop)]
    middle = min(last, max(first, round((start + stop) / 2 / piece) * piece))
    return [(start, middle), (middle, stop)]


def _span(start: float, step: float, count: int) -> tuple[int, int]:
    """Input pixels that ``area_average`` looks at for ``count`` output pixels, as a half-open span."""
    margin = max(0.0, (1.0 - step) / 2)
    # The slack keeps a factor like 2.0000000001 from reading a column of which nothing is used.
    return math.floor(start - margin + 1e-6), math.ceil(start + count * step + margin - 1e-6)
