"""A study: arms x labelled shares x seeds, from one YAML file."""

import copy
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from wsiseg.config.base import Section
from wsiseg.config.root import Config
from wsiseg.config.training import MAX_SEED
from wsiseg.config.yaml_io import find_recipe, parse_config, parse_model, read_mapping, set_key
from wsiseg.errors import ConfigError

STUDIES = "studies"
"""Folder of the shipped studies, beside the recipes."""

FROM_THE_GRID = (
    "train.seed",
    "train.split.labelled_share",
    "train.split.labelled_seed",
    "train.split.also_labelled",
)
"""Keys that a study sets by itself, in each cell."""

BASE = "base"
"""Key of an arm that begins with another base than the study's."""

ACQUIRE = "acquire"
"""Key of an arm that has more labels than its share, chosen by the model of another arm."""

Criterion = Literal["random", "entropy", "discriminator"]
"""What hidden tiles are ranked by: chance, the softmax being unsure, the discriminator finding it wrong."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


def _to_fraction(value: object) -> object:
    """``1/32``, ``0.25`` and ``1`` as a fraction; decimals as they are written, not as binary floats."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
        raise ValueError("a share is written as 1/32, 0.25 or 1")
    try:
        return Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is no share; write it as 1/32, 0.25 or 1") from None


def _of_something(share: Fraction) -> Fraction:
    if not 0 < share <= 1:
        raise ValueError(f"{share} is not above 0 and at most 1")
    return share


Share = Annotated[
    Fraction,
    BeforeValidator(_to_fraction),
    AfterValidator(_of_something),
    PlainSerializer(str, return_type=str),
]
"""Of the labels; exact, so that it can name a file."""

Settings = dict[str, Any]
"""``section.key`` -> value, as with ``--set`` on the command line."""


def _check_settings(settings: Settings) -> None:
    for key, value in settings.items():
        if key in FROM_THE_GRID:
            raise ValueError(f"{key} follows from shares and seeds; leave it out")
        # A whole section would silently take the place of the base's.
        if "." not in key or isinstance(value, dict):
            raise ValueError(f"{key!r}: write settings as section.key: value, each key for itself")


class AcquireConfig(Section):
    """One round of active learning: what a model of ``after`` would have annotated next is labelled too."""

    after: str = Field(description="The arm whose model, of the same share and seed, ranks the hidden tiles")
    by: Criterion = Field(description="What it ranks them by")
    add: Share = Field(description="How many are added, as a share of the labels")


