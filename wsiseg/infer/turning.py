"""What predicts tiles, and the averaging over turned and mirrored copies of them; no network in sight.

Array names: N tiles, K classes, C planes of the answer, T side of a tile.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Turn = tuple[int, bool]
"""Quarter turns, and whether the tile is mirrored first."""

FLIPS: tuple[Turn, ...] = ((0, False), (0, True), (2, False), (2, True))
DIHEDRAL: tuple[Turn, ...] = tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True))


class Predictor(Protocol):
    """Anything that tells the classes of tiles; a test's fake is a function.

    It may have to answer from a thread of its own.
    """

    def __call__(self, images_NTT3: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Planes ``planes_NCTT`` about RGB tiles, float32.

        The first K are the probabilities of the classes and sum to 1. Where confidence is asked for, one
        more tells how likely it is that the most probable class is right.
        """


class TurningPredictor:
    """The mean of another predictor's answers to turned and mirrored copies of each tile.

    Args:
        predictor: The one to ask.
        turns: ``FLIPS`` or ``DIHEDRAL``.
    """

    def __init__(self, predictor: Predictor, turns: tuple[Turn, ...] = DIHEDRAL) -> None:
        self._predictor = predictor
        self._turns = turns

    def __call__(self, images_NTT3: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """See ``Predictor``."""
        total: NDArray[np.float32] | None = None
        for turn in self._turns:
            answer = self._predictor(np.ascontiguousarray(_turn(images_NTT3, turn, axes=(1, 2))))
            answer = _turn_back(answer, turn, axes=(2, 3))
            total = answer if total is None else total + answer
        if total is None:
            raise ValueError("no turns")
        return np.ascontiguousarray(total / np.float32(len(self._turns)))


def _turn(array: NDArray[np.uint8], turn: Turn, axes: tuple[int, int]) -> NDArray[np.uint8]:
    turns, mirrored = turn
    return np.rot90(np.flip(array, axes[1]) if mirrored else array, turns, axes)


def _turn_back(array: NDArray[np.float32], turn: Turn, axes: tuple[int, int]) -> NDArray[np.float32]:
    turns, mirrored = turn
    upright = np.rot90(array, -turns, axes)
    return np.flip(upright, axes[1]) if mirrored else upright
