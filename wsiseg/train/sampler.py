"""Which tiles come together in a batch: a pure function of the seed and the number of the batch.

Because nothing is remembered from one batch to the next, a resumed run draws exactly the tiles that the
uninterrupted one would have drawn, on any number of workers and devices.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, stream: str, *position: int) -> np.random.Generator:
    """A random generator for one place in one stream."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), *position])


@dataclass(frozen=True)
class QuotaSampler:
    """Draws tiles: some so that each class comes up in turn, the others from endless shuffled rounds.

    Podocytes cover under one pixel in a hundred, and most tiles show none.

    Attributes:
        shows: bool ``(tiles, K)``, whether a tile shows a class; no columns for an unlabelled pool.
        batch_size: Tiles a batch.
        quota: Share of a batch that is drawn by class.
        seed: Of the run.
        stream: Name of the stream; two streams with different names are independent.
    """

    shows: NDArray[np.bool_]
    batch_size: int
    quota: float
    seed: int
    stream: str

    def draw(self, batch: int) -> NDArray[np.int64]:
        """Positions of the tiles of a batch, ``(batch_size,)``."""
        # The background is in nearly every tile and needs no quota.
        classes = [k for k in range(1, self.shows.shape[1]) if self.shows[:, k].any()]
        by_class = round(self.batch_size * self.quota) if classes else 0
        turns = range(batch * by_class, (batch + 1) * by_class)
        chosen = [self._of_class(classes[turn % len(classes)], turn) for turn in turns]
        rest = self.batch_size - by_class
        chosen += [self._in_rounds(place) for place in range(batch * rest, (batch + 1) * rest)]
        return np.array(chosen, dtype=np.int64)

    def _of_class(self, k: int, turn: int) -> int:
        showing = np.flatnonzero(self.shows[:, k])
        return int(generator(self.seed, f"{self.stream}/class", turn).choice(showing))

    def _in_rounds(self, place: int) -> int:
        round_, position = divmod(place, len(self.shows))
        return int(_order(self.seed, f"{self.stream}/round", round_, len(self.shows))[position])


# A run draws from four streams, a batch from two rounds at most.
@lru_cache(maxsize=8)
def _order(seed: int, stream: str, round_: int, count: int) -> NDArray[np.int64]:
    """The order of all tiles in a round."""
    order = generator(seed, stream, round_).permutation(count)
    order.setflags(write=False)
    return order
