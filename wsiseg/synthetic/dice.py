"""Random numbers that are a pure function of their keys: the same on every machine and in every order.

A slide is drawn region by region, and each thing in it is drawn again in every region that it touches;
so its randomness may come only from what it is (seed, kind, lattice cell), never from a running stream.
Generators of numpy promise no stable stream between releases; this one is written down here.

The mixing function is splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
"""

import math

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_SNAP = 4096.0


class Dice:
    """A sequence of uniform numbers named by integer keys.

    Args:
        keys: What the numbers are for, for example seed, kind, column and row.
    """

    def __init__(self, *keys: int) -> None:
        self._key = mix(*keys)
        self._used = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """The next number in ``[low, high)``."""
        self._used += 1
        bits = _scramble((self._key + self._used * _GOLDEN) & _MASK) >> 11
        return low + (high - low) * (bits / (1 << 53))

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """The next ``count`` numbers in ``[low, high)``, float64 ``(count,)``."""
        steps = np.arange(self._used + 1, self._used + count + 1, dtype=np.uint64)
        self._used += count
        bits = scramble(np.uint64(self._key) + steps * np.uint64(_GOLDEN))
        numbers: NDArray[np.float64] = low + (high - low) * unit(bits)
        return numbers

    def normals(self, count: int) -> NDArray[np.float64]:
        """About normal, mean 0 and deviation 1, never beyond 3.5: sums of four uniform numbers."""
        sums: NDArray[np.float64] = self.uniforms(4 * count).reshape(4, count).sum(axis=0)
        return (sums - 2.0) * math.sqrt(3.0)

    def integer(self, low: int, high: int) -> int:
        """The next whole number in ``low .. high``, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.uniform() < probability

    def direction(self) -> tuple[float, float]:
        """A unit vector."""
        (x, y), *_ = directions(np.array([self.uniform()]))
        return float(x), float(y)


def mix(*keys: int) -> int:
    """One 64-bit key made of several integers, negative ones too."""
    state = 0
    for key in keys:
        state = _scramble((state * 3 + key * _GOLDEN + _GOLDEN) & _MASK)
    return state


def lattice_units(key: int, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in ``[0, 1)`` for each lattice node; the arrays broadcast against each other."""
    state = scramble(np.uint64(key) + columns.astype(np.uint64) * np.uint64(_GOLDEN))
    return unit(scramble(state + rows.astype(np.uint64) * np.uint64(_GOLDEN)))


def lattice_unit(key: int, column: int, row: int) -> float:
    """The same number for one node, without the cost of arrays."""
    state = _scramble((key + column * _GOLDEN) & _MASK)
    return (_scramble((state + row * _GOLDEN) & _MASK) >> 11) * 2.0**-53


def directions(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors ``(n, 2)`` at these parts of a full turn.

    Rounded to 1/4096, so that the last bit of a mathematics library never reaches a pixel.
    """
    angle = 2.0 * math.pi * turns
    return snap(np.stack([np.cos(angle), np.sin(angle)], axis=-1))


def snap(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values rounded to 1/4096."""
    return np.round(values * _SNAP) / _SNAP


def scramble(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64, element by element."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """64 random bits each as a number in ``[0, 1)``."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _scramble(state: int) -> int:
    # The same in Python's integers: a numpy scalar would warn about the wrap-around that is meant here.
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
