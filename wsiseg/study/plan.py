"""From a study and a folder of tiles to the list of its cells."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wsiseg.config import Config
from wsiseg.config.study import StudyConfig, arm_config, cell_config
from wsiseg.errors import ConfigError
from wsiseg.study.acquire import labelled_tiles
from wsiseg.study.cells import Cell, CellKey, acquired_key
from wsiseg.study.judge import learns_right
from wsiseg.study.slides import store_keys, take_sides
from wsiseg.study.work import Acquisition, CellTask, Place
from wsiseg.train.data import check_alike, open_stores


def all_cells(study: StudyConfig) -> list[Cell]:
    """Every cell, seed by seed: an interrupted study has whole comparisons, not whole arms."""
    folds = study.all_folds
    grid = itertools.product(study.seeds, folds, study.shares, study.arms)
    return [Cell(arm, share, seed, fold) for seed, fold, share, arm in grid]


def plan_tasks(study: StudyConfig, tiles: Path, place: Place) -> list[CellTask]:
    """What has to be done for each cell; nothing is trained or written.

    Raises:
        ConfigError: An arm cannot be configured, or a test slide has no store.
        TrainingDataError: The tiles do not go together, or a test slide has no labels.
        StoreError: A store is broken or unfinished.
    """
    stores = open_stores(tiles)
    check_alike(stores)
    arms = {arm: arm_config(study, arm) for arm in study.arms}
    _check_acquired(study, arms)
    weights = {arm: _digest_weights(arm, config) for arm, config in arms.items()}
    tasks: dict[Cell, CellTask] = {}
    labelled: dict[Cell, int] = {}
    for cell in all_cells(study):
        config = cell_config(arms[cell.arm], cell.share, cell.seed)
        test_slides = study.all_folds[cell.fold]
        sides = take_sides(stores, test_slides, config.train)
        acquired = acquired_key(study, arms, cell, weights)
        key = CellKey(config.train, store_keys(sides), test_slides, weights[cell.arm], acquired)
        teaching, testing = (
            tuple(store.path.resolve() for store in side) for side in (sides.teaching, sides.testing)
        )
        tasks[cell] = CellTask(cell, key, config, teaching, testing, place)
        labelled[cell] = labelled_tiles(sides.teaching, config.train)
    for cell, task in tasks.items():
        wanted = study.acquired(cell.arm)
        if wanted is not None:
            first = tasks[replace(cell, arm=wanted.after)]
            count = max(1, round(wanted.add * labelled[first.cell]))
            acquires = Acquisition(wanted.by, count, first.cell, first.key)
            tasks[cell] = replace(task, acquires=acquires)
            tasks[first.cell] = replace(first, proposes=tuple(sorted({*first.proposes, count})))
    return list(tasks.values())


def _check_acquired(study: StudyConfig, arms: Mapping[str, Config]) -> None:
    """Refuse arms whose tiles another arm's model could not choose."""
    for arm in study.arms:
        wanted = study.acquired(arm)
        if wanted is None:
            continue
        own, other = arms[arm].train, arms[wanted.after].train
        if (own.split, own.sampler.min_class_pixels) != (other.split, other.sampler.min_class_pixels):
            raise ConfigError(
                f"arm {arm}: acquire.after: {wanted.after}",
                found="another train.split, or another train.sampler.min_class_pixels",
                expected="the same: the two would not keep the same labels",
            )
        if wanted.by == "discriminator" and not learns_right(other):
            raise ConfigError(
                f"arm {arm}: acquire.by: discriminator",
                found=f"{wanted.after} without a discriminator that learns where the segmentor is right",
                remedy="Name an arm with train.discriminator.fake_target: correctness",
            )


def _digest_weights(arm: str, config: Config) -> str | None:
    """SHA-256 of the file that the encoder begins with; None where it begins with no file.

    Raises:
        ConfigError: There is no such file.
    """
    weights = config.train.segmentor.weights
    if weights in {"none", "imagenet"}:
        return None
    try:
        with Path(weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise ConfigError(
            f"arm {arm}: train.segmentor.weights",
            found=repr(weights),
            expected="none, imagenet or a file",
            remedy="Make the file first, or leave the arm out",
        ) from err
