"""Writes pyramidal JPEG .svs files from a source that draws regions, in memory that a strip needs.

Level 0 streams through to the file. The lower levels are made on the way and wait, already compressed, in
temporary files, since a TIFF holds one level after the other. Memory grows with the slide's width only.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.progress import Progress

TILE_PX = 256
STRIP_PX = 512
_SMALLEST_SIDE = 1024
_CLASSIC_PX = 2_000_000_000
"""Slides of more pixels might pass 4 GB and are written as BigTIFF."""

Image = NDArray[np.uint8]


def level_sizes(size: tuple[int, int], factor: int) -> list[tuple[int, int]]:
    """Width and height of each level, until the longer side is at most 1024 px."""
    sizes = [size]
    while max(sizes[-1]) > _SMALLEST_SIDE and min(sizes[-1]) >= factor:
        width, height = sizes[-1]
        sizes.append((width // factor, height // factor))
    return sizes


def write_svs(
    path: Path,
    size: tuple[int, int],
    render: Callable[[Box], Image],
    *,
    notes: dict[str, str],
    mpp: float,
    level_factor: int = 4,
    quality: int = 85,
    workers: int = 1,
    progress: Progress,
) -> list[tuple[int, int]]:
    """Write a slide that OpenSlide reports as Aperio.

    Args:
        path: Where to write; not atomic, so give a partial path.
        size: Width and height of level 0.
        render: Draws a level-0 box, uint8 ``(h, w, 3)``; called from ``workers`` threads.
        notes: More entries of the image description, shown as ``aperio.<key>``.
        mpp: Micrometres per pixel of level 0.
        level_factor: From one level to the next, 2 or 4.
        quality: Of the JPEG tiles.
        workers: Threads that draw and compress.
        progress: Told of each strip of 512 rows.

    Returns:
        The sizes of the levels.
    """
    sizes = level_sizes(size, level_factor)
    description = _description(size, sizes, mpp, quality, notes)
    with ThreadPoolExecutor(workers) as pool, tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        levels = [
            _Level(level_size, level_factor, quality, Path(scratch) / f"level-{number}", pool)
            for number, level_size in enumerate(sizes)
        ]
        for upper, lower in pairwise(levels):
            upper.lower = lower
        big = size[0] * size[1] > _CLASSIC_PX
        with tifffile.TiffWriter(path, bigtiff=big) as tiff:
            tiles = _level_0_tiles(levels[0], size, render, pool, progress)
            _write_level(tiff, tiles, size, description=description, resolution=(1e4 / mpp, 1e4 / mpp))
            _write_thumbnail(tiff, levels[-1].small, quality)
            for level in levels[1:]:
                _write_level(tiff, level.stored(), level.size, subfiletype=1)
    return sizes


class _Level:
    """Takes the rows of one level from above, gives tiles, and passes smaller rows on to the level below."""

    def __init__(
        self, size: tuple[int, int], factor: int, quality: int, spool: Path, pool: ThreadPoolExecutor
    ) -> None:
        self.size = size
        self.lower: _Level | None = None
        self._factor = factor
        self._quality = quality
        self._spool = spool
        self._pool = pool
        self._lengths: list[int] = []
        self._pending = np.zeros((TILE_PX, size[0], 3), dtype=np.uint8)
        self._filled = 0
        self._taken = 0
        self._small: list[Image] = []

    @property
    def small(self) -> Image:
        """The whole level as one image; kept for the lowest level only, which is never large."""
        return np.concatenate(self._small)

    def push(self, rows: Image) -> Iterator[bytes]:
        """Add rows; gives the tiles of each row of tiles that is complete."""
        rows = rows[: self.size[1] - self._taken, : self.size[0]]
        self._taken += len(rows)
        while len(rows):
            fits = min(len(rows), TILE_PX - self._filled)
            self._pending[self._filled : self._filled + fits] = rows[:fits]
            self._filled += fits
            rows = rows[fits:]
            if self._filled == TILE_PX:
                yield from self._flush()
        if self._taken == self.size[1] and self._filled:
            yield from self._flush()

    def _flush(self) -> Iterator[bytes]:
        rows = self._pending[: self._filled]
        self._filled = 0
        if self.lower is not None:
            self.lower.keep(shrink(rows, self._factor))
        else:
            self._small.append(rows.copy())
        yield from self._pool.map(self._encode, _tiles(rows))

    def keep(self, rows: Image) -> None:
        """Add rows and put the tiles aside."""
        with self._spool.open("ab") as spool:
            for tile in self.push(rows):
                self._lengths.append(len(tile))
                spool.write(tile)

    def stored(self) -> Iterator[bytes]:
        """The tiles that were put aside."""
        with self._spool.open("rb") as spool:
            for length in self._lengths:
                yield spool.read(length)

    def _encode(self, tile: Image) -> bytes:
        return bytes(
            imagecodecs.jpeg_encode(
                tile, level=self._quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
            )
        )


def shrink(rows: Image, factor: int) -> Image:
    """Mean over squares of ``factor`` pixels, in whole numbers; rows and columns left over are dropped."""
    height, width = (side // factor for side in rows.shape[:2])
    square = rows[: height * factor, : width * factor].astype(np.uint16)
    square = square.reshape(height, factor, width, factor, 3)
    total: NDArray[np.uint16] = square.sum(axis=3, dtype=np.uint16).sum(axis=1, dtype=np.uint16)
    area = factor * factor
    return ((total + area // 2) // area).astype(np.uint8)


def _tiles(rows: Image) -> list[Image]:
    """A row of tiles, the last one and the bottom filled up with the pixels at the edge."""
    height, width, _ = rows.shape
    missing = (TILE_PX - height, -width % TILE_PX)
    if any(missing):
        rows = np.pad(rows, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return [np.ascontiguousarray(rows[:, x : x + TILE_PX]) for x in range(0, rows.shape[1], TILE_PX)]


def _level_0_tiles(
    level: _Level,
    size: tuple[int, int],
    render: Callable[[Box], Image],
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> Iterator[bytes]:
    width, height = size
    for y in range(0, height, STRIP_PX):
        bottom = min(y + STRIP_PX, height)
        boxes = [Box(x, y, min(x + STRIP_PX, width), bottom) for x in range(0, width, STRIP_PX)]
        strip = np.empty((bottom - y, width, 3), dtype=np.uint8)
        for box, pixels in zip(boxes, pool.map(render, boxes), strict=True):
            strip[box.slices((0, y))] = pixels
        yield from level.push(strip)
        progress.advance(1)


def _write_level(
    tiff: tifffile.TiffWriter, tiles: Iterator[bytes], size: tuple[int, int], **tags: Any
) -> None:
    tiff.write(
        tiles,
        shape=(size[1], size[0], 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
        metadata=None,
        software=False,
        resolutionunit="CENTIMETER" if "resolution" in tags else None,
        **tags,
    )


def _write_thumbnail(tiff: tifffile.TiffWriter, image: Image, quality: int) -> None:
    """Aperio puts one second in the file, in a single strip, which is how readers tell it from a level."""
    tiff.write(
        image,
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
        compressionargs={"level": quality},
        rowsperstrip=image.shape[0],
        metadata=None,
        software=False,
        description="Aperio Image Library (wsiseg synthetic slide) thumbnail",
    )


def _description(
    size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    mpp: float,
    quality: int,
    notes: dict[str, str],
) -> str:
    width, height = size
    head = (
        f"Aperio Image Library (wsiseg synthetic slide)\r\n{width}x{height} [0,0 {width}x{height}] "
        f"({TILE_PX}x{TILE_PX}) JPEG/YCC Q={quality}"
    )
    entries = {"AppMag": f"{10.0 / mpp:g}", "MPP": f"{mpp:.6g}", "Levels": str(len(sizes)), **notes}
    return "|".join([head, *(f"{key} = {value}" for key, value in entries.items())])
