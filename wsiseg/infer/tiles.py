"""The tiles of a slide, read ahead by threads and predicted in batches, in grid order."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
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
        planes_CTT: The predictor's answer, float32, or None where there is none and it counts as background.
        unreadable: Whether it was wanted and could not be read.
    """

    tile: Tile
    planes_CTT: NDArray[np.float32] | None
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


@dataclass(frozen=True, slots=True)
class _Batch:
    """Tiles that are predicted together.

    Attributes:
        indices: Which ones.
        images: RGB of each, or None where it cannot be read.
    """

    indices: NDArray[np.int64]
    images: list[NDArray[np.uint8] | None]


def predict_tiles(
    source: TileSource,
    predictors: Sequence[Predictor],
    *,
    first_row: int = 0,
    batch_size: int = 4,
    workers: int = 2,
) -> Generator[PredictedTile]:
    """Predict the tiles of a grid from a row on, in grid order.

    Batches are cut from the list of *all* wanted tiles, wherever the work begins: the network then sees
    the same batches after an interruption, and gives the same numbers to the last bit. With several
    predictors, each on a device of its own, batches go to them in turn; while batches are predicted the
    next ones are read and the one before is put to use. Close the generator where it is not exhausted.

    Args:
        source: The tiles.
        predictors: Each is called in a thread of its own with at most ``batch_size`` tiles.
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
    # Closed here, whatever happens: no thread may read on once the caller closes the slide.
    with (
        closing(_read_ahead(source, batches, workers)) as images,
        closing(_predict_ahead(source, predictors, images)) as answers,
    ):
        for predicted in answers:
            if predicted.tile.index < first:
                continue
            yield from (PredictedTile(grid[index], None) for index in range(upcoming, predicted.tile.index))
            yield predicted
            upcoming = predicted.tile.index + 1
    yield from (PredictedTile(grid[index], None) for index in range(upcoming, len(grid)))


def _predict_ahead(
    source: TileSource, predictors: Sequence[Predictor], batches: Iterator[_Batch]
) -> Generator[PredictedTile]:
    """Tiles of all batches in order; every predictor has one batch under way and one to go on with."""
    waiting: deque[Future[list[PredictedTile]]] = deque()
    pools = [ThreadPoolExecutor(1, thread_name_prefix="predict") for _ in predictors]
    try:
        for number, batch in enumerate(batches):
            turn = number % len(predictors)
            waiting.append(pools[turn].submit(_predict, source, predictors[turn], batch))
            if len(waiting) > len(predictors):
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _predict(source: TileSource, predictor: Predictor, batch: _Batch) -> list[PredictedTile]:
    """An unreadable tile keeps its place in the batch as white, so that its neighbours' numbers stay."""
    side = source.grid.tile_px
    white = np.full((side, side, 3), 255, dtype=np.uint8)
    planes = predictor(np.stack([white if image is None else image for image in batch.images]))
    return [
        PredictedTile(source.grid[int(index)], None if image is None else answer, unreadable=image is None)
        for index, image, answer in zip(batch.indices, batch.images, planes, strict=True)
    ]


def _read_ahead(source: TileSource, batches: Sequence[NDArray[np.int64]], workers: int) -> Generator[_Batch]:
    """Batches with their images; while one is used the next ones are read."""
    waiting: deque[tuple[NDArray[np.int64], list[Future[NDArray[np.uint8] | None]]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="read")
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(source.read, int(index)) for index in batch]))
            if len(waiting) > _BATCHES_AHEAD:
                yield _read(*waiting.popleft())
        while waiting:
            yield _read(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(indices: NDArray[np.int64], futures: Sequence[Future[NDArray[np.uint8] | None]]) -> _Batch:
    return _Batch(indices, [future.result() for future in futures])
