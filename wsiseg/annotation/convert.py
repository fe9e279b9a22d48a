"""Any format to any other, and the check that belongs to each."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wsiseg.annotation.asap_writer import Holes, write_asap
from wsiseg.annotation.check_asap import check_asap
from wsiseg.annotation.check_dsa import check_dsa
from wsiseg.annotation.check_imagescope import check_imagescope
from wsiseg.annotation.check_qupath import check_qupath
from wsiseg.annotation.dsa_writer import write_dsa
from wsiseg.annotation.imagescope_writer import write_imagescope
from wsiseg.annotation.model import Annotation, Problem
from wsiseg.annotation.qupath_writer import write_qupath
from wsiseg.annotation.writing import WriteReport
from wsiseg.classes import ClassSchema
from wsiseg.errors import ConfigError
from wsiseg.geometry import Resolution

TargetFormat = Literal["qupath", "asap", "imagescope", "dsa"]

SUFFIXES: Mapping[TargetFormat, tuple[str, ...]] = {
    "qupath": (".geojson", ".json", ".geojson.gz", ".json.gz"),
    "asap": (".xml",),
    "imagescope": (".xml",),
    "dsa": (".json", ".anot"),
}
"""How a file must be named for its viewer to recognise it."""

CHECKS: Mapping[TargetFormat, Callable[[Path], list[Problem]]] = {
    "qupath": check_qupath,
    "asap": check_asap,
    "imagescope": check_imagescope,
    "dsa": check_dsa,
}


@dataclass(frozen=True)
class Target:
    """What a file is written for.

    Attributes:
        slide_id: What identifies the slide; part of every object's id.
        origin_l0: The viewer's origin, used by QuPath and DSA.
        resolution: The slide's, used by ImageScope.
        holes: What becomes of holes in ASAP.
        metadata: Texts that go into the file.
        count: Number of objects where it is known; spares QuPath's writer from holding some to count them.
    """

    slide_id: str
    origin_l0: tuple[float, float] = (0, 0)
    resolution: Resolution | None = None
    holes: Holes = "split"
    metadata: Mapping[str, str] = field(default_factory=dict)
    count: int | None = None


def require_suffix(path: Path, target_format: TargetFormat) -> None:
    """Refuse a name that the viewer would not recognise.

    Raises:
        ConfigError: The name ends in something else.
    """
    if not path.name.lower().endswith(SUFFIXES[target_format]):
        raise ConfigError(
            f"output {path}",
            found=path.suffix or "no suffix",
            expected=f"a name that ends in {' or '.join(SUFFIXES[target_format])}, as {target_format} needs",
        )


def in_own_colors(schema: ClassSchema, annotations: Iterable[Annotation]) -> ClassSchema:
    """The schema with the colours that a file gives to its classes, for a copy that should look alike."""
    own: dict[str, tuple[int, int, int]] = {}
    for annotation in annotations:
        known = schema.find(annotation.class_name) if annotation.class_name else None
        if known is not None and annotation.color is not None:
            own.setdefault(known.name, annotation.color)
    return ClassSchema(tuple(replace(one, color=own.get(one.name, one.color)) for one in schema))


def write_annotations(
    path: Path,
    annotations: Iterable[Annotation],
    schema: ClassSchema,
    target_format: TargetFormat,
    target: Target,
) -> WriteReport:
    """Write annotations in one of the four formats.

    Raises:
        ConfigError: The viewer would not recognise the name of the file.
        OutputError: The file cannot be written.
    """
    require_suffix(path, target_format)
    metadata = target.metadata
    if target_format == "qupath":
        return write_qupath(
            path,
            annotations,
            schema,
            slide_id=target.slide_id,
            origin_l0=target.origin_l0,
            metadata=metadata,
            count=target.count,
        )
    if target_format == "asap":
        return write_asap(path, annotations, schema, holes=target.holes, metadata=metadata)
    if target_format == "imagescope":
        return write_imagescope(path, annotations, schema, resolution=target.resolution, metadata=metadata)
    return write_dsa(
        path,
        annotations,
        schema,
        slide_id=target.slide_id,
        origin_l0=target.origin_l0,
        metadata=metadata,
    )
