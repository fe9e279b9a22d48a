"""A cell of a study, and the small JSON that it leaves behind."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from wsiseg.config import Config
from wsiseg.config.study import Criterion, StudyConfig, cell_config
from wsiseg.config.training import TrainConfig
from wsiseg.errors import StoreFormatError
from wsiseg.files import atomic_path

FORMAT = 1
"""Raised when results can no longer be read as before."""

METHOD = 2
"""Raised when a cell would be trained or examined otherwise than before; 1 where a result does not say."""

CELLS = "cells"
"""Folder of the cells in the folder of a study."""

SAMPLES = "samples"
"""Folder of the pictures of their best and worst tiles."""

_PARTS = {"key", "classes", "slides", "calibration", "discriminator", "training", "made"}
"""What the tables are made from."""

_NUMBERS = re.compile(r"\[[\s\d.,eE+-]+\]")


@dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes:
        arm: What is tried.
        share: Of the labels.
        seed: Of the training, and of which labels are kept.
        fold: Name of the fold; empty where there are none.
    """

    arm: str
    share: Fraction
    seed: int
    fold: str = ""

    @property
    def name(self) -> str:
        """Of its file: ``A+_1-32_0``, with the fold behind it where there are folds."""
        parts = [self.arm, share_name(self.share), str(self.seed), self.fold]
        return "_".join(part for part in parts if part)

    def file(self, out: Path) -> Path:
        """Where its result lies in the folder of a study."""
        return out / CELLS / f"{self.name}.json"

    def picture(self, out: Path) -> Path:
        """Where its best and worst tiles are drawn."""
        return out / SAMPLES / f"{self.name}.png"


@dataclass(frozen=True)
class Acquired:
    """Why an arm has more labels than its share.

    Attributes:
        by: What hidden tiles were ranked by.
        add: How many were added, as a share of the labels.
        train: The method whose model ranked them, with share and seed.
        weights: Digest of the file that its encoder begins with, or None.
    """

    by: Criterion
    add: Fraction
    train: TrainConfig
    weights: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        train = self.train.model_dump(mode="json")
        return {"by": self.by, "add": str(self.add), "weights": self.weights, "train": train}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The same from plain data.

        Raises:
            ValueError: It is something else.
        """
        try:
            train = TrainConfig.model_validate(data["train"])
            return cls(data["by"], Fraction(data["add"]), train, data["weights"])
        except (KeyError, TypeError, ArithmeticError) as err:
            raise ValueError(str(err)) from err


@dataclass(frozen=True)
class CellKey:
    """Everything that decides the result of a cell.

    Attributes:
        train: The method, with share and seed.
        stores: Name of a slide -> key of its tile store, of all slides that teach or examine.
        test_slides: Those that examine.
        weights: Digest of the file that the encoder begins with; None where it begins with none.
        acquired: Where the labels beyond the share come from; None where there are none.
    """

    train: TrainConfig
    stores: Mapping[str, str]
    test_slides: tuple[str, ...]
    weights: str | None = None
    acquired: Acquired | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, every default written out."""
        return {
            "format": FORMAT,
            "test_slides": list(self.test_slides),
            "stores": dict(sorted(self.stores.items())),
            "weights": self.weights,
            "acquired": None if self.acquired is None else self.acquired.to_json(),
            "train": self.train.model_dump(mode="json"),
        }

    def fits(self, data: Mapping[str, Any]) -> bool:
        """Whether a result with this key is the one that is wanted.

        A setting that the result does not know, being older than the setting, counts as at its default; a
        default that has changed since does not pass.
        """
        own = self.to_json()
        if any(data.get(part) != own[part] for part in ("format", "test_slides", "stores", "weights")):
            return False
        try:
            return _method(data) == _method(own)
        except ValueError:
            return False


def _method(key: Mapping[str, Any]) -> tuple[TrainConfig, Acquired | None]:
    """How a cell is trained, by its key as plain data."""
    acquired = key.get("acquired")
    found = None if acquired is None else Acquired.from_json(acquired)
    return TrainConfig.model_validate(key.get("train")), found


def acquired_key(
    study: StudyConfig, arms: Mapping[str, Config], cell: Cell, weights: Mapping[str, str | None]
) -> Acquired | None:
    """What decides the labels that a cell has beyond its share.

    Args:
        study: The study.
        arms: Its arms, configured.
        cell: Which one.
        weights: Of each arm, the digest of the file that its encoder begins with.
    """
    wanted = study.acquired(cell.arm)
    if wanted is None:
        return None
    train = cell_config(arms[wanted.after], cell.share, cell.seed).train
    return Acquired(wanted.by, wanted.add, train, weights[wanted.after])


def share_name(share: Fraction) -> str:
    """A share in a file name: ``1-32``, or ``1``."""
    return str(share).replace("/", "-")


def read_cell(path: Path) -> dict[str, Any] | None:
    """The result of a cell; None where there is none yet.

    Raises:
        StoreFormatError: The file is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as err:
        raise StoreFormatError(
            f"{path} cannot be read as JSON ({err})", remedy="Remove it, and the cell is done again"
        ) from err
    if not isinstance(data, dict) or not data.keys() >= _PARTS or not isinstance(data["key"], dict):
        raise StoreFormatError(f"{path} is no result of a study", remedy="Remove it, or name another --out")
    return data


def write_cell(path: Path, data: Mapping[str, Any]) -> None:
    """Write a result in one move: indented, but rows of numbers on one line."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    text = _NUMBERS.sub(lambda row: "[" + ",".join(row.group()[1:-1].replace(",", " ").split()) + "]", text)
    with atomic_path(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
