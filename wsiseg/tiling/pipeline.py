"""Reading, labelling and compressing tiles in threads, writing them shard by shard.

Decoders and compressors release the interpreter's lock, so threads use every core. Workers run a few
tiles ahead of the writer and no further, and each tile is written as it comes: memory holds those tiles,
whatever the size of the slide.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import SlideReadError
from wsiseg.progress import Progress
from wsiseg.slide import RegionReader
from wsiseg.tilestore import EncodedTile, StorePlan, StoreWriter, encode_tile
from wsiseg.tiling.labelling import Labeller

_AHEAD = 4
"""Tiles in flight for each worker."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TileMaker:
    """Makes any tile of a plan; threads share one.

    Attributes:
        plan: The tiles.
        slide: What they are read from.
        labeller: What they are labelled by.
        unreadable: Whether a tile that cannot be read is left out, or fails the slide.
        kept: bool ``(n,)``, for a store that has its images: which of them could be read. None to read.
    """

    plan: StorePlan
    slide: RegionReader
    labeller: Labeller
    unreadable: Literal["skip", "fail"]
    kept: NDArray[np.bool_] | None = None

    def __call__(self, position: int) -> EncodedTile:
        """Read, label and compress the tile at this position of the plan.

        Raises:
            SlideReadError: It cannot be read and the policy is ``fail``.
        """
        header = self.plan.header
        box = header.grid[int(self.plan.indices[position])].read
        image = None
        readable = True
        if self.kept is not None:
            readable = bool(self.kept[position])
        else:
            try:
                image = self.slide.read(header.frame.to_l0(box), box.size)
            except SlideReadError:
                if self.unreadable == "fail":
                    raise
                readable = False
        label = self.labeller.label(box) if readable else None
        return encode_tile(
            image, label, len(header.schema), readable=readable, jpeg_quality=header.jpeg_quality
        )


def fill_store(
    writer: StoreWriter,
    plan: StorePlan,
    make: Callable[[int], EncodedTile],
    *,
    workers: int,
    progress: Progress,
) -> None:
    """Write every shard that the store still lacks.

    Args:
        writer: Of the store.
        plan: What it shall hold.
        make: Makes the tile at a position of the plan; called from threads.
        workers: Threads.
        progress: Told of each tile.

    Raises:
        OutputError: The disk is full.
    """
    shards = list(writer.pending())
    missing = sum(len(positions) for _, positions in shards)
    progress.start(plan.header.name, total=len(plan))
    progress.advance(len(plan) - missing)
    # Closed before an error goes on its way: whoever catches it closes the slide, which nobody may read then.
    with closing(in_order(make, (i for _, positions in shards for i in positions), workers)) as tiles:
        for shard, positions in shards:
            writer.write(shard, _noted(islice(tiles, len(positions)), progress))


def _noted(tiles: Iterable[EncodedTile], progress: Progress) -> Iterator[EncodedTile]:
    for tile in tiles:
        progress.advance()
        yield tile


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Results of a function over items, computed in threads a few items ahead, in the items' order.

    When it has ended or was closed, no thread is at work any more.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tile")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= workers * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
