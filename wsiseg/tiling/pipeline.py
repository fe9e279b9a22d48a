"""Reading, labelling, compressing and writing tiles, each worker a shard at a time.

A worker takes a whole shard from the slide to the disk: decoders, compressors and the system's write release
the interpreter's lock, and no tile is handed from thread to thread. Beside the decoder's cache and the rows
of labels that are painted, memory holds one tile a worker, whatever the size of the slide. What is written
does not depend on who wrote it. A slide keeps no more workers busy than it has shards.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import SlideReadError
from wsiseg.progress import Progress
from wsiseg.slide import RegionReader
from wsiseg.tilestore import EncodedTile, StorePlan, StoreWriter, encode_tile
from wsiseg.tiling.labelling import Labeller


class _StoppedError(Exception):
    """Another worker has failed, or the user has had enough."""


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
    """Write every shard that the store still lacks; no thread is at work any more when it returns or raises.

    Args:
        writer: Of the store.
        plan: What it shall hold.
        make: Makes the tile at a position of the plan; called from threads.
        workers: Threads at the most; a single one is the caller's.
        progress: Told of each tile, from threads.

    Raises:
        OutputError: The disk is full.
    """
    shards = list(writer.pending())
    missing = sum(len(positions) for _, positions in shards)
    progress.start(plan.header.name, total=len(plan))
    progress.advance(len(plan) - missing)
    stop = threading.Event()

    def tiles(positions: Iterable[int]) -> Iterator[EncodedTile]:
        for position in positions:
            if stop.is_set():
                raise _StoppedError
            yield make(position)
            progress.advance()

    if workers == 1:
        for shard, positions in shards:
            writer.write(shard, tiles(positions))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="tile") as pool:
        try:
            waiting = [pool.submit(writer.write, shard, tiles(positions)) for shard, positions in shards]
            for future in as_completed(waiting):
                future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