class StudyConfig(Section):
    """What is compared with what, on which slides."""

    data: str = Field(min_length=1, description="What the slides are; said in every output")
    base: str = Field(
        "recommended", description="Recipe, or path of a YAML file, that every cell begins with"
    )
    overrides: Settings = Field(default_factory=dict, description="Settings of every cell, over the base")
    arms: dict[str, Settings] = Field(
        min_length=1,
        description="Name -> its settings, over the overrides; base: for another base, acquire: more labels",
    )
    baseline: str = Field(description="The arm that the others are compared with")
    shares: tuple[Share, ...] = Field(min_length=1, description="Of the labels, such as 1/32; 1 is all")
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(
        min_length=1, description="Each is a repetition"
    )
    test_slides: tuple[str, ...] = Field(
        (), description="Examined on; never learnt from, not even unlabelled"
    )
    folds: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Instead of test_slides: name -> test slides, each in one fold"
    )
    score: Literal["iou", "f1"] = Field("iou", description="Compared is its mean over the classes")
    draws: int = Field(2000, ge=100, description="Samples of the bootstrap")

    @field_validator("arms", "folds")
    @classmethod
    def _names_can_be_files(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a name has letters, digits, '.', '+' and '-' only")
        return value

    @field_validator("arms")
    @classmethod
    def _bases_are_names(cls, value: dict[str, Settings]) -> dict[str, Settings]:
        for name, settings in value.items():
            if not isinstance(settings.get(BASE, ""), str):
                raise ValueError(f"{name}.{BASE}: name a recipe or a YAML file")
        return value

    @field_validator("arms")
    @classmethod
    def _arms_are_settings(cls, value: dict[str, Settings]) -> dict[str, Settings]:
        for settings in value.values():
            _check_settings({key: own for key, own in settings.items() if key not in {BASE, ACQUIRE}})
        return value

    @field_validator("overrides")
    @classmethod
    def _overrides_are_settings(cls, value: Settings) -> Settings:
        _check_settings(value)
        return value

    @field_validator("shares", "seeds")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("an entry occurs twice")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.baseline not in self.arms:
            raise ValueError(f"baseline: {self.baseline!r} is not one of the arms {', '.join(self.arms)}")
        plain = [arm for arm, settings in self.arms.items() if ACQUIRE not in settings]
        for arm in self.arms:
            wanted = self.acquired(arm)
            if wanted is not None and 1 in self.shares:
                raise ValueError(f"{arm}.{ACQUIRE}: at share 1 no label is hidden; leave that share out")
            if wanted is not None and wanted.after not in plain:
                raise ValueError(
                    f"{arm}.{ACQUIRE}.after: {wanted.after!r} is none of the arms {', '.join(plain)}"
                )
        if bool(self.test_slides) == bool(self.folds):
            raise ValueError("name the test slides, either as test_slides or as folds")
        tested = [slide for slides in self.all_folds.values() for slide in slides]
        if twice := sorted({slide for slide in tested if tested.count(slide) > 1}):
            raise ValueError(f"{', '.join(twice)}: each test slide is in one fold, once")
        if empty := [name for name, slides in self.folds.items() if not slides]:
            raise ValueError(f"folds.{empty[0]} names no slide")
        return self

    def acquired(self, arm: str) -> AcquireConfig | None:
        """The labels that an arm has besides its share; None for most arms."""
        settings = self.arms[arm].get(ACQUIRE)
        if settings is None:
            return None
        try:
            return AcquireConfig.model_validate(settings)
        except ValidationError as err:
            first = err.errors()[0]
            raise ValueError(f"{arm}.{ACQUIRE}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    @property
    def all_folds(self) -> dict[str, tuple[str, ...]]:
        """Name -> test slides; a study without folds has one, named with an empty text."""
        return self.folds or {"": self.test_slides}


def load_study(path: Path) -> StudyConfig:
    """Read a study from a YAML file, or one that comes with wsiseg by its name.

    Raises:
        ConfigError: No such file, not YAML, an unknown key, a wrong value.
    """
    found = find_recipe(path, STUDIES) or path
    return parse_model(StudyConfig, read_mapping(found, shelf=STUDIES), source=str(path))


def arm_config(study: StudyConfig, arm: str) -> Config:
    """The configuration of an arm: its base, the overrides, then its own settings.

    Raises:
        ConfigError: An unknown key or a wrong value, or one that is left to the machine: cells of two
            machines could not be compared.
    """
    own = dict(study.arms[arm])
    base = Path(own.pop(BASE, study.base))
    own.pop(ACQUIRE, None)
    data = copy.deepcopy(read_mapping(find_recipe(base) or base))
    for settings, where in ((study.overrides, "overrides"), (own, f"arm {arm}")):
        for key, value in settings.items():
            set_key(data, key, copy.deepcopy(value), source=f"{where}: {key}")
    # The study has a baseline of its own; a twin beside each cell would double its cost.
    set_key(data, "train.baseline", value=False, source="study")
    config = parse_config(data, source=f"arm {arm}")
    _refuse_auto(config, arm)
    return config


def cell_config(config: Config, share: Fraction, seed: int) -> Config:
    """The configuration of an arm at one share of the labels and with one seed."""
    train = config.train
    split = train.split.model_copy(update={"labelled_share": float(share), "labelled_seed": seed})
    return config.model_copy(update={"train": train.model_copy(update={"seed": seed, "split": split})})


def _refuse_auto(config: Config, arm: str) -> None:
    """What is left to the machine would make cells of two machines differ."""
    train = config.train
    chosen = {
        "train.steps": train.steps,
        "train.precision": train.precision,
        "train.segmentor.encoder": train.segmentor.encoder,
        "train.segmentor.weights": train.segmentor.weights,
    }
    if left := [key for key, value in chosen.items() if value == "auto"]:
        raise ConfigError(
            f"arm {arm}: {', '.join(left)}",
            found="auto",
            expected="a value, so that every machine does the same",
            remedy="Set it under overrides",
        )
