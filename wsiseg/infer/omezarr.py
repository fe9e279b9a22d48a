"""A label mask as OME-Zarr, version 0.5: a multiscale image in zarr 3 that is labelled as a label image.

The rules are those of https://ngff.openmicroscopy.org/0.5. The group is a label image by itself. To show
it as the labels of an OME-Zarr image, copy it into that image's ``labels`` folder.
"""

from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.classes import ClassSchema
from wsiseg.geometry import Box
from wsiseg.infer.pyramid import LabelPyramid, level_size
from wsiseg.progress import NullProgress, Progress
from wsiseg.tilestore import MaskStore, MultiscaleWriter

VERSION = "0.5"
CHUNK_PX = 1024


def write_label_zarr(
    path: Path,
    label: MaskStore,
    schema: ClassSchema,
    *,
    mpp: tuple[float, float],
    name: str,
    progress: Progress | None = None,
) -> None:
    """Write a label mask; the same mask gives the same bytes.

    Args:
        path: Folder of the image.
        label: The mask.
        schema: Names and colours of the labels.
        mpp: Micrometres that a mask pixel measures, (x, y).
        name: Name of the image, that of the slide.
        progress: Told of each chunk.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    progress = progress or NullProgress()
    pyramid = LabelPyramid(label, CHUNK_PX)
    levels = range(pyramid.levels)
    writer = MultiscaleWriter.create(
        path,
        [level_size(label.size_gr, level) for level in levels],
        chunk_px=CHUNK_PX,
        attributes={"ome": ome_metadata(schema, pyramid.levels, mpp, name)},
    )
    progress.start("writing OME-Zarr", sum(len(pyramid.boxes(level)) for level in levels))
    for level in levels:
        for box, part in zip(pyramid.boxes(level), pyramid.tiles(level), strict=True):
            corner = (box.x0 >> level, box.y0 >> level)
            writer.write(level, Box.from_size(*corner, part.shape[1], part.shape[0]), part)
            progress.advance()


def ome_metadata(schema: ClassSchema, levels: int, mpp: tuple[float, float], name: str) -> dict[str, Any]:
    """Content of the ``ome`` attribute: the levels, and the colour and meaning of each label.

    A level takes the first of every two pixels, so its pixel centres lie on those of the level before, and
    a scale says it all; there is no translation.
    """
    return {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"],
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [mpp[1] * 2**level, mpp[0] * 2**level]}
                        ],
                    }
                    for level in range(levels)
                ],
                "type": "nearest",
                "metadata": {"method": "every second pixel", "version": f"wsiseg {__version__}"},
            }
        ],
        "image-label": {
            "colors": [
                {"label-value": index, "rgba": [*tissue_class.color, 255 if index else 0]}
                for index, tissue_class in enumerate(schema)
            ],
            "properties": [
                {
                    "label-value": index,
                    "class": tissue_class.name,
                    **({"inside": tissue_class.inside} if tissue_class.inside else {}),
                }
                for index, tissue_class in enumerate(schema)
            ],
        },
    }
