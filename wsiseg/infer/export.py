"""The files of a finished prediction: made in a work folder, then moved into place one by one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsiseg.annotation import write_asap, write_dsa, write_imagescope, write_qupath
from wsiseg.files import as_output_error
from wsiseg.geometry import GridFrame
from wsiseg.infer.objects import ObjectTable
from wsiseg.infer.ometiff import write_label_image
from wsiseg.infer.overview import write_overview
from wsiseg.infer.tissue import Glance
from wsiseg.progress import Progress
from wsiseg.slide import Slide
from wsiseg.tilestore import MaskStore

Format = Literal["qupath", "asap", "imagescope", "dsa"]

SUFFIXES: dict[Format, str] = {
    "qupath": ".geojson",
    "asap": ".xml",
    "imagescope": ".imagescope.xml",
    "dsa": ".dsa.json",
}
"""ASAP and ImageScope both say ``.xml``; ASAP has it, as the viewer that opens it by its name."""

FIXED_SUFFIXES = (".ome.tiff", ".objects.csv", ".png")
RECORD_SUFFIX = ".prediction.json"
"""Written last: where it is, the prediction that it describes is complete."""


def suffixes(formats: Sequence[Format]) -> list[str]:
    """What follows the slide's stem in the names of all files of a prediction, the record last."""
    return [*(SUFFIXES[name] for name in SUFFIXES if name in formats), *FIXED_SUFFIXES, RECORD_SUFFIX]


@dataclass(frozen=True)
class Finished:
    """A prediction, ready to be written.

    Attributes:
        slide: The slide.
        frame: The grid frame of the mask.
        label: The mask.
        table: The objects.
        glance: The slide, small.
        metadata: Texts that the annotation files carry.
        record: Content of the record.
    """

    slide: Slide
    frame: GridFrame
    label: MaskStore
    table: ObjectTable
    glance: Glance
    metadata: dict[str, str]
    record: dict[str, Any]


def write_all(folder: Path, finished: Finished, formats: Sequence[Format], progress: Progress) -> list[Path]:
    """Write all files of a prediction into a folder.

    Returns:
        Their paths, the record last.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    paths = [folder / f"{finished.slide.stem}{suffix}" for suffix in suffixes(formats)]
    with as_output_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        progress.start("writing files", len(formats) + 2)
        for name in formats:
            _write_annotations(folder / f"{finished.slide.stem}{SUFFIXES[name]}", name, finished)
            progress.advance()
        *_, image, table, picture, record = paths
        finished.table.write_csv(table)
        progress.advance()
        write_overview(picture, finished.glance.rgb, finished.glance.downsample, finished.table)
        progress.advance()
        resolution, downsample = finished.slide.resolution, finished.frame.downsample
        mpp = (resolution.mpp_x * downsample[0], resolution.mpp_y * downsample[1])
        write_label_image(
            image, finished.label, finished.table.schema, mpp=mpp, name=finished.slide.name, progress=progress
        )
        text = json.dumps(finished.record, indent=2, ensure_ascii=False) + "\n"
        record.write_text(text, encoding="utf-8")
    return paths


def move_into_place(paths: Sequence[Path], out: Path) -> list[Path]:
    """Move finished files over older ones.

    The older record goes first and the new one comes last, so at no moment does a record stand beside
    files that it does not describe.
    """
    targets = [out / path.name for path in paths]
    with as_output_error(out):
        targets[-1].unlink(missing_ok=True)
        for path, target in zip(paths, targets, strict=True):
            path.replace(target)
    return targets


def _write_annotations(path: Path, name: Format, finished: Finished) -> None:
    slide, table, metadata = finished.slide, finished.table, finished.metadata
    schema, objects = table.schema, table.annotations()
    if name == "qupath":
        write_qupath(
            path,
            objects,
            schema,
            slide_id=slide.fingerprint,
            origin_l0=slide.origin_qupath,
            metadata=metadata,
        )
    elif name == "asap":
        write_asap(path, objects, schema, metadata=metadata)
    elif name == "imagescope":
        write_imagescope(path, objects, schema, resolution=slide.resolution, metadata=metadata)
    else:
        write_dsa(
            path,
            objects,
            schema,
            slide_id=slide.fingerprint,
            origin_l0=slide.origin_qupath,
            metadata=metadata,
        )
