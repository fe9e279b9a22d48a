"""The tiles of a slide, read ahead by threads and predicted in batches, in grid order."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import SlideReadError
from wsiseg.geometry import GridFrame, Tile, TileGrid
from wsiseg.infer.turning import Predictor
from wsiseg.slide import RegionReader

_BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True)
class PredictedTile:
    """What became of one tile.

    Attributes:
        tile: Which one.
        probabilities_KTT: float32, or None where it was not predicted and counts as background.
        unreadable: Whether it was wanted and could not be read.
    """

    tile: Tile
    probabilities_KTT: NDArray[np.float32] | None
    unreadable: bool = False


@dataclass(frozen=True)
class TileSource:
    """Tiles of a slide.

    Attributes:
        reader: The slide; threads read from it at once.
        frame: The grid frame.
        grid: The tiles.
        wanted: bool ``(len(grid),)``, the tiles to predict; the others are background.
        unreadable: What a region does that cannot be read: ``skip`` gives background, ``fail`` raises.
    """

    reader: RegionReader
    frame: GridFrame
    grid: TileGrid
    wanted: NDArray[np.bool_]
    unreadable: Literal["skip", "fail"] = "skip"

    def read(self, index: int) -> NDArray[np.uint8] | None:
        """RGB of a tile, uint8 ``(T, T, 3)``; None where it cannot be read and may be skipped.

        Raises:
            SlideReadError: It cannot be read, with ``unreadable="fail"``.
        """
        side = self.grid.tile_px
        try:
            return self.reader.read(self.frame.to_l0(self.grid[index].read), (side, side))
        except SlideReadError:
            if self.unreadable == "fail":
                raise
            return None


def predict_tiles(
    source: TileSource, predictor: Predictor, *, first_row: int = 0, batch_size: int = 4, workers: int = 2
) -> Iterator[PredictedTile]:
    """Predict the tiles of a grid from a row on, in grid order.

    Batches are cut from the list of *all* wanted tiles, wherever the work begins: the network then sees
    the same batches after an interruption, and gives the same numbers to the last bit.

    Args:
        source: The tiles.
        predictor: Called in this thread with at most ``batch_size`` tiles.
        first_row: Row to begin with.
        batch_size: Tiles a call.
        workers: Threads that read ahead.

    Raises:
        SlideReadError: As ``TileSource.read``.
    """
    grid = source.grid
    first = first_row * grid.columns
    indices = np.flatnonzero(source.wanted)
    begin = int(np.searchsorted(indices, first)) // batch_size * batch_size
    batches = [indices[at : at + batch_size] for at in range(begin, len(indices), batch_size)]
    upcoming = first
    for batch, images in _read_ahead(source, batches, workers):
        for predicted in _predict(source, predictor, batch, images):
            if predicted.tile.index < first:
                continue
            yield from (PredictedTile(grid[index], None) for index in range(upcoming, predicted.tile.index))
            yield predicted
            upcoming = predicted.tile.index + 1
    yield from (PredictedTile(grid[index], None) for index in range(upcoming, len(grid)))


def _predict(
    source: TileSource,
    predictor: Predictor,
    batch: NDArray[np.int64],
    images: list[NDArray[np.uint8] | None],
) -> Iterator[PredictedTile]:
    """An unreadable tile keeps its place in the batch as white, so that its neighbours' numbers stay."""
    side = source.grid.tile_px
    white = np.full((side, side, 3), 255, dtype=np.uint8)
    probabilities = predictor(np.stack([white if image is None else image for image in images]))
    for index, image, probability in zip(batch, images, probabilities, strict=True):
        tile = source.grid[int(index)]
        if image is None:
            yield PredictedTile(tile, None, unreadable=True)
        else:
            yield PredictedTile(tile, probability)


def _read_ahead(
    source: TileSource, batches: list[NDArray[np.int64]], workers: int
) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.uint8] | None]]]:
    """Batches with their images; while one is used the next ones are read."""
    waiting: deque[tuple[NDArray[np.int64], list[Future[NDArray[np.uint8] | None]]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="read")
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(source.read, int(index)) for index in batch]))
            if len(waiting) > _BATCHES_AHEAD:
                ready, futures = waiting.popleft()
                yield ready, [future.result() for future in futures]
        while waiting:
            ready, futures = waiting.popleft()
            yield ready, [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
