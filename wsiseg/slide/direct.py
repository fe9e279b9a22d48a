"""The direct path: each stored tile is read and decoded once, several times faster than through OpenSlide."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slide.codecs import TileError
from wsiseg.slide.layout import TiledLevel, tiled_levels
from wsiseg.slide.protocol import Backend, Level

_CACHE_BYTES = 64 << 20
"""Decoded tiles kept: a row of 256-px tiles over 80,000 px, so that the next row of reads finds them."""


_MOST_PASSED = 20_000
"""Tiles that are remembered without being kept."""


class DirectBackend:
    """Decodes the stored tiles of a TIFF itself, and asks the general reader about anything odd.

    What cannot be decoded with certainty, a damaged tile or one that is not stored, is left to the general
    reader, region by region: it knows what such a tile shows, or raises.

    Args:
        path: The file.
        general: OpenSlide or tiffslide on the same file: metadata, and the last word. Closed with this.

    Raises:
        LayoutError: The file is not one for the direct path.
    """

    name = "direct"

    def __init__(self, path: str, general: Backend) -> None:
        self._tiles = tiled_levels(path, general)
        self._general = general
        self._cache = _TileCache(_CACHE_BYTES)
        self._file = os.open(path, os.O_RDONLY)
        self.vendor: str = general.vendor
        self.properties: Mapping[str, str] = general.properties
        self.levels: tuple[Level, ...] = general.levels

    def read(self, level: int, box_lv: Box) -> NDArray[np.uint8]:
        """See ``Backend.read``."""
        try:
            return self._assemble(level, box_lv)
        except TileError:
            return self._general.read(level, box_lv)

    def _assemble(self, level: int, box_lv: Box) -> NDArray[np.uint8]:
        tiled = self._tiles[level]
        width, height = tiled.tile
        image = np.empty((box_lv.height, box_lv.width, 3), dtype=np.uint8)
        for row in range(box_lv.y0 // height, -(-box_lv.y1 // height)):
            for column in range(box_lv.x0 // width, -(-box_lv.x1 // width)):
                corner = (column * width, row * height)
                part = Box.from_size(*corner, width, height).intersection(box_lv)
                tile = self._tile(level, tiled, row * tiled.columns + column, whole=part.size == tiled.tile)
                image[part.slices((box_lv.x0, box_lv.y0))] = tile[part.slices(corner)]
        return image

    def _tile(self, level: int, tiled: TiledLevel, index: int, *, whole: bool) -> NDArray[np.uint8]:
        key = (level, index)
        tile = self._cache.get(key)
        if tile is None:
            tile = self._decode(tiled, index)
            self._cache.put(key, tile, whole=whole)
        return tile

    def _decode(self, tiled: TiledLevel, index: int) -> NDArray[np.uint8]:
        offset, count = int(tiled.offsets[index]), int(tiled.counts[index])
        if offset <= 0 or count <= 0:
            raise TileError("not stored")
        try:
            # pread has no file position, so that threads need no lock.
            stored = os.pread(self._file, count, offset)
        except OSError as err:
            raise TileError(str(err)) from err
        if len(stored) != count:
            raise TileError("reaches past the end of the file")
        return tiled.decode(stored)

    def forget(self) -> None:
        """See ``Backend.forget``."""
        self._cache.clear()

    def close(self) -> None:
        """See ``Backend.close``."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._cache.clear()
        self._general.close()

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)


class _TileCache:
    """The most recently used tiles, up to a number of bytes; safe to share between threads.

    Where regions lie side by side, a tile that was wanted whole is never wanted again, and keeping it costs a
    tenth of the time of reading. Such tiles are therefore only kept once one of them has come back.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._passed: set[tuple[int, int]] = set()
        self._come_back = False
        self._bytes = 0
        self._tiles: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> NDArray[np.uint8] | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int], tile: NDArray[np.uint8], *, whole: bool) -> None:
        with self._lock:
            if key in self._tiles or self._passes(key, whole=whole):
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            while self._bytes > self._capacity and len(self._tiles) > 1:
                _, dropped = self._tiles.popitem(last=False)
                self._bytes -= dropped.nbytes

    def _passes(self, key: tuple[int, int], *, whole: bool) -> bool:
        """Whether a tile need not be kept."""
        self._come_back = self._come_back or key in self._passed
        if self._come_back or len(self._passed) >= _MOST_PASSED:
            self._passed.clear()
        elif whole:
            self._passed.add(key)
        return whole and not self._come_back

    def clear(self) -> None:
        with self._lock:
            self._tiles.clear()
            self._bytes = 0
