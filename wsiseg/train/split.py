"""Which slides teach and which examine: whole slides, or whole patients, never tiles."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.classes import ClassSchema
from wsiseg.config.training import SplitConfig
from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.train.sampler import generator


class Store(Protocol):
    """What training needs of a tile store; ``wsiseg.tilestore.TileStore`` is one."""

    @property
    def name(self) -> str:
        """Stem of the slide."""

    @property
    def schema(self) -> ClassSchema:
        """Classes of the labels."""

    @property
    def tile_px(self) -> int:
        """Side of a tile."""

    @property
    def mpp(self) -> float:
        """Micrometres per pixel."""

    @property
    def key(self) -> str:
        """Of all that the tiles were made from: slide, settings, annotations."""

    @property
    def slide_fingerprint(self) -> str:
        """Of the slide's content."""

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether each tile has a label, ``(n,)``."""

    @property
    def class_pixels(self) -> NDArray[np.int64]:
        """Pixels of each class in each tile, ``(n, K)``."""

    def __len__(self) -> int: ...

    def images(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Tiles ``(n, T, T, 3)``."""

    def labels(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Label maps ``(n, T, T)``."""


@dataclass(frozen=True)
class Split:
    """Positions of the stores by their part; ``training`` includes slides without labels."""

    training: tuple[int, ...]
    validation: tuple[int, ...]


def split_stores(
    stores: Sequence[Store],
    config: SplitConfig,
    seed: int,
    patients: Mapping[str, str] | None = None,
    *,
    named_in: str = "train.split.validation_slides",
) -> Split:
    """Keep some labelled slides for validation.

    All slides of a patient stay together. With a single labelled patient there is nothing to validate on:
    tiles of one slide resemble each other too much to examine on them.

    Args:
        stores: Of all slides.
        config: How to choose.
        seed: Of the choice.
        patients: Slide -> patient, instead of a pattern.
        named_in: Where the user has written ``validation_slides``, for messages.

    Raises:
        TrainingDataError: One slide occurs in two stores, or a patient on both sides.
        ConfigError: A name in ``validation_slides`` that no store has, or a bad pattern.
    """
    _refuse_twins(stores)
    groups = [_group(store.name, config, patients) for store in stores]
    if config.validation_slides:
        validation = _named(stores, groups, config, named_in)
    else:
        validation = _drawn(stores, groups, config, seed)
    chosen = {groups[position] for position in validation}
    # An unlabelled slide of a validation patient is in neither part: the method must not see it.
    training = [p for p, group in enumerate(groups) if group not in chosen]
    return Split(tuple(training), tuple(validation))


def read_patients(path: Path) -> dict[str, str]:
    """Read ``slide,patient`` rows: the name of a slide (with or without suffix) to its patient.

    Raises:
        ConfigError: Unreadable, a column is missing, or a slide with two patients.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(f"--patients {path} cannot be read ({err})") from err
    patients: dict[str, str] = {}
    for row in rows:
        slide, patient = row.get("slide"), row.get("patient")
        if not slide or not patient:
            raise ConfigError(
                f"--patients {path}", expected="two columns named slide and patient, both filled"
            )
        if patients.setdefault(slide.strip(), patient.strip()) != patient.strip():
            raise ConfigError(f"--patients {path}: {slide} belongs to two patients")
    stems: dict[str, set[str]] = {}
    for slide, patient in patients.items():
        stems.setdefault(Path(slide).stem, set()).add(patient)
    for stem, found in stems.items():
        if stem in patients and len(found) > 1:
            raise ConfigError(f"--patients {path}: {stem} belongs to two patients")
    # What follows the last dot is no suffix where it tells patients apart: case.1 and case.2.
    return {stem: found.pop() for stem, found in stems.items() if len(found) == 1} | patients


def _group(name: str, config: SplitConfig, patients: Mapping[str, str] | None) -> str:
    if patients is not None:
        if name not in patients:
            raise ConfigError(f"--patients names no patient for slide {name}", remedy="Add a row for it")
        return f"patient {patients[name]}"
    if config.patient_pattern is not None:
        try:
            match = re.search(config.patient_pattern, name)
        except re.error as err:
            raise ConfigError(f"train.split.patient_pattern: {err}") from err
        if match is None or not match.groups():
            raise ConfigError(
                f"train.split.patient_pattern finds no patient in {name}",
                expected="a regular expression whose first group is the patient",
            )
        return f"patient {match.group(1)}"
    return f"slide {name}"


def _refuse_twins(stores: Sequence[Store]) -> None:
    owners: dict[str, str] = {}
    for store in stores:
        twin = owners.setdefault(store.slide_fingerprint, store.name)
        if twin != store.name:
            raise TrainingDataError(
                f"{twin} and {store.name} are the same slide", remedy="Remove one of the two stores"
            )


def _named(stores: Sequence[Store], groups: Sequence[str], config: SplitConfig, named_in: str) -> list[int]:
    names = [store.name for store in stores]
    wanted = {Path(name).stem if name not in names else name for name in config.validation_slides}
    if missing := sorted(wanted - set(names)):
        raise ConfigError(named_in, found=", ".join(missing), expected=f"some of {', '.join(names)}")
    chosen = [position for position, name in enumerate(names) if name in wanted]
    inside = {groups[position] for position in chosen}
    left = [p for p, group in enumerate(groups) if group in inside and p not in chosen]
    if overlap := [names[p] for p in left if stores[p].labelled.any()]:
        raise TrainingDataError(
            f"{groups[left[0]]} is on both sides of the split",
            found=f"{', '.join(overlap)} outside {named_in}",
            remedy="Name all slides of a patient, or none",
        )
    return chosen


def _drawn(stores: Sequence[Store], groups: Sequence[str], config: SplitConfig, seed: int) -> list[int]:
    labelled = [p for p, store in enumerate(stores) if store.labelled.any()]
    candidates = sorted({groups[position] for position in labelled})
    count = round(len(candidates) * config.validation_share)
    if config.validation_share > 0 and len(candidates) > 1:
        count = max(1, count)
    count = min(count, len(candidates) - 1)
    if count < 1:
        return []
    seen = [sum(_shows(stores[p]) for p in labelled if groups[p] == group) for group in candidates]
    draws = [generator(seed, "split", n).permutation(len(candidates)) for n in range(64)]

    def poverty(order: NDArray[np.int64]) -> tuple[int, int]:
        """Classes missing in training, then classes missing in validation."""
        taught = sum(np.asarray(seen[i]) for i in order[count:])
        examined = sum(np.asarray(seen[i]) for i in order[:count])
        return int(np.sum(taught == 0)), int(np.sum(examined == 0))

    best = min(draws, key=poverty)
    chosen = {candidates[i] for i in best[:count]}
    return [position for position in labelled if groups[position] in chosen]


def _shows(store: Store) -> NDArray[np.int64]:
    return np.asarray(store.class_pixels[store.labelled].sum(axis=0) > 0, dtype=np.int64)
