"""The general reader: OpenSlide."""

import threading
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import openslide
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slide.protocol import Level, RegionError
from wsiseg.slide.resample import over_white


class OpenSlideBackend:
    """Reads through OpenSlide, whose handles may be shared by threads.

    After one error an OpenSlide handle answers every call with that error. A failed read is therefore
    repeated on a handle of its own, whose verdict no other thread can have spoilt, and the shared handle
    is replaced. Handles are closed when nobody holds them any more, never under another thread's feet.

    Raises:
        openslide.OpenSlideError: The file is none of OpenSlide's, or broken.
    """

    name = "openslide"

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._handle = openslide.OpenSlide(path)
        self.properties: Mapping[str, str] = dict(self._handle.properties)
        self.vendor = self.properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        sizes = self._handle.level_dimensions
        self.levels = tuple(Level.of(size, sizes[0]) for size in sizes)
        self._downsamples = self._handle.level_downsamples

    def read(self, level: int, box_lv: Box) -> NDArray[np.uint8]:
        """See ``Backend.read``."""
        handle = self._handle
        try:
            return self._read(handle, level, box_lv)
        except openslide.OpenSlideError:
            return self._read_afresh(handle, level, box_lv)

    def _read(self, handle: openslide.OpenSlide, level: int, box_lv: Box) -> NDArray[np.uint8]:
        # OpenSlide wants the corner in level 0 and divides by its own idea of the downsample, so that is
        # what we multiply by, even where a whole number is nearer the truth.
        downsample = self._downsamples[level]
        corner = (round(box_lv.x0 * downsample), round(box_lv.y0 * downsample))
        rgba = np.asarray(handle.read_region(corner, level, (box_lv.width, box_lv.height)))
        return over_white(rgba)

    def _read_afresh(self, spoilt: openslide.OpenSlide, level: int, box_lv: Box) -> NDArray[np.uint8]:
        try:
            fresh = openslide.OpenSlide(self._path)
            pixels = self._read(fresh, level, box_lv)
        except openslide.OpenSlideError as err:
            self._replace(spoilt)
            raise RegionError(str(err)) from err
        self._replace(spoilt, fresh)
        return pixels

    def _replace(self, spoilt: openslide.OpenSlide, fresh: openslide.OpenSlide | None = None) -> None:
        """Put a new handle in the place of a spoilt one, which stays where the file cannot be opened."""
        with self._lock, suppress(openslide.OpenSlideError):
            if self._handle is spoilt:
                self._handle = fresh or openslide.OpenSlide(self._path)

    def forget(self) -> None:
        """See ``Backend.forget``; nothing is kept here."""

    def close(self) -> None:
        """See ``Backend.close``."""
        self._handle.close()
