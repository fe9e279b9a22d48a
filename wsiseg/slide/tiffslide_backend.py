"""What OpenSlide refuses, and what does not lie on a local disk: tiffslide."""

import threading
from collections.abc import Mapping

import numpy as np
import tifffile
import tiffslide
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slide.protocol import Level, RegionError
from wsiseg.slide.resample import over_white

_LEFT_AS_THEY_ARE = {"NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "LZMA", "ZSTD"}
"""Compressions, in tifffile's words, that know nothing of colours; JPEG's decoders give RGB."""


class UnsupportedError(Exception):
    """The file holds pixels that are no 8-bit picture; the message says what was found."""


def check_colours(page: tifffile.TiffPage) -> None:
    """Make sure that samples are grey or RGB: tifffile gives palettes, CMYK, Lab and inverted grey as stored.

    Raises:
        UnsupportedError: They are something else.
    """
    kind = getattr(page.photometric, "name", str(page.photometric))
    plain = getattr(page.compression, "name", "") in _LEFT_AS_THEY_ARE
    if kind not in {"MINISBLACK", "RGB", "YCBCR"} or (kind == "YCBCR" and plain):
        raise UnsupportedError(f"{kind} colours")


class TiffSlideBackend:
    """Reads through tiffslide, one thread at a time.

    Args:
        path: A file, or an fsspec address.

    Raises:
        UnsupportedError: Not 8-bit grey, RGB or RGBA.
        Exception: Whatever tiffslide raises on a file that it does not read; it has no base class.
    """

    name = "tiffslide"

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._slide = tiffslide.TiffSlide(path)
        try:
            self.properties: Mapping[str, str] = _as_text(self._slide)
            self.vendor = self.properties.get("tiffslide.vendor", "generic-tiff")
            sizes = self._slide.level_dimensions
            self.levels = tuple(Level.of(size, sizes[0]) for size in sizes)
            for level in _stored_levels(self._slide):
                check_colours(level.keyframe)
                # Tiles that are not stored: tifffile takes 0, black, unless the file says otherwise.
                level.keyframe.nodata = 255
            self._check_pixels()
        except Exception:
            self._slide.close()
            raise

    def _check_pixels(self) -> None:
        pixel = self._slide.read_region((0, 0), len(self.levels) - 1, (1, 1), as_array=True)
        if pixel.dtype != np.uint8 or pixel.shape[2] not in (1, 3, 4):
            raise UnsupportedError(f"{pixel.shape[2]} channels of {pixel.dtype}")

    def read(self, level: int, box_lv: Box) -> NDArray[np.uint8]:
        """See ``Backend.read``."""
        # tiffslide divides the corner by the downsample and truncates: ask for the middle of the pixel.
        downsample = self._slide.level_downsamples[level]
        corner = (int((box_lv.x0 + 0.5) * downsample), int((box_lv.y0 + 0.5) * downsample))
        try:
            with self._lock:
                pixels = self._slide.read_region(corner, level, (box_lv.width, box_lv.height), as_array=True)
        except Exception as err:
            raise RegionError(str(err)) from err
        return as_rgb(np.asarray(pixels))

    def forget(self) -> None:
        """See ``Backend.forget``; nothing is kept here."""

    def close(self) -> None:
        """See ``Backend.close``."""
        with self._lock:
            self._slide.close()

    def __del__(self) -> None:
        if hasattr(self, "_slide"):
            self._slide.close()


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey, RGB or RGBA ``(h, w, 1 | 3 | 4)`` as RGB, alpha composited over white."""
    if pixels.shape[2] == 1:
        return pixels.repeat(3, axis=2)
    return over_white(pixels) if pixels.shape[2] == 4 else np.ascontiguousarray(pixels)


def _as_text(slide: tiffslide.TiffSlide) -> dict[str, str]:
    return {str(key): str(value) for key, value in slide.properties.items() if value is not None}


def _stored_levels(slide: tiffslide.TiffSlide) -> list[tifffile.TiffPageSeries]:
    series = slide.ts_tifffile.series[slide.properties.get("tiffslide.series-index", 0)]
    return list(series.levels)
