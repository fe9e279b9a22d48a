"""Choosing a few tiles so that no class is forgotten."""

from collections import deque
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from wsiseg.train.sampler import generator


def first_in_turn(
    pixels_NK: NDArray[np.int64], count: int, *, seed: int, min_pixels: int
) -> NDArray[np.int64]:
    """The first tiles of an order in which the classes come up in turn.

    The order does not depend on the count, so a smaller choice lies in a larger one.

    Args:
        pixels_NK: Pixels of each class in each tile.
        count: How many tiles; all where there are fewer.
        seed: Of the order.
        min_pixels: A tile shows a class from so many pixels on.

    Returns:
        Positions of the tiles, ascending.
    """
    shows_NK = shows(pixels_NK, min_pixels)
    shuffled = generator(seed, "in turn").permutation(len(pixels_NK))
    first = list(islice(_in_turn(shows_NK[shuffled]), count))
    return np.sort(shuffled[first])


def shows(pixels_NK: NDArray[np.int64], min_pixels: int) -> NDArray[np.bool_]:
    """Which tiles show which class, bool ``(N, K)``.

    A class so small that no tile has ``min_pixels`` of it is shown wherever it is largest.
    """
    enough_K = np.minimum(min_pixels, pixels_NK.max(axis=0, initial=0))
    found: NDArray[np.bool_] = (pixels_NK >= enough_K) & (pixels_NK > 0)
    return found


def _in_turn(shows_NK: NDArray[np.bool_]) -> Iterator[int]:
    """An order of all tiles in which no class is forgotten.

    First the fewest tiles that show every class, found greedily. Then every other tile shows the class
    that was shown least so far, and the others come as they are: what is rare is not left to luck, what is
    common keeps its place.
    """
    first = _covering(shows_NK)
    yield from first
    taken, shown_K = set(first), shows_NK[first].sum(axis=0)
    everything = deque(range(len(shows_NK)))
    # The background is in nearly every tile and needs no turn.
    showing = {k: deque(np.flatnonzero(shows_NK[:, k]).tolist()) for k in range(1, shows_NK.shape[1])}
    for turn in range(len(shows_NK) - len(first)):
        for queue in (everything, *showing.values()):
            while queue and queue[0] in taken:
                queue.popleft()
        left = [k for k, queue in showing.items() if queue]
        of_class = turn % 2 == 0 and left
        chosen = (showing[min(left, key=lambda k: shown_K[k])] if of_class else everything)[0]
        taken.add(chosen)
        shown_K += shows_NK[chosen]
        yield chosen


def _covering(shows_NK: NDArray[np.bool_]) -> list[int]:
    """Few tiles that together show every class that occurs: each shows most of what was missing."""
    chosen: list[int] = []
    missing_K = shows_NK.any(axis=0)
    while missing_K.any():
        chosen.append(int((shows_NK & missing_K).sum(axis=1).argmax()))
        missing_K &= ~shows_NK[chosen[-1]]
    return chosen
