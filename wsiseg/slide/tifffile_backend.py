"""The last resort: a small TIFF of any layout, decoded whole."""

from collections.abc import Mapping

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slide.protocol import Level
from wsiseg.slide.tiffslide_backend import UnsupportedError, as_rgb, check_colours

_MAX_PIXELS = 1 << 27
"""What is decoded whole: 134 Mpx, 400 MB of RGB."""
_CHANNELS_LAST = {"YX": "YX", "YXS": "YXS", "SYX": "YXS"}


class TiffFileBackend:
    """An 8-bit grey, RGB or RGBA picture that fits in memory: strips, separate planes, any compression.

    Raises:
        UnsupportedError: Other pixels, or too many.
        Exception: Whatever tifffile and its codecs raise on a file that they do not read.
    """

    name = "tifffile"
    vendor = "generic-tiff"

    def __init__(self, path: str) -> None:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            if series.dtype != np.uint8 or series.axes not in _CHANNELS_LAST:
                raise UnsupportedError(f"{series.dtype} pixels with axes {series.axes}")
            if series.size > 3 * _MAX_PIXELS:
                raise UnsupportedError(f"{series.size:,} samples in a layout that is only read whole")
            check_colours(series.keyframe)
            self.properties: Mapping[str, str] = _properties(series.keyframe)
            pixels = series.asarray()
        if series.axes == "SYX":
            pixels = pixels.transpose(1, 2, 0)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if pixels.shape[2] not in (1, 3, 4):
            raise UnsupportedError(f"{pixels.shape[2]} channels")
        self._image = as_rgb(pixels)
        size = (self._image.shape[1], self._image.shape[0])
        self.levels = (Level.of(size, size),)

    def read(self, level: int, box_lv: Box) -> NDArray[np.uint8]:  # noqa: ARG002 - there is but one level
        """See ``Backend.read``."""
        return np.ascontiguousarray(self._image[box_lv.slices()])

    def forget(self) -> None:
        """See ``Backend.forget``; nothing is kept here."""

    def close(self) -> None:
        """See ``Backend.close``."""
        self._image = self._image[:0]


def _properties(page: tifffile.TiffPage) -> dict[str, str]:
    """The description and the resolution, under the names that OpenSlide gives them."""
    properties = {"tiff.ImageDescription": page.description} if page.description else {}
    unit = page.tags.valueof("ResolutionUnit")
    micrometres = {2: 25_400.0, 3: 10_000.0}.get(int(unit)) if unit is not None else None
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        numerator, denominator = page.tags.valueof(tag) or (0, 1)
        if micrometres is not None and numerator:
            properties[f"openslide.mpp-{axis}"] = repr(micrometres * denominator / numerator)
    return properties
