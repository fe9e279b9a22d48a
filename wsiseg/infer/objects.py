"""The objects of a slide: outlines, names, measurements, and which one lies in which."""

import csv
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.annotation import Annotation
from wsiseg.classes import ClassSchema
from wsiseg.geometry import GridFrame
from wsiseg.infer.measure import means, perimeters
from wsiseg.infer.polygonfile import Outlines
from wsiseg.infer.polygons import contains, parents
from wsiseg.tilestore import MaskStore
from wsiseg.trace import Polygons

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsiseg/predictions")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ObjectTable:
    """All objects of a slide, a column each, containers before what they contain.

    Attributes:
        schema: The classes.
        outlines: As they are written, in grid pixels; they wait on disk.
        frame: The grid frame.
        class_index: Class of each.
        number: Position within the class, from 1, by topmost and then leftmost pixel.
        area_um2: Area of the predicted pixels, filled holes included.
        perimeter_um: Length of the outline, holes included, pixel steps smoothed.
        mean_probability: Mean probability that the network gave to what it predicted there.
        centroid_l0: ``(n, 2)``, x and y.
        parent: Row of the object that contains it, or -1.
        identity: What the ids are made from: slide and model.
        mean_confidence: Mean of how right the discriminator thinks it is; None where it was not asked.
    """

    schema: ClassSchema
    outlines: Outlines
    frame: GridFrame
    class_index: Ints
    number: Ints
    area_um2: Floats
    perimeter_um: Floats
    mean_probability: Floats
    centroid_l0: Floats
    parent: Ints
    identity: str
    mean_confidence: Floats | None = None

    def __len__(self) -> int:
        return len(self.class_index)

    @property
    def counts(self) -> dict[str, int]:
        """Objects by foreground class."""
        return {
            name: int((self.class_index == self.schema.index(name)).sum()) for name in self.schema.names[1:]
        }

    @property
    def outside(self) -> int:
        """Objects outside the class that should contain them."""
        needs_parent = np.array([c.inside is not None for c in self.schema])
        return int((needs_parent[self.class_index] & (self.parent < 0)).sum())

    def class_name(self, row: int) -> str:
        """Class of an object."""
        name: str = self.schema.names[self.class_index[row]]
        return name

    def name(self, row: int) -> str:
        """For people: ``Glomerulus 12``."""
        return f"{self.class_name(row).replace('_', ' ').capitalize()} {self.number[row]}"

    def id(self, row: int) -> str:
        """A UUID that is the same whenever the same model predicts the same slide."""
        key = "\x1f".join((self.identity, self.class_name(row), str(self.number[row])))
        return str(uuid.uuid5(NAMESPACE, key))

    def inside(self, class_name: str) -> tuple[Ints, Floats]:
        """For every object, how many objects of a class lie in it, at any depth, and their area in um2."""
        mine = np.flatnonzero(self.class_index == self.schema.index(class_name))
        count = np.zeros(len(self), dtype=np.int64)
        area = np.zeros(len(self))
        ancestor = self.parent[mine]
        while (held := ancestor >= 0).any():
            mine, ancestor = mine[held], ancestor[held]
            count += np.bincount(ancestor, minlength=len(self))
            area += np.bincount(ancestor, weights=self.area_um2[mine], minlength=len(self))
            ancestor = self.parent[ancestor]
        return count, area

    def measurements(self) -> dict[str, Floats]:
        """Named columns; NaN where one has no meaning for an object.

        A container has, for every class inside it, ``<class>_count``, ``<class>_density_per_mm2`` (count
        by its own area) and ``<class>_area_share``.
        """
        columns = {
            "area_um2": self.area_um2,
            "perimeter_um": self.perimeter_um,
            "mean_probability": self.mean_probability,
        }
        if self.mean_confidence is not None:
            columns["mean_confidence"] = self.mean_confidence
        for inner in self.schema.foreground:
            if inner.inside is None:
                continue
            holders = [i for i in range(len(self.schema)) if self._may_hold(i, inner.name)]
            applies = np.isin(self.class_index, holders)
            count, area = self.inside(inner.name)
            figures = {
                f"{inner.name}_count": count,
                f"{inner.name}_density_per_mm2": count / self.area_um2 * 1e6,
                f"{inner.name}_area_share": area / self.area_um2,
            }
            columns |= {key: np.where(applies, values, np.nan) for key, values in figures.items()}
        return columns

    def _may_hold(self, class_index: int, name: str) -> bool:
        holder = self.schema.names[class_index]
        return holder != name and self.schema.index(name) in self.schema.whole(holder)

    def annotations(self) -> Iterator[Annotation]:
        """The objects as annotations, in order."""
        columns = {key: np.round(values, 4) for key, values in self.measurements().items()}
        for row, polygon in enumerate(chain.from_iterable(self.polygons_l0())):
            figures = {key: float(values[row]) for key, values in columns.items()}
            yield Annotation(
                polygon=polygon,
                class_name=self.class_name(row),
                name=self.name(row),
                id=self.id(row),
                measurements={key: value for key, value in figures.items() if not np.isnan(value)},
                color=self.schema.classes[self.class_index[row]].color,
                parent=self.id(int(self.parent[row])) if self.parent[row] >= 0 else None,
            )

    def polygons_l0(self, of_class: str | None = None) -> Iterator[Polygons]:
        """Outlines in level-0 pixels, in order, some megabytes at a time.

        Args:
            of_class: Only those of this class.
        """
        outlines = self.outlines
        if of_class is not None:
            outlines = outlines.at(self.class_index == self.schema.index(of_class))
        for batch in outlines.batches():
            yield np.asarray(shapely.transform(batch.read(), self.frame.points_to_l0), dtype=object)

    def write_csv(self, path: Path) -> None:
        """One line an object; an empty cell where a measurement has no meaning for it."""
        columns = self.measurements()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "name", "class", "parent", "centroid_x_px", "centroid_y_px", *columns])
            for row in range(len(self)):
                parent = self.name(int(self.parent[row])) if self.parent[row] >= 0 else ""
                centre = [f"{value:.2f}" for value in self.centroid_l0[row]]
                figures = [_cell(values[row]) for values in columns.values()]
                writer.writerow(
                    [self.id(row), self.name(row), self.class_name(row), parent, *centre, *figures]
                )


