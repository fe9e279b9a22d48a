"""Batches straight from tile stores.

A batch is a pure function of the seed, the stream and its number: see ``wsiseg.train.sampler``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiseg.config.training import TrainConfig
from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.model.normalise import standardise, to_unit
from wsiseg.tilestore import TileStore
from wsiseg.train.augment import augment
from wsiseg.train.sampler import QuotaSampler, generator
from wsiseg.train.split import Split, Store
from wsiseg.train.subset import first_in_turn, shows


@dataclass(frozen=True)
class Batch:
    """Tiles of one mini-batch, on the device, standardised.

    Attributes:
        image_NCHW: What the networks see, strongly augmented.
        weak_NCHW: Of unlabelled tiles: the same with only their geometry changed, for the teacher.
            Labelled tiles need no teacher: ``image_NCHW`` again.
        label_NHW: uint8, ``IGNORE_INDEX`` where unknown; None for unlabelled tiles.
    """

    image_NCHW: Tensor
    weak_NCHW: Tensor
    label_NHW: Tensor | None

    def labels(self) -> Tensor:
        """The labels of a labelled batch."""
        if self.label_NHW is None:
            raise ValueError("this batch has no labels")
        return self.label_NHW


@dataclass(frozen=True)
class Pool:
    """Some tiles of some stores, in a fixed order."""

    stores: tuple[Store, ...]
    places: NDArray[np.int64]
    """``(n, 2)``: position of the store, position of the tile in it."""

    def __len__(self) -> int:
        return len(self.places)

    def class_pixels(self) -> NDArray[np.int64]:
        """Pixels of each class in each tile, ``(n, K)``."""
        classes = len(self.stores[0].schema)
        if not len(self):
            return np.zeros((0, classes), dtype=np.int64)
        return np.stack([self.stores[s].class_pixels[t] for s, t in self.places])

    def images(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Tiles ``(n, T, T, 3)``."""
        return self._gather(positions, labels=False)

    def labels(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Label maps ``(n, T, T)``."""
        return self._gather(positions, labels=True)

    def _gather(self, positions: Sequence[int] | NDArray[np.int64], *, labels: bool) -> NDArray[np.uint8]:
        chosen = self.places[np.asarray(positions, dtype=np.int64)]
        parts: list[NDArray[np.uint8]] = []
        for s, t in chosen.tolist():
            store = self.stores[s]
            parts.append(store.labels([t])[0] if labels else store.images([t])[0])
        return np.stack(parts)


@dataclass(frozen=True)
class Pools:
    """The tiles of a run by their use."""

    labelled: Pool
    unlabelled: Pool
    validation: Pool
    slides: dict[str, list[str]]
    """Names of slides: ``labelled``, ``unlabelled``, ``validation``."""


@dataclass(frozen=True)
class Stream:
    """An endless, seeded sequence of batches from one pool.

    Attributes:
        pool: Where the tiles come from.
        sampler: Which tiles a batch holds.
        config: Augmentation and normalisation.
        labelled: Whether to read labels.
        device: Where batches go.
        rank: Position of this process among ``world``; each takes its share of a batch.
        world: Number of processes.
    """

    pool: Pool
    sampler: QuotaSampler
    config: TrainConfig
    labelled: bool
    device: torch.device
    rank: int = 0
    world: int = 1

    def batch(self, number: int) -> Batch:
        """Load and augment batch ``number``."""
        own = slice(self.rank, None, self.world)
        positions = self.sampler.draw(number)[own]
        images = to_unit(self.pool.images(positions), self.device)
        labels = torch.from_numpy(self.pool.labels(positions)).to(self.device) if self.labelled else None
        seeds = range(self.sampler.batch_size)[own]
        stream = f"{self.sampler.stream}/augment"
        generators = [generator(self.config.seed, stream, number, item) for item in seeds]
        views = augment(images, labels, self.config.augment, generators)
        segmentor = self.config.segmentor
        strong_NCHW = standardise(views.strong_NCHW, *segmentor.input_statistics)
        weak_NCHW = strong_NCHW
        if not self.labelled:
            weak_NCHW = standardise(views.weak_NCHW, *segmentor.input_statistics)
        return Batch(strong_NCHW, weak_NCHW, views.label_NHW)


def open_stores(folder: Path) -> list[TileStore]:
    """Open every finished store in a folder, by name.

    Raises:
        TrainingDataError: No such folder, or no store in it.
        StoreError: A store is broken or unfinished.
    """
    paths = sorted(folder.glob("*.zarr")) if folder.is_dir() else []
    if not paths:
        what = "holds no tile store (*.zarr)" if folder.is_dir() else "does not exist"
        raise TrainingDataError(
            f"{folder} {what}", remedy="Cut slides into tiles first: wsiseg tile slides/*.svs"
        )
    return [TileStore.open(path) for path in paths]


def check_alike(stores: Sequence[Store]) -> None:
    """Refuse stores that cannot be trained on together.

    Raises:
        TrainingDataError: Another class schema, mpp or tile size.
    """
    first = stores[0]
    for store in stores[1:]:
        for what, one, other in (
            ("classes", first.schema.names, store.schema.names),
            ("class containment", first.schema.fingerprint, store.schema.fingerprint),
            ("um/px", round(first.mpp, 6), round(store.mpp, 6)),
            ("tile side", first.tile_px, store.tile_px),
        ):
            if one != other:
                raise TrainingDataError(
                    f"{store.name} and {first.name} cannot be trained on together",
                    found=f"{what} {_plain(other)} against {_plain(one)}",
                    remedy="Tile all slides with the same configuration",
                )


def make_pools(stores: Sequence[Store], split: Split, config: TrainConfig) -> Pools:
    """Sort the tiles by their use.

    Tiles without a label on a labelled training slide join the unlabelled pool, as do those whose labels
    ``split.labelled_share`` leaves out.

    Raises:
        TrainingDataError: Fewer than two labelled tiles (before ``labelled_share`` hides any), or a class
            that no training tile shows.
    """
    labelled = _pool(stores, split.training, labelled=True)
    if len(labelled) < 2:
        raise TrainingDataError(
            "too few labelled tiles",
            found=f"{len(labelled)} on {len(split.training)} training slides",
            expected="2 or more",
            remedy="Annotate a slide (a .geojson or .xml beside it) and tile it again",
        )
    _refuse_unseen(labelled, "Annotate the class, or leave it out of the classes and tile again")
    unlabelled = _pool(stores, split.training, labelled=False)
    named = _named_tiles(labelled, config.split.also_labelled)
    if config.split.labelled_share < 1:
        labelled, unlabelled = _hide_labels(labelled, unlabelled, named, config)
    validation = _pool(stores, split.validation, labelled=True)
    slides = {
        part: sorted({stores[s].name for s in pool.places[:, 0].tolist()})
        for part, pool in (("labelled", labelled), ("unlabelled", unlabelled), ("validation", validation))
    }
    seen = _spread(validation, config.split.max_validation_tiles, config.sampler.min_class_pixels)
    return Pools(labelled, unlabelled, seen, slides)


def make_stream(
    pool: Pool,
    name: str,
    config: TrainConfig,
    device: torch.device,
    *,
    labelled: bool,
    rank: int = 0,
    world: int = 1,
) -> Stream:
    """A stream over a pool, with its labels or without; streams of different names draw independently."""
    size = config.sampler.batch_size if labelled else config.sampler.unlabelled_batch_size
    showing = np.zeros((len(pool), 0), dtype=bool)
    if labelled:
        showing = shows(pool.class_pixels(), config.sampler.min_class_pixels)
    sampler = QuotaSampler(
        shows=showing,
        batch_size=size,
        quota=config.sampler.class_quota,
        seed=config.seed,
        stream=name,
    )
    return Stream(pool, sampler, config, labelled, device, rank, world)


def _pool(stores: Sequence[Store], chosen: Sequence[int], *, labelled: bool) -> Pool:
    places = [
        (s, t) for s in chosen for t in np.flatnonzero(np.asarray(stores[s].labelled) == labelled).tolist()
    ]
    return Pool(tuple(stores), np.array(places, dtype=np.int64).reshape(-1, 2))


def _spread(pool: Pool, most: int, min_pixels: int) -> Pool:
    """At most so many tiles, spread over the pool: validation takes time.

    Up to half of them show a class each, all foreground classes alike. Podocytes may be on one tile in
    fifty: of tiles drawn without a look at them hardly one would tell how they fare.
    """
    if len(pool) <= most:
        return pool
    shows_NK = shows(pool.class_pixels(), min_pixels)[:, 1:]
    each = max(1, most // (2 * shows_NK.shape[1]))
    of_class = [_even(np.flatnonzero(shows_N), each) for shows_N in shows_NK.T]
    kept = np.unique(np.concatenate(of_class))[:most]
    others = np.setdiff1d(np.arange(len(pool)), kept)
    kept = np.sort(np.concatenate([kept, _even(others, most - len(kept))]))
    return Pool(pool.stores, pool.places[kept])


def _even(positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most so many, from all over."""
    if len(positions) <= count:
        return positions
    return positions[np.linspace(0, len(positions) - 1, count).round().astype(np.int64)]


def _hide_labels(
    labelled: Pool, unlabelled: Pool, named: NDArray[np.int64], config: TrainConfig
) -> tuple[Pool, Pool]:
    """Move labelled tiles to the unlabelled pool, but for the configured share and the named positions."""
    count = round(config.split.labelled_share * len(labelled))
    kept = first_in_turn(
        labelled.class_pixels(),
        max(1, count),
        seed=config.split.labelled_seed,
        min_pixels=config.sampler.min_class_pixels,
    )
    kept = np.union1d(kept, named)
    rest = np.concatenate([np.delete(labelled.places, kept, axis=0), unlabelled.places])
    rest = rest[np.lexsort((rest[:, 1], rest[:, 0]))]
    labelled = Pool(labelled.stores, labelled.places[kept])
    _refuse_unseen(labelled, "Raise train.split.labelled_share, or try another train.split.labelled_seed")
    return labelled, Pool(labelled.stores, rest)


def _named_tiles(labelled: Pool, named: Mapping[str, Sequence[int]]) -> NDArray[np.int64]:
    """Positions in the pool of tiles given by slide and position in its store.

    Raises:
        ConfigError: One of them is no labelled training tile.
    """
    position_of = {(labelled.stores[s].name, t): n for n, (s, t) in enumerate(labelled.places.tolist())}
    wanted = [(name, tile) for name, tiles in named.items() for tile in tiles]
    if odd := [f"{name}: {tile}" for name, tile in wanted if (name, tile) not in position_of]:
        raise ConfigError(
            "train.split.also_labelled", found=", ".join(odd), expected="labelled tiles of training slides"
        )
    return np.array([position_of[place] for place in wanted], dtype=np.int64)


def _refuse_unseen(pool: Pool, remedy: str) -> None:
    totals, names = pool.class_pixels().sum(axis=0), pool.stores[0].schema.names
    unseen = [name for name, total in zip(names, totals, strict=True) if not total]
    if unseen:
        raise TrainingDataError(f"no labelled training tile shows {', '.join(unseen)}", remedy=remedy)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
