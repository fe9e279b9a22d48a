"""The finished cells of a study, sorted so that they can be compared."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.config.study import StudyConfig, arm_config, cell_config
from wsiseg.errors import StoreFormatError
from wsiseg.study.cells import CELLS, Cell, CellKey, acquired_key, read_cell

Wanted = Callable[[Cell, Mapping[str, Any]], bool]
"""Whether a result, by its key, is the one that the study asks for."""


@dataclass(frozen=True)
class Results:
    """The results of a study.

    Attributes:
        study: What was asked for.
        cells: The finished cells.
        missing: Names of the cells that are not there.
        notes: What the reader should know.
    """

    study: StudyConfig
    cells: Mapping[Cell, Mapping[str, Any]]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where there is no cell."""
        return tuple(next(iter(self.cells.values()))["classes"]) if self.cells else ()

    def seeds(self, *arms: str, share: Fraction) -> tuple[int, ...]:
        """The seeds with which every one of these arms is finished in all folds."""
        return tuple(
            seed
            for seed in self.study.seeds
            if all(Cell(arm, share, seed, f) in self.cells for arm in arms for f in self.study.all_folds)
        )

    def of(self, arm: str, share: Fraction, seeds: Sequence[int]) -> list[list[Mapping[str, Any]]]:
        """The results of an arm, ``[seed][fold]``."""
        return [[self.cells[Cell(arm, share, seed, f)] for f in self.study.all_folds] for seed in seeds]

    def counts(self, arm: str, share: Fraction, seeds: Sequence[int]) -> NDArray[np.int64]:
        """Confusion matrices ``(S, U, K, K)``: each seed, each block of the test slides of all folds."""
        side = len(self.classes)
        rows = [
            [row for cell in folds for slide in cell["slides"] for row in slide["counts"]]
            for folds in self.of(arm, share, seeds)
        ]
        return np.array(rows, dtype=np.int64).reshape(len(seeds), -1, side, side)

    def slide_of_unit(self, arm: str, share: Fraction, seed: int) -> NDArray[np.int64]:
        """Number of the slide of each block, ``(U,)``."""
        slides = [slide for cell in self.of(arm, share, [seed])[0] for slide in cell["slides"]]
        return np.repeat(np.arange(len(slides)), [len(slide["counts"]) for slide in slides])


def by_config(study: StudyConfig) -> Wanted:
    """Take results by their configuration alone; the tiles need not be there.

    Raises:
        ConfigError: An arm cannot be configured.
    """
    arms = {arm: arm_config(study, arm) for arm in study.arms}

    def wanted(cell: Cell, key: Mapping[str, Any]) -> bool:
        train = cell_config(arms[cell.arm], cell.share, cell.seed).train
        tiles, weights = key.get("stores", {}), key.get("weights")
        # Of the other arm too, the file need not be there.
        known = key.get("acquired")
        others = dict.fromkeys(study.arms, known.get("weights") if isinstance(known, dict) else None)
        acquired = acquired_key(study, arms, cell, others)
        return CellKey(train, tiles, study.all_folds[cell.fold], weights, acquired).fits(key)

    return wanted


def collect(study: StudyConfig, planned: Sequence[Cell], out: Path, wanted: Wanted) -> Results:
    """Read the cells of a study.

    Raises:
        StoreFormatError: A result is damaged.
    """
    found, stale = {}, []
    for cell in planned:
        data = read_cell(cell.file(out))
        if data is not None and wanted(cell, data["key"]):
            found[cell] = data
        elif data is not None:
            stale.append(cell.name)
    odd = _of_other_tiles(found)
    cells = {cell: data for cell, data in found.items() if cell not in odd}
    _check_alike(cells)
    names = {cell.name for cell in planned}
    # What begins with a dot is being written, or was when its writer died.
    there = {path.stem for path in (out / CELLS).glob("*.json") if not path.name.startswith(".")}
    strangers = sorted(there - names)
    notes = [
        f"{len(which)} {what}: {', '.join(which[:5])}{' ...' if len(which) > 5 else ''}"
        for which, what in (
            (stale, "results of another configuration or other tiles were left out"),
            ([cell.name for cell in odd], "results of other tiles than most were left out"),
            (strangers, "results in the folder are not of this grid"),
        )
        if which
    ]
    notes += _of_several_methods(cells)
    missing = tuple(cell.name for cell in planned if cell not in cells)
    return Results(study, cells, missing, tuple(notes))


def _of_other_tiles(found: Mapping[Cell, Mapping[str, Any]]) -> list[Cell]:
    """Cells whose tiles are not those of most cells of their fold."""
    tiles = {cell: json.dumps(data["key"]["stores"], sort_keys=True) for cell, data in found.items()}
    usual = {
        fold: Counter(text for cell, text in tiles.items() if cell.fold == fold).most_common(1)[0][0]
        for fold in {cell.fold for cell in tiles}
    }
    return [cell for cell, text in tiles.items() if text != usual[cell.fold]]


def _of_several_methods(cells: Mapping[Cell, Mapping[str, Any]]) -> list[str]:
    """Says so where differences between cells may be those between two versions of the program."""
    by_method: dict[int, list[str]] = {}
    for cell, data in cells.items():
        by_method.setdefault(data["made"].get("method", 1), []).append(cell.name)
    if len(by_method) < 2:
        return []
    fewest = min(by_method.values(), key=len)
    shown = f"{', '.join(fewest[:5])}{' ...' if len(fewest) > 5 else ''}"
    versions = " and ".join(map(str, sorted(by_method)))
    return [
        f"cells were made by versions {versions} of the training, which differ ({len(fewest)} are unlike the "
        f"others: {shown}); remove one kind to have it made anew"
    ]


def _check_alike(cells: Mapping[Cell, Mapping[str, Any]]) -> None:
    """Cells are compared block by block, so a fold's blocks must be the same in all of them."""
    seen: dict[str, tuple[str, Any]] = {}
    for cell, data in cells.items():
        blocks = [data["classes"], *([slide["slide"], slide["blocks"]] for slide in data["slides"])]
        first, own = seen.setdefault(cell.fold, (cell.name, blocks))
        if own != blocks:
            raise StoreFormatError(
                f"the results of {cell.name} and {first} are not of the same tiles",
                remedy="Remove one of the two, and the cell is done again",
            )
