"""A label mask as a pyramidal OME-TIFF that QuPath, OMERO and napari open.

Tiled, Deflate-compressed, one uint8 channel, smaller levels as SubIFDs of the first page (OME-TIFF 6.0).
Smaller levels take every second pixel of the level before: a class is never averaged with another.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiseg import __version__
from wsiseg.classes import ClassSchema
from wsiseg.geometry import Box
from wsiseg.infer.polygons import bands
from wsiseg.progress import Progress
from wsiseg.tilestore import MaskStore

TILE_PX = 512
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
CLASSES_NAMESPACE = "wsiseg/classes"


def write_label_image(
    path: Path,
    label: MaskStore,
    schema: ClassSchema,
    *,
    mpp: tuple[float, float],
    name: str,
    progress: Progress,
) -> None:
    """Write a label mask; the same mask gives the same bytes.

    Args:
        path: Where.
        label: The mask.
        schema: Names and colours of the labels.
        mpp: Micrometres that a mask pixel measures, (x, y).
        name: Name of the image, that of the slide.
        progress: Told of each tile.
    """
    width, height = label.size_gr
    levels = level_count(width, height)
    progress.start("writing the mask", sum(len(_boxes(label.size_gr, level)) for level in range(levels)))
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "tile": (TILE_PX, TILE_PX),
        "compression": "zlib",
        "photometric": "palette",
        "colormap": _color_map(schema),
        "metadata": None,
        # Tiles that are compressed in one go; the default would gather 512 MB of them.
        "buffersize": 1 << 23,
        "software": f"wsiseg {__version__}",
    }
    source, per_cm = _Levels(label), (1e4 / mpp[0], 1e4 / mpp[1])
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            shape = (_level_side(height, level), _level_side(width, level))
            writer.write(
                source.tiles(level, progress),
                shape=shape,
                subifds=levels - 1 if level == 0 else None,
                subfiletype=0 if level == 0 else 1,
                description=ome_xml(schema, label.size_gr, mpp, name) if level == 0 else None,
                resolution=(per_cm[0] / 2**level, per_cm[1] / 2**level),
                resolutionunit="CENTIMETER",
                **options,
            )


def level_count(width: int, height: int) -> int:
    """Levels until the longer side fits a tile."""
    return 1 + int((max(width, height) - 1) // TILE_PX).bit_length()


def ome_xml(schema: ClassSchema, size: tuple[int, int], mpp: tuple[float, float], name: str) -> bytes:
    """The OME-XML header: physical pixel size, and each class with its label and colour.

    OME-XML has no element for the meaning of a label, so classes are a map annotation, label to
    ``name #rrggbb``, and the channel's name lists them. The same colours are the TIFF's own palette: QuPath
    reads such a file as plain 8-bit labels, picture viewers show the colours.
    """
    ET.register_namespace("", OME)
    root = ET.Element(f"{{{OME}}}OME", {"Creator": f"wsiseg {__version__}"})
    image = ET.SubElement(root, f"{{{OME}}}Image", {"ID": "Image:0", "Name": name})
    pixels = ET.SubElement(
        image,
        f"{{{OME}}}Pixels",
        {
            "ID": "Pixels:0",
            "DimensionOrder": "XYCZT",
            "Type": "uint8",
            "SizeX": str(size[0]),
            "SizeY": str(size[1]),
            "SizeC": "1",
            "SizeZ": "1",
            "SizeT": "1",
            "PhysicalSizeX": repr(mpp[0]),
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": repr(mpp[1]),
            "PhysicalSizeYUnit": "µm",
        },
    )
    classes = ", ".join(f"{index} {tissue_class.name}" for index, tissue_class in enumerate(schema))
    ET.SubElement(pixels, f"{{{OME}}}Channel", {"ID": "Channel:0:0", "Name": classes, "SamplesPerPixel": "1"})
    ET.SubElement(pixels, f"{{{OME}}}TiffData", {"IFD": "0", "PlaneCount": "1"})
    ET.SubElement(image, f"{{{OME}}}AnnotationRef", {"ID": "Annotation:0"})
    annotations = ET.SubElement(root, f"{{{OME}}}StructuredAnnotations")
    table = ET.SubElement(
        annotations, f"{{{OME}}}MapAnnotation", {"ID": "Annotation:0", "Namespace": CLASSES_NAMESPACE}
    )
    values = ET.SubElement(table, f"{{{OME}}}Value")
    for index, tissue_class in enumerate(schema):
        entry = ET.SubElement(values, f"{{{OME}}}M", {"K": str(index)})
        entry.text = "{} #{:02x}{:02x}{:02x}".format(tissue_class.name, *tissue_class.color)
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def _color_map(schema: ClassSchema) -> NDArray[np.uint16]:
    """TIFF's colour table ``(3, 256)``, 16 bits a channel."""
    return np.asarray(schema.palette.T.astype(np.uint16) * 257)


def _level_side(side: int, level: int) -> int:
    return -(-side // (1 << level))


def _boxes(size_gr: tuple[int, int], level: int) -> list[Box]:
    """What each tile of a level covers of the mask, row by row."""
    step, (width, height) = TILE_PX << level, size_gr
    return [
        Box(x, y, min(x + step, width), min(y + step, height))
        for y in range(0, height, step)
        for x in range(0, width, step)
    ]


class _Levels:
    """Tiles of every level; levels from 1/8 on come from one small copy, 1/64 of the mask, held in memory."""

    def __init__(self, label: MaskStore) -> None:
        self._label = label
        self._small: NDArray[np.uint8] | None = None

    def tiles(self, level: int, progress: Progress) -> Iterator[NDArray[np.uint8]]:
        """Tiles of a level, the last ones padded with background."""
        for box in _boxes(self._label.size_gr, level):
            part = self._thinned(box, level)
            tile = np.zeros((TILE_PX, TILE_PX), dtype=np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            progress.advance()
            yield tile

    def _thinned(self, box: Box, level: int) -> NDArray[np.uint8]:
        step = 1 << level
        if level < _HELD_LEVEL:
            return np.asarray(self._label.read(box)[::step, ::step])
        if self._small is None:
            self._small = self._shrink()
        held = 1 << _HELD_LEVEL
        rows, columns = Box(*(-(-edge // held) for edge in (box.x0, box.y0, box.x1, box.y1))).slices()
        return self._small[rows, columns][:: step // held, :: step // held]

    def _shrink(self) -> NDArray[np.uint8]:
        step = 1 << _HELD_LEVEL
        # Bands begin at multiples of 128 rows, so every band begins on a row that is taken. A copy of the
        # few pixels, not a view, which would keep the whole band.
        return np.concatenate(
            [self._label.read(box)[::step, ::step].copy() for box in bands(self._label.size_gr)]
        )


_HELD_LEVEL = 3
