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
from wsiseg.infer.pyramid import LabelPyramid, level_size
from wsiseg.labelimage import CLASSES_NAMESPACE
from wsiseg.tilestore import MaskStore

TILE_PX = 512
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def write_label_image(
    path: Path,
    label: MaskStore,
    schema: ClassSchema,
    *,
    mpp: tuple[float, float],
    name: str,
) -> None:
    """Write a label mask; the same mask gives the same bytes.

    Args:
        path: Where.
        label: The mask.
        schema: Names and colours of the labels.
        mpp: Micrometres that a mask pixel measures, (x, y).
        name: Name of the image, that of the slide.
    """
    pyramid = LabelPyramid(label, TILE_PX)
    levels = pyramid.levels
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
    per_cm = (1e4 / mpp[0], 1e4 / mpp[1])
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            writer.write(
                _padded(pyramid.tiles(level)),
                shape=level_size(label.size_gr, level)[::-1],
                subifds=levels - 1 if level == 0 else None,
                subfiletype=0 if level == 0 else 1,
                description=ome_xml(schema, label.size_gr, mpp, name) if level == 0 else None,
                resolution=(per_cm[0] / 2**level, per_cm[1] / 2**level),
                resolutionunit="CENTIMETER",
                **options,
            )


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


def _padded(tiles: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Tiles of full size, filled up with background."""
    for part in tiles:
        tile = np.zeros((TILE_PX, TILE_PX), dtype=np.uint8)
        tile[: part.shape[0], : part.shape[1]] = part
        yield tile
