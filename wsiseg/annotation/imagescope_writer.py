"""Aperio ImageScope XML: one layer a class, holes as negative regions that follow their parent."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.sax.saxutils import quoteattr

from shapely import Polygon
from shapely.geometry.polygon import LinearRing

from wsiseg.annotation.model import Annotation, Polygonal
from wsiseg.annotation.repair import parts_of
from wsiseg.annotation.writing import ClassNames, ClassSpool, WriteReport, gridded, one_line, point_texts
from wsiseg.classes import ClassSchema
from wsiseg.files import atomic_path
from wsiseg.geometry import Resolution

DECIMALS = 3

_UNNAMED = ""
_HEADERS = (
    ("9999", "Region"),
    ("9997", "Length"),
    ("9996", "Area"),
    ("9998", "Text"),
    ("1", "Description"),
)


def write_imagescope(
    path: Path | str,
    objects: Iterable[Annotation],
    schema: ClassSchema,
    *,
    resolution: Resolution | None = None,
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write ImageScope annotations in level-0 pixels of the full plane; same objects, same bytes.

    Args:
        path: ``<slide stem>.xml`` beside the slide is opened with the slide.
        objects: Any iterable; kept on disk class by class, since a layer is one piece.
        schema: Gives names and colours to the classes that it knows.
        resolution: The slide's; without it lengths and areas are written in pixels only.
        metadata: Texts kept as attributes of every layer.

    Raises:
        OutputError: The file cannot be written.
    """
    with ClassSpool() as spool:
        writer = _Writer(ClassNames(schema), spool, resolution)
        for annotation, polygon in gridded(objects, writer.names, DECIMALS):
            writer.add(annotation, polygon)
        with atomic_path(Path(path)) as partial, partial.open("wb") as stream:
            writer.write(stream, metadata or {})
    return writer.report


@dataclass
class _Writer:
    names: ClassNames
    spool: ClassSpool
    resolution: Resolution | None
    report: WriteReport = field(default_factory=WriteReport)

    def __post_init__(self) -> None:
        self._colors: dict[str, tuple[int, int, int]] = {}

    def add(self, annotation: Annotation, polygon: Polygonal | None) -> None:
        """Put the regions of one object into its layer."""
        if polygon is None:
            self.report.lose("objects smaller than 0.001 px")
            return
        name = self.names.name(annotation)
        layer = name or _UNNAMED
        self._colors.setdefault(layer, self.names.color(annotation))
        parts = parts_of(polygon)
        self.report.count_parts(annotation, name, parts, becomes="a region", measurements=False)
        for part in parts:
            parent = self._region(layer, part.exterior, annotation.name, parent=0)
            for hole in part.interiors:
                self._region(layer, hole, None, parent=parent)

    def _region(self, layer: str, ring: LinearRing, text: str | None, *, parent: int) -> int:
        number = self.spool.next_number(layer)
        negative = int(parent > 0)
        attributes: dict[str, str | int] = {
            "Id": number,
            "Type": 0,
            "Zoom": 1,
            "Selected": 0,
            "ImageLocation": "",
            "ImageFocus": -1,
            **self._sizes(ring),
            "Text": one_line(text or ""),
            "NegativeROA": negative,
            "InputRegionId": parent,
            "Analyze": 0,
            "DisplayId": number,
        }
        vertices = "".join([f'\t\t\t\t\t<Vertex X="{x}" Y="{y}" Z="0"/>\n' for x, y in point_texts(ring)])
        element = (
            f"\t\t\t<Region{_attributes(attributes)}>\n\t\t\t\t<Attributes/>\n\t\t\t\t<Vertices>\n"
            f"{vertices}\t\t\t\t</Vertices>\n\t\t\t</Region>\n"
        )
        self.spool.add(layer, element.encode())
        return number

    def _sizes(self, ring: LinearRing) -> dict[str, str]:
        length, area = ring.length, Polygon(ring).area
        sizes = {"Length": f"{length:.1f}", "Area": f"{area:.1f}"}
        if self.resolution is not None:
            mpp = (self.resolution.mpp_x + self.resolution.mpp_y) / 2
            sizes["LengthMicrons"] = f"{length * mpp:.1f}"
            sizes["AreaMicrons"] = f"{area * self.resolution.pixel_area_um2:.1f}"
        return sizes

    def write(self, stream: IO[bytes], metadata: Mapping[str, str]) -> None:
        """The document, layer by layer in paint order."""
        mpp = "" if self.resolution is None else f' MicronsPerPixel="{self.resolution.mpp_x:.6f}"'
        stream.write(f"<Annotations{mpp}>\n".encode())
        for number, layer in enumerate(self.names.ordered(self.spool.names()), start=1):
            stream.write(_layer_head(number, layer, self._colors[layer], metadata).encode())
            stream.writelines(self.spool.blocks(layer))
            stream.write(b"\t\t</Regions>\n\t\t<Plots/>\n\t</Annotation>\n")
        stream.write(b"</Annotations>\n")


def _layer_head(number: int, name: str, color: tuple[int, int, int], metadata: Mapping[str, str]) -> str:
    attributes: dict[str, str | int] = {
        "Id": number,
        "Name": name,
        "ReadOnly": 0,
        "NameReadOnly": 0,
        "LineColorReadOnly": 0,
        "Incremental": 0,
        "Type": 4,
        "LineColor": colorref(color),
        "Visible": 1,
        "Selected": int(number == 1),
        "MarkupImagePath": "",
        "MacroName": "",
    }
    described = "".join(_layer_attributes(metadata))
    headers = "".join(
        f'\t\t\t\t<AttributeHeader Id="{code}" Name="{title}" ColumnWidth="-1"/>\n'
        for code, title in _HEADERS
    )
    return (
        f"\t<Annotation{_attributes(attributes)}>\n\t\t<Attributes>\n{described}\t\t</Attributes>\n"
        f"\t\t<Regions>\n\t\t\t<RegionAttributeHeaders>\n{headers}\t\t\t</RegionAttributeHeaders>\n"
    )


def _layer_attributes(metadata: Mapping[str, str]) -> Iterator[str]:
    pairs = [("Description", ""), *((one_line(key), one_line(str(text))) for key, text in metadata.items())]
    for number, (key, text) in enumerate(pairs):
        yield f"\t\t\t<Attribute{_attributes({'Name': key, 'Id': number, 'Value': text})}/>\n"


def _attributes(values: Mapping[str, str | int]) -> str:
    return "".join(f" {key}={quoteattr(str(value))}" for key, value in values.items())


def colorref(color: tuple[int, int, int]) -> int:
    """A colour as Windows packs it: red + 256 green + 65536 blue."""
    red, green, blue = color
    return red + 256 * green + 65536 * blue
