"""Which slides of a study teach and which examine, and in what pieces the examination is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.config.training import SplitConfig, TrainConfig
from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.tilestore import TileStore
from wsiseg.train.split import split_stores

_NUMBERS_IN_A_CELL = 6000
"""So many numbers fit into a result of some 40 KB; a block has its matrix, and its place weighs four."""


@dataclass(frozen=True)
class Sides:
    """The tile stores of a fold.

    Attributes:
        teaching: Stores of slides that may be learnt from, with labels or without.
        testing: Stores of the test slides.
    """

    teaching: tuple[TileStore, ...]
    testing: tuple[TileStore, ...]


def take_sides(stores: Sequence[TileStore], test_slides: Sequence[str], train: TrainConfig) -> Sides:
    """Keep the test slides apart; a slide of a test patient is on neither side.

    Raises:
        ConfigError: A test slide has no store, or no other slide is left.
        TrainingDataError: A test slide has no labels, or its patient is on both sides.
    """
    names = [store.name for store in stores]
    if missing := [name for name in test_slides if name not in names]:
        raise ConfigError(
            "test slides without tiles",
            found=", ".join(missing),
            expected=f"some of {', '.join(names)}",
            remedy="Name slides without their suffix, or tile them",
        )
    split = SplitConfig(validation_slides=tuple(test_slides), patient_pattern=train.split.patient_pattern)
    found = split_stores(stores, split, seed=0, named_in="the test slides (test_slides, or folds)")
    sides = Sides(
        teaching=tuple(stores[position] for position in found.training),
        testing=tuple(stores[position] for position in found.validation),
    )
    if not sides.teaching:
        raise ConfigError("every slide is a test slide", remedy="Leave some to learn from")
    for store in sides.testing:
        if not store.labelled.any():
            raise TrainingDataError(
                f"test slide {store.name} has no labels", remedy="Annotate it and tile again"
            )
    return sides


@dataclass(frozen=True)
class Blocks:
    """Squares of neighbouring tiles of a slide, the smallest pieces that are counted apart.

    Attributes:
        tiles: Positions in the store of the labelled tiles, ``(n,)``.
        block_of_tile: Position in ``places`` of the block of each of them, ``(n,)``.
        places: Row and column of each block, ``(blocks, 2)``.
        side: Tiles along the side of a block.
    """

    tiles: NDArray[np.int64]
    block_of_tile: NDArray[np.int64]
    places: NDArray[np.int64]
    side: int

    def add_up(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts of tiles ``(n, ...)`` as counts of blocks ``(blocks, ...)``."""
        total = np.zeros((len(self.places), *counts.shape[1:]), dtype=np.int64)
        np.add.at(total, self.block_of_tile, counts)
        return total


def make_blocks(stores: Sequence[TileStore]) -> list[Blocks]:
    """The labelled tiles of each test slide in blocks, as small as a cell's result has room for.

    The same stores give the same blocks, so results of different arms can be compared block by block.
    """
    classes = len(stores[0].schema)
    most = max(_NUMBERS_IN_A_CELL // (classes**2 + 4), len(stores))
    widest = max(max(store.grid.rows, store.grid.columns) for store in stores)
    side = 1
    while True:
        blocks = [_blocks(store, side) for store in stores]
        if side >= widest or sum(len(part.places) for part in blocks) <= most:
            return blocks
        side *= 2


def _blocks(store: TileStore, side: int) -> Blocks:
    tiles = np.flatnonzero(store.labelled)
    rows, columns = np.divmod(store.indices[tiles], store.grid.columns)
    places, block_of_tile = np.unique(
        np.stack([rows // side, columns // side], axis=1), axis=0, return_inverse=True
    )
    return Blocks(tiles, block_of_tile.reshape(-1), places, side)


def store_keys(sides: Sides) -> Mapping[str, str]:
    """Name of a slide -> content key of its tiles."""
    return {store.name: store.key for store in (*sides.teaching, *sides.testing)}


def kept_part(store: TileStore, tile: int) -> tuple[slice, slice]:
    """Rows and columns of a tile that it owns: the keeps of a grid count each pixel of a slide once."""
    found = store.grid[int(store.indices[tile])]
    return found.keep.slices((found.read.x0, found.read.y0))
