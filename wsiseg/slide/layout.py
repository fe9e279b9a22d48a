"""Where a TIFF keeps its tiles, for the files whose layout leaves no doubt."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiseg.slide.codecs import TileDecoder, jpeg2000_decoder, jpeg_decoder
from wsiseg.slide.protocol import Backend

# tifffile logs what it finds odd in a file; what matters of it comes back as an error of ours.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

_JPEG, _APERIO_JPEG2000_RGB = 7, 33005
_RGB, _YCBCR = 2, 6


class LayoutError(Exception):
    """Why a file is not read directly; the message completes "it ..."."""


@dataclass(frozen=True)
class TiledLevel:
    """Stored tiles of one pyramid level.

    Attributes:
        size: ``(width, height)`` of the level.
        tile: ``(width, height)`` of a tile; those at the right and lower edge reach past the level.
        offsets: Where each tile begins in the file, row by row.
        counts: Its length in bytes; 0 where nothing is stored.
        decode: What turns its bytes into pixels.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    decode: TileDecoder

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.size[0] // self.tile[0])

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.size[1] // self.tile[1])


_VENDORS = {"aperio", "generic-tiff"}
"""Vendors, in OpenSlide's words, whose pyramid is nothing but TIFF directories of tiles side by side."""


def tiled_levels(path: str, metadata: Backend) -> tuple[TiledLevel, ...]:
    """The stored tiles of each level that ``metadata``, the general reader of the same file, knows.

    Raises:
        LayoutError: Not sure that decoding them gives the very pixels of the general reader.
    """
    if metadata.vendor not in _VENDORS:
        raise LayoutError(f"is of vendor {metadata.vendor}")
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = list(_tiled_pages(tiff))
            return tuple(_tiled_level(pages, level.size) for level in metadata.levels)
    except LayoutError:
        raise
    except Exception as err:  # tifffile raises anything on odd files, which OpenSlide may read
        raise LayoutError(f"has a TIFF structure that is not understood ({err})") from err


def _tiled_pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """Every tiled directory, those below others (OME-TIFF keeps its pyramid there) included."""
    for index in range(len(tiff.pages)):
        page = tiff.pages.get(index, validate=False)
        below = page.pages if page.subifds and page.pages is not None else ()
        yield from (each for each in (page, *below) if isinstance(each, tifffile.TiffPage) and each.is_tiled)


def _tiled_level(pages: list[tifffile.TiffPage], size: tuple[int, int]) -> TiledLevel:
    matching = [page for page in pages if (page.imagewidth, page.imagelength) == size]
    if len(matching) != 1:
        raise LayoutError(f"has {len(matching)} tiled directories of {size[0]} x {size[1]} px")
    page = matching[0]
    tile = (int(page.tilewidth), int(page.tilelength))
    level = TiledLevel(
        size=size,
        tile=tile,
        offsets=np.asarray(page.dataoffsets, dtype=np.int64),
        counts=np.asarray(page.databytecounts, dtype=np.int64),
        decode=_decoder(page, tile),
    )
    if not level.columns * level.rows == len(level.offsets) == len(level.counts):
        raise LayoutError(f"stores {len(level.offsets)} tiles where {level.columns * level.rows} belong")
    return level


def _decoder(page: tifffile.TiffPage, tile: tuple[int, int]) -> TileDecoder:
    if not (page.bitspersample == 8 and page.samplesperpixel == 3 and page.planarconfig == 1):
        raise LayoutError("does not hold three interleaved samples of 8 bits")
    if page.dtype != np.uint8 or page.extrasamples or page.imagedepth != 1:
        raise LayoutError("holds samples of an unusual kind")
    compression, photometric = int(page.compression), int(page.photometric)
    if compression == _JPEG and photometric in (_RGB, _YCBCR):
        return jpeg_decoder(tile, page.jpegtables, ycbcr=photometric == _YCBCR)
    if compression == _APERIO_JPEG2000_RGB and photometric == _RGB:
        return jpeg2000_decoder(tile)
    kind = getattr(page.compression, "name", compression), getattr(page.photometric, "name", photometric)
    raise LayoutError(f"holds {kind[0]} tiles of {kind[1]} pixels")


def ome_levels(path: str) -> int:
    """Levels of an OME-TIFF's first picture; 0 for any other file."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return len(tiff.series[0].levels) if tiff.is_ome else 0
    except Exception:  # noqa: BLE001 - tifffile raises anything on odd files; then it is no OME-TIFF to us
        return 0
