"""ASAP XML: one group a class, one outline an annotation, holes cut open or in groups of their own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

from shapely import Polygon
from shapely.geometry.polygon import LinearRing

from wsiseg.annotation.asap_reader import HOLE_SUFFIX
from wsiseg.annotation.holes import without_holes
from wsiseg.annotation.model import Annotation, Polygonal
from wsiseg.annotation.repair import on_grid, parts_of
from wsiseg.annotation.writing import ClassNames, WriteReport, gridded, one_line, point_texts
from wsiseg.classes import ClassSchema
from wsiseg.files import atomic_path

DECIMALS = 3
"""ASAP keeps float32: 1/128 px at 131,072 px, so three decimals lose nothing that it would hold."""

Holes = Literal["split", "group", "drop"]

_HOLE_LOSS: dict[Holes, str] = {
    "split": "holes (cut open: several pieces, same area)",
    "group": f"holes (in groups <class>{HOLE_SUFFIX})",
    "drop": "holes (filled)",
}


def write_asap(
    path: Path | str,
    objects: Iterable[Annotation],
    schema: ClassSchema,
    *,
    holes: Holes = "split",
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write ASAP annotations in level-0 pixels of the full plane; the same objects give the same bytes.

    ASAP knows neither holes nor objects of several parts: each part becomes an annotation.

    Args:
        path: ``<slide stem>.xml`` beside the slide is opened with the slide.
        objects: Any iterable; never held in memory as a whole.
        schema: Gives names and colours to the classes that it knows.
        holes: ``split`` cuts outlines into pieces without holes, of the same area together; ``group``
            writes holes as outlines of a group ``<class>__hole`` that is painted after the class, and that
            wsiseg reads back; ``drop`` fills them.
        metadata: Texts kept as attributes of every group.

    Raises:
        OutputError: The file cannot be written.
    """
    writer = _Writer(ClassNames(schema), holes)
    with atomic_path(Path(path)) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<ASAP_Annotations>\n\t<Annotations>\n')
        for annotation, polygon in gridded(objects, writer.names, DECIMALS):
            stream.writelines(writer.annotation(annotation, polygon))
        stream.write("\t</Annotations>\n\t<AnnotationGroups>\n")
        stream.writelines(writer.groups(metadata or {}))
        stream.write("\t</AnnotationGroups>\n</ASAP_Annotations>\n")
    return writer.report


@dataclass
class _Writer:
    names: ClassNames
    holes: Holes
    report: WriteReport = field(default_factory=WriteReport)

    def __post_init__(self) -> None:
        self._colors: dict[str, tuple[int, int, int]] = {}
        self._with_holes: set[str] = set()
        self._used: set[str] = set()
        self._number = 0

    def annotation(self, annotation: Annotation, polygon: Polygonal | None) -> Iterator[str]:
        """The XML of one object: an annotation for each part, and for each hole where they are kept so."""
        class_name = self.names.name(annotation)
        group = _group_name(class_name)
        color = self.names.color(annotation)
        if group is not None:
            self._colors.setdefault(group, color)
        if polygon is None:
            self.report.lose("objects smaller than 0.001 px")
            return
        parts = parts_of(polygon)
        self.report.count_parts(annotation, class_name, parts, becomes="an annotation", measurements=False)
        if any(part.interiors for part in parts):
            self.report.lose(_HOLE_LOSS[self.holes])
        for part in parts:
            for piece in self._pieces(part, group):
                name = self._unique(annotation.name)
                yield _element(name, group, color, piece.exterior)
                if group is not None and self.holes == "group":
                    yield from self._hole_group(piece, name, group, color)

    def _pieces(self, part: Polygon, group: str | None) -> list[Polygon]:
        if not part.interiors or (self.holes == "group" and group is not None):
            return [part]
        if self.holes == "drop":
            return [Polygon(part.exterior)]
        # A cut meets edges between grid points, so its ends are rounded too.
        rounded = (on_grid(piece, DECIMALS) for piece in without_holes(part))
        return [Polygon(p.exterior) for piece in rounded if piece is not None for p in parts_of(piece)]

    def _hole_group(
        self, piece: Polygon, name: str, group: str, color: tuple[int, int, int]
    ) -> Iterator[str]:
        for number, ring in enumerate(piece.interiors, start=1):
            self._with_holes.add(group)
            yield _element(f"{name} hole {number}", group + HOLE_SUFFIX, color, ring)

    def _unique(self, wanted: str | None) -> str:
        """The object's own name where nobody has it yet, else ``Annotation 17``."""
        number, self._number = self._number, self._number + 1
        name = one_line(wanted or "")
        if not name or name in self._used or " hole " in name:
            name = f"Annotation {number}"
        while name in self._used:
            name += "'"
        self._used.add(name)
        return name

    def groups(self, metadata: Mapping[str, str]) -> Iterator[str]:
        """One group a class in paint order, each followed by the group of its holes."""
        for group in self.names.ordered(self._colors):
            yield _group_element(group, self._colors[group], metadata)
            if group in self._with_holes:
                yield _group_element(group + HOLE_SUFFIX, self._colors[group], {})


def _group_name(name: str | None) -> str | None:
    """``None`` is ASAP's word for no group, so a class of that name needs another."""
    return "None_" if name == "None" else name


def _element(name: str, group: str | None, color: tuple[int, int, int], ring: LinearRing) -> str:
    coordinates = "".join(
        [
            f'\t\t\t\t<Coordinate Order="{order}" X="{x}" Y="{y}" />\n'
            for order, (x, y) in enumerate(point_texts(ring))
        ]
    )
    return (
        f'\t\t<Annotation Name={quoteattr(name)} Type="Polygon" PartOfGroup={quoteattr(group or "None")} '
        f'Color="{_hex(color)}">\n\t\t\t<Coordinates>\n{coordinates}\t\t\t</Coordinates>\n\t\t</Annotation>\n'
    )


def _group_element(name: str, color: tuple[int, int, int], metadata: Mapping[str, str]) -> str:
    attributes = "".join(
        f"\t\t\t\t<Attribute {key}={quoteattr(one_line(str(value)))} />\n"
        for key, value in ((xml_name(key), value) for key, value in metadata.items())
    )
    inside = f"<Attributes>\n{attributes}\t\t\t</Attributes>" if attributes else "<Attributes />"
    return (
        f'\t\t<Group Name={quoteattr(name)} PartOfGroup="None" Color="{_hex(color)}">\n'
        f"\t\t\t{inside}\n\t\t</Group>\n"
    )


def xml_name(text: str) -> str:
    """A legal XML attribute name made from any text."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in text)
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02X}{:02X}{:02X}".format(*color)