def build_table(
    traced: dict[str, Outlines],
    outlines: dict[str, Outlines],
    schema: ClassSchema,
    *,
    frame: GridFrame,
    pixel_area_um2: float,
    probability: MaskStore,
    confidence: MaskStore | None = None,
    identity: str,
) -> ObjectTable:
    """Measure the objects of a slide.

    Args:
        traced: Outlines along pixel edges, in grid pixels, by class in paint order.
        outlines: The same objects as they are to be written, simplified or not, in grid pixels.
        schema: The classes.
        frame: The grid frame.
        pixel_area_um2: Area of a grid pixel.
        probability: Of what was predicted, in steps of 1 / 255.
        confidence: The discriminator's, in steps of 1 / 255.
        identity: What the ids are made from.
    """
    names = [name for name in schema.paint_order() if len(traced[name])]
    file = traced[schema.paint_order()[0]].file
    exact = Outlines.joined([traced[name] for name in names], file)
    sizes = [len(traced[name]) for name in names]
    figures = exact.map(_figures, columns=4)
    return ObjectTable(
        schema=schema,
        outlines=Outlines.joined([outlines[name] for name in names], file),
        frame=frame,
        class_index=np.repeat([schema.index(name) for name in names], sizes).astype(np.int64),
        number=np.concatenate([np.zeros(0, np.int64), *(np.arange(1, size + 1) for size in sizes)]),
        area_um2=figures[:, 0] * pixel_area_um2,
        perimeter_um=figures[:, 1] * pixel_area_um2**0.5,
        mean_probability=means(exact, probability) / 255,
        mean_confidence=None if confidence is None else means(exact, confidence) / 255,
        centroid_l0=frame.points_to_l0(figures[:, 2:]),
        parent=parents(traced, names, schema),
        identity=identity,
    )


def _figures(polygons: Polygons) -> Floats:
    """Area, perimeter, and x and y of the centroid: ``(n, 4)``."""
    centres = shapely.get_coordinates(shapely.centroid(polygons))
    return np.column_stack([shapely.area(polygons), perimeters(polygons), centres])


def drop_outside(objects: dict[str, Outlines], schema: ClassSchema) -> dict[str, Outlines]:
    """Leave out the objects that lie outside the class that should contain them."""
    kept = dict(objects)
    for name in schema.paint_order():
        holder = schema[name].inside
        if holder is not None:
            _, inside = contains(kept[holder], kept[name])
            kept[name] = kept[name].at(np.unique(inside))
    return kept


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")
