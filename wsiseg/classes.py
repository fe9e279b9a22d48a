"""What a pixel can mean: tissue classes, their colours, and which class contains which.

A label map is flat (the inner class wins), but a glomerulus *contains* podocytes, and its polygon must
come out whole. ``ClassSchema`` says what contains what; the order in which annotations are painted,
the union taken on export, and measurements such as podocytes per glomerulus all follow from it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigError

IGNORE_INDEX = 255
"""Label of a pixel about which nothing is known; it counts in no loss and no metric."""

MAX_CLASSES = 255
"""Label maps are uint8 and 255 is ``IGNORE_INDEX``."""


@dataclass(frozen=True, slots=True)
class TissueClass:
    """One class.

    Attributes:
        name: As written in configs and outputs, for example ``podocyte``.
        color: (red, green, blue), 0-255.
        inside: Name of the class that contains this one, or None.
        aliases: Other names under which annotations may carry it.
        nucleus: Small and numerous: objects match by centre distance, touching ones may be split.
        min_area_um2: Smaller objects are not exported.
    """

    name: str
    color: tuple[int, int, int]
    inside: str | None = None
    aliases: tuple[str, ...] = ()
    nucleus: bool = False
    min_area_um2: float = 0.0


@dataclass(frozen=True)
class ClassSchema:
    """An ordered set of classes; the position of a class is its index in every label map.

    Index 0 is the background.

    Raises:
        ConfigError: Fewer than two classes, a name or alias twice, an unknown or circular ``inside``.
    """

    classes: tuple[TissueClass, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= MAX_CLASSES:
            raise ConfigError(
                "classes",
                found=f"{len(self.classes)} classes",
                expected=f"2 to {MAX_CLASSES}, background first",
            )
        seen: dict[str, str] = {}
        for tissue_class in self.classes:
            for name in {normalise(tissue_class.name), *map(normalise, tissue_class.aliases)}:
                if name in seen:
                    raise ConfigError(
                        f"classes: {name!r} names both {seen[name]!r} and {tissue_class.name!r}"
                    )
                seen[name] = tissue_class.name
        for tissue_class in self.classes:
            self._check_ancestors(tissue_class)

    def _check_ancestors(self, tissue_class: TissueClass) -> None:
        trail = [tissue_class.name]
        while (parent := self[trail[-1]].inside) is not None:
            if parent not in self.names:
                raise ConfigError(
                    f"classes.{trail[-1]}.inside",
                    found=repr(parent),
                    expected=f"one of {', '.join(self.names)}",
                )
            if parent in trail or self.index(parent) == 0:
                raise ConfigError(f"classes.{trail[-1]}.inside: {parent!r} cannot contain it")
            trail.append(parent)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names by index."""
        return tuple(tissue_class.name for tissue_class in self.classes)

    @property
    def foreground(self) -> tuple[TissueClass, ...]:
        """All classes but the background."""
        return self.classes[1:]

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[TissueClass]:
        return iter(self.classes)

    def __getitem__(self, name: str) -> TissueClass:
        return self.classes[self.index(name)]

    def index(self, name: str) -> int:
        """Index of the class with exactly this name; ``KeyError`` where there is none."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None

    def find(self, viewer_name: str) -> TissueClass | None:
        """The class that an annotation means: by name or alias, without regard to case, space or ``_-``."""
        wanted = normalise(viewer_name)
        for tissue_class in self.classes:
            if wanted in {normalise(tissue_class.name), *map(normalise, tissue_class.aliases)}:
                return tissue_class
        return None

    def depth(self, name: str) -> int:
        """How many classes contain this one."""
        parent = self[name].inside
        return 0 if parent is None else 1 + self.depth(parent)

    def paint_order(self) -> tuple[str, ...]:
        """Foreground names in the order in which to paint them: containers first, then by index."""
        return tuple(
            sorted((c.name for c in self.foreground), key=lambda name: (self.depth(name), self.index(name)))
        )

    def paint_ranks(self) -> dict[str, int]:
        """Place of each class when all are painted: the background first, containers before their content."""
        return {name: rank for rank, name in enumerate((self.names[0], *self.paint_order()))}

    def whole(self, name: str) -> tuple[int, ...]:
        """Indices whose union is the whole of this class: itself and every class inside it."""
        return tuple(
            index
            for index, tissue_class in enumerate(self.classes)
            if name in self._lineage(tissue_class.name)
        )

    def _lineage(self, name: str) -> tuple[str, ...]:
        parent = self[name].inside
        return (name,) if parent is None else (name, *self._lineage(parent))

    def whole_mask(self, label: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
        """Where a label map shows this class or a class inside it; same shape as ``label``."""
        first, *others = self.whole(name)
        mask: NDArray[np.bool_] = label == first
        # Comparing for each class is many times faster than looking every pixel up in a table.
        for index in others:
            mask |= label == index
        return mask

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """Colours ``(256, 3)`` by label; black for labels that no class has."""
        table = np.zeros((256, 3), dtype=np.uint8)
        for index, tissue_class in enumerate(self.classes):
            table[index] = tissue_class.color
        return table

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over what the indices mean: names, order and containment, not colours."""
        meaning = [[tissue_class.name, tissue_class.inside] for tissue_class in self.classes]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data, for stores and checkpoints."""
        return [
            {
                "name": c.name,
                "color": list(c.color),
                "inside": c.inside,
                "aliases": list(c.aliases),
                "nucleus": c.nucleus,
                "min_area_um2": c.min_area_um2,
            }
            for c in self.classes
        ]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Self:
        """The inverse of ``to_json``."""
        return cls(
            tuple(
                TissueClass(
                    name=str(entry["name"]),
                    color=(int(entry["color"][0]), int(entry["color"][1]), int(entry["color"][2])),
                    inside=entry.get("inside"),
                    aliases=tuple(entry.get("aliases", ())),
                    nucleus=bool(entry.get("nucleus", False)),
                    min_area_um2=float(entry.get("min_area_um2", 0.0)),
                )
                for entry in data
            )
        )


def normalise(name: str) -> str:
    """A class name without regard to case, surrounding space, or space, hyphen and underscore inside."""
    return re.sub(r"[\s_\-]+", "_", name.strip().lower())


def default_schema() -> ClassSchema:
    """The four classes of the paper: background, glomerulus, podocyte, non_podocyte."""
    return ClassSchema(
        (
            TissueClass("background", (255, 255, 255)),
            TissueClass("glomerulus", (46, 134, 222), aliases=("glomeruli", "glom"), min_area_um2=500.0),
            TissueClass(
                "podocyte",
                (232, 65, 24),
                inside="glomerulus",
                aliases=("podocytes",),
                nucleus=True,
                min_area_um2=8.0,
            ),
            TissueClass(
                "non_podocyte",
                (76, 209, 55),
                inside="glomerulus",
                aliases=("other nucleus", "mesangial", "endothelial"),
                nucleus=True,
                min_area_um2=8.0,
            ),
        )
    )
