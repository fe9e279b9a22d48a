"""The files of a finished prediction, made in its work folder."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiseg.annotation.convert import Target, write_annotations
from wsiseg.annotation.qupath_writer import zip_if_large
from wsiseg.classes import ClassSchema
from wsiseg.files import as_output_error, write_json
from wsiseg.geometry import GridFrame
from wsiseg.infer.naming import (
    FIXED_SUFFIXES,
    MASK_SUFFIX,
    PICTURE_SUFFIX,
    RECORD_SUFFIX,
    SUFFIXES,
    TABLE_SUFFIX,
    kept_suffix,
)
from wsiseg.infer.objects import ObjectTable
from wsiseg.infer.ometiff import write_label_image
from wsiseg.infer.omezarr import write_label_zarr
from wsiseg.infer.overview import write_overview
from wsiseg.infer.request import Settings
from wsiseg.progress import Progress
from wsiseg.slide import Slide
from wsiseg.tilestore import MaskStore
from wsiseg.tissuemap import Overview

ZIP_ABOVE = 64 << 20
"""Bytes from which the QuPath file is zipped.

Below it the plain file is handier: every QuPath, GIS program and script reads it. Above it, some 50,000
nuclei on, a file seven times smaller counts for more; QuPath reads the zipped file from 0.4 on.
"""


@dataclass(frozen=True)
class Finished:
    """A prediction, ready to be written.

    Attributes:
        slide: The slide.
        frame: The grid frame of the mask.
        label: The mask.
        table: The objects.
        overview: The slide, small.
        metadata: Texts that the annotation files carry.
        record: Content of the record, but for the names of the files.
    """

    slide: Slide
    frame: GridFrame
    label: MaskStore
    table: ObjectTable
    overview: Overview
    metadata: dict[str, str]
    record: dict[str, Any]


def write_mask(folder: Path, slide: Slide, frame: GridFrame, label: MaskStore, schema: ClassSchema) -> None:
    """Write the mask as OME-TIFF; it needs no outlines, so it can be made while they are traced.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    with as_output_error(folder):
        target = folder / f"{slide.stem}{MASK_SUFFIX}"
        write_label_image(target, label, schema, mpp=slide.pixel_um(frame), name=slide.name)


def write_all(folder: Path, finished: Finished, settings: Settings, progress: Progress) -> None:
    """Write all files of a prediction into a folder, the record last: with it, they are complete.

    The mask (``write_mask``) and the maps that are kept lie there already.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    slide, overview, table = finished.slide, finished.overview, finished.table
    picture = folder / f"{slide.stem}{PICTURE_SUFFIX}"
    with as_output_error(folder), ThreadPoolExecutor(1, thread_name_prefix="picture") as beside:
        # Compressing the picture takes as long as all the rest, and leaves the interpreter alone.
        drawn = beside.submit(write_overview, picture, overview.rgb, overview.downsample, table)
        written = _write_data(folder, finished, settings, progress)
        drawn.result()
        write_json(folder / f"{slide.stem}{RECORD_SUFFIX}", {**finished.record, "files": written})


def _write_data(folder: Path, finished: Finished, settings: Settings, progress: Progress) -> list[str]:
    """All but picture and record; gives the names of all but the record."""
    slide, table = finished.slide, finished.table
    stem, formats = slide.stem, [name for name in SUFFIXES if name in settings.formats]
    target = Target(
        slide_id=slide.fingerprint,
        origin_l0=slide.origin_qupath,
        resolution=slide.resolution,
        metadata=finished.metadata,
        count=len(table),
    )
    progress.start("writing files", len(formats) + 1)
    written = []
    for name in formats:
        path = folder / f"{stem}{SUFFIXES[name]}"
        if name == "ome-zarr":
            mpp = slide.pixel_um(finished.frame)
            write_label_zarr(path, finished.label, table.schema, mpp=mpp, name=slide.name)
        else:
            write_annotations(path, table.annotations(), table.schema, name, target)
            path = zip_if_large(path, ZIP_ABOVE) if name == "qupath" else path
        written.append(path.name)
        progress.advance()
    table.write_csv(folder / f"{stem}{TABLE_SUFFIX}")
    progress.advance()
    written += [f"{stem}{kept_suffix(name)}" for name in settings.keep]
    return written + [f"{stem}{suffix}" for suffix in FIXED_SUFFIXES]
