"""Decoders of single stored tiles that agree with OpenSlide to the bit, or refuse.

OpenSlide decodes JPEG with libjpeg-turbo in its default, exact mode, takes the colour space from the TIFF tag
and not from the stream, and calls every warning of the library an error. ``simplejpeg`` does all but the
second; a marker spliced in front of the stream does that.
"""

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

TileDecoder = Callable[[bytes], NDArray[np.uint8]]
"""From a tile's bytes to uint8 ``(tile height, tile width, 3)``; raises ``TileError``."""


class TileError(Exception):
    """A stored tile cannot be decoded with certainty; OpenSlide has the last word on it."""


_SOI = b"\xff\xd8"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Head of an Adobe APP14 segment; the last byte, to be added, is the colour transform."""
_HEAD = 64
"""Bytes in which a JFIF or Adobe segment must begin if a tile has one."""


def jpeg_decoder(tile: tuple[int, int], tables: bytes | None, *, ycbcr: bool) -> TileDecoder:
    """A decoder of JPEG tiles.

    Args:
        tile: ``(width, height)`` that each must have.
        tables: The JPEGTables tag, a stream of its own with what all tiles share.
        ycbcr: Whether the TIFF tag says YCbCr; RGB otherwise.
    """
    shared = b"" if tables is None else tables[2:-2]
    prefix = _SOI + _ADOBE + bytes([1 if ycbcr else 0]) + shared
    shape = (tile[1], tile[0], 3)

    def decode(stored: bytes) -> NDArray[np.uint8]:
        if not stored.startswith(_SOI):
            raise TileError("not a JPEG stream")
        head = stored[:_HEAD]
        # These would overrule the marker in front, or contradict it.
        if b"Adobe" in head or (not ycbcr and b"JFIF" in head):
            raise TileError("the stream names a colour space of its own")
        try:
            pixels = simplejpeg.decode_jpeg(prefix + stored[2:], "RGB")
        except ValueError as err:
            raise TileError(str(err)) from err
        return _of_shape(pixels, shape)

    return decode


def jpeg2000_decoder(tile: tuple[int, int]) -> TileDecoder:
    """A decoder of JPEG 2000 tiles that hold RGB (Aperio's compression 33005).

    Args:
        tile: ``(width, height)`` that each must have.
    """
    shape = (tile[1], tile[0], 3)
    header = _codestream_header(*tile)

    def decode(stored: bytes) -> NDArray[np.uint8]:
        # Anything but a plain 8-bit RGB code stream of this size would be read differently by OpenSlide.
        if not (stored.startswith(header[0]) and stored[8:24] == header[1] and stored[40:51] == header[2]):
            raise TileError("an unusual JPEG 2000 header")
        try:
            pixels = imagecodecs.jpeg2k_decode(stored)
        except (RuntimeError, ValueError) as err:
            raise TileError(str(err)) from err
        return _of_shape(pixels, shape)

    return decode


def _codestream_header(width: int, height: int) -> tuple[bytes, bytes, bytes]:
    """What ISO 15444-1 A.5.1 puts at bytes 0, 8 and 40: SOC and SIZ; extent and offset; the components."""
    components = struct.pack(">H", 3) + bytes([7, 1, 1]) * 3
    return b"\xff\x4f\xff\x51\x00\x2f", struct.pack(">4I", width, height, 0, 0), components


def _of_shape(pixels: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise TileError(f"decoded to {pixels.shape} {pixels.dtype} instead of {shape}")
    return pixels
