"""A slide whose pixels come out of its tile store, as far as the store has them.

For slides on slow or remote storage that were tiled before. A prediction must not depend on where its pixels
came from, so the store gives a region only where it holds to the bit what the slide itself would give:
everywhere if a grid pixel covers whole level-0 pixels, and whatever tiles show exactly that region if not, as
a tile at another place then has its pixels elsewhere by a fraction. The rest is read from the slide.
"""

from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import StoreError, StoreFormatError
from wsiseg.geometry import Box, GridFrame
from wsiseg.slide import Slide
from wsiseg.tilestore import TileStore

_CACHE_BYTES = 64 << 20
"""Decoded tiles kept: a row of tiles of 512 px over 43,000 px, for the row of reads below it."""

_ALIKE = {"direct", "openslide"}
"""Readers that give the same pixels."""


class StoredTiles:
    """A ``RegionReader`` over a store and its slide; threads may share one.

    Args:
        store: Of this slide, lossless.
        slide: Open, for what the store lacks.
        frame: The grid frame that is read in.

    Attributes:
        from_store: Regions that came out of the store so far.
        from_slide: Regions that were read from the slide so far.

    Raises:
        StoreError: The store is of another slide, resolution or reader, or keeps its images as JPEG.
    """

    def __init__(self, store: TileStore, slide: Slide, frame: GridFrame) -> None:
        _check(store, slide, frame)
        self._store, self._slide, self._frame = store, slide, frame
        self._whole = _is_whole(frame, slide)
        boxes = [Box(*box) for box in store.boxes.tolist()]
        self._by_box = {frame.to_l0(box): i for i, box in enumerate(boxes)}
        self._by_index = {int(index): i for i, index in enumerate(store.indices)}
        self._image = lru_cache(max(4, _CACHE_BYTES // (3 * store.tile_px**2)))(store.image)
        self._lock = Lock()
        self.from_store = self.from_slide = 0

    @property
    def size_l0(self) -> tuple[int, int]:
        """``(width, height)`` of level 0."""
        return self._slide.size_l0

    def read(self, box_l0: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
        """RGB of a level-0 box: the bytes that ``Slide.read`` gives.

        Raises:
            SlideReadError: The store lacks a part of it, and the slide cannot be read there.
            StoreError: A tile cannot be decoded.
        """
        image = self._stored(box_l0, size)
        with self._lock:
            self.from_store += image is not None
            self.from_slide += image is None
        return self._slide.read(box_l0, size) if image is None else image

    @property
    def advice(self) -> str | None:
        """A sentence for the user where the store was of little use."""
        read = self.from_store + self.from_slide
        if self.from_slide <= read / 2:
            return None
        text = f"{self.from_slide} of {read} tiles were read from the slide, as {self._store.path} lacks them"
        if self._whole:
            return text
        return (
            f"{text} at the places where this prediction looks; tile with the same tiling.tile_px and "
            "tiling.overlap_px as it"
        )

    def _stored(self, box_l0: Box, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        side = self._store.tile_px
        if size == (side, side) and (i := self._by_box.get(box_l0)) is not None:
            return self._image(i)
        box_gr = self._to_grid(box_l0, size) if self._whole else None
        return None if box_gr is None else self._assembled(box_gr)

    def _to_grid(self, box_l0: Box, size: tuple[int, int]) -> Box | None:
        """The grid box of this size over a level-0 box, if there is one."""
        dx, dy = (int(factor) for factor in self._frame.downsample)
        box = Box.from_size(box_l0.x0 // dx, box_l0.y0 // dy, *size)
        return box if self._frame.to_l0(box) == box_l0 else None

    def _assembled(self, box_gr: Box) -> NDArray[np.uint8] | None:
        """A grid box put together from the tiles that keep it; white off the slide, as the slide has it."""
        image = np.full((box_gr.height, box_gr.width, 3), 255, dtype=np.uint8)
        inside = box_gr.intersection(self._frame.box_gr)
        for tile in () if inside.is_empty else self._store.grid.reading(inside):
            part = tile.keep.intersection(inside)
            if part.is_empty:
                continue
            i = self._by_index.get(tile.index)
            if i is None:
                return None
            image[part.slices((box_gr.x0, box_gr.y0))] = self._image(i)[
                part.slices((tile.read.x0, tile.read.y0))
            ]
        return image


def open_stored(path: Path, slide: Slide, frame: GridFrame) -> StoredTiles:
    """The tiles of a slide, from a store or from the folder that ``wsiseg tile`` has filled.

    Raises:
        StoreError: As ``StoredTiles``.
        StoreFormatError: No store of this slide is there.
        StoreIncompleteError: Its writing never ended.
    """
    store = path if path.suffix == ".zarr" else path / f"{slide.stem}.zarr"
    if not store.is_dir():
        raise StoreFormatError(
            f"--tiles {path}: there is no {store}",
            remedy=f"Make it with `wsiseg tile {slide.path} --mpp {frame.mpp:g} --out {store.parent}`",
        )
    return StoredTiles(TileStore.open(store), slide, frame)


def _is_whole(frame: GridFrame, slide: Slide) -> bool:
    """Whether a grid pixel is the same pixels of the slide wherever a tile begins.

    So for every level that may be read: resampling with fractions rounds by where it begins. OpenSlide takes
    a level of 109 for 437 px as 4.009 times smaller, and interpolates; the direct path does not.
    """
    levels = [level for level in slide.levels if max(level.scale) <= min(frame.downsample) * 1.001]
    axes = [
        (factor, scale, side, full)
        for level in [slide.levels[0], *levels]
        for factor, scale, side, full in zip(
            frame.downsample, level.scale, level.size, slide.size_l0, strict=True
        )
    ]
    return all(
        scale == int(scale) and factor % scale == 0 and (slide.backend == "direct" or side * scale == full)
        for factor, scale, side, full in axes
    )


def _check(store: TileStore, slide: Slide, frame: GridFrame) -> None:
    again = f"Make it again with `wsiseg tile {slide.path} --mpp {frame.mpp:g}`"
    if store.slide_fingerprint != slide.fingerprint:
        raise StoreError(f"--tiles: {store.path} is not of {slide.path}", remedy=again)
    if store.frame != frame:
        raise StoreError(
            f"--tiles: {store.path} has another resolution than the run",
            found=f"{store.mpp:g} um/px of {_size(store.frame)}",
            expected=f"{frame.mpp:g} um/px of {_size(frame)}",
            remedy=again,
        )
    if store.header.jpeg_quality is not None:
        raise StoreError(
            f"--tiles: {store.path} keeps its images as JPEG, which changed their pixels",
            remedy=f"{again} and tiling.codec: lossless",
        )
    backend = str(store.provenance["slide"]["backend"])
    if backend != slide.backend and not {backend, slide.backend} <= _ALIKE:
        raise StoreError(
            f"--tiles: {store.path} was read in another way than the slide is now",
            found=backend,
            expected=slide.backend,
            remedy=f"{again} from the same place",
        )


def _size(frame: GridFrame) -> str:
    return "{} x {} px".format(*frame.size_gr)
