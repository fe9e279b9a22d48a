"""``wsiseg convert``: annotations from one viewer's format to another's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsiseg.cli.console import stderr, stdout
from wsiseg.cli.options import NamedPath, mpp_slide_option, refuse_nothing_left, refuse_same_file

if TYPE_CHECKING:
    from wsiseg.annotation import Annotation, AnnotationFile, WriteReport
    from wsiseg.annotation.convert import Target


@click.command()
@click.argument("source", metavar="IN", type=NamedPath(exists=True, dir_okay=False))
@click.argument("out", metavar="OUT", type=NamedPath(dir_okay=False))
@click.option(
    "--to",
    "target_format",
    type=click.Choice(["qupath", "asap", "imagescope", "dsa"]),
    required=True,
    help="Whose format to write.",
)
@click.option("--slide", help="The slide: its origin, resolution and identity go into the file.")
@mpp_slide_option
@click.option(
    "--map",
    "map_path",
    type=NamedPath(dir_okay=False),
    help="YAML file of new class names, one `viewer name or layer id: class` a line.",
)
@click.option(
    "--config",
    type=NamedPath(dir_okay=False),
    help="Configuration whose classes give the colours.",
)
@click.option(
    "--asap-holes",
    type=click.Choice(["split", "group", "drop"]),
    default="split",
    show_default=True,
    help="What becomes of holes in ASAP, which has none.",
)
@click.option("--ungrouped-by-name", is_flag=True, help="ASAP: an annotation's name is its missing group.")
@click.option(
    "--close-gap",
    type=click.FloatRange(min=0),
    default=0.0,
    help="ImageScope: join strokes whose ends lie this close.",
)
@click.option("--strict", is_flag=True, help="Anything that would have to be mended is an error.")
def command(source: Path, out: Path, **options: Any) -> None:
    """Convert annotations between QuPath, ASAP, ImageScope and DSA.

    The format of IN is recognised by its content. What the other format cannot hold is listed. Exit code 1
    where IN holds objects and none of them can be written.

    \b
      wsiseg convert slide.xml slide.geojson --to qupath --slide slide.svs
    """
    from wsiseg.annotation import read_annotations
    from wsiseg.annotation.convert import in_own_colors, require_suffix, write_annotations
    from wsiseg.config import load_config

    require_suffix(out, options["target_format"])
    refuse_same_file(source, out)
    schema = load_config(options["config"]).schema_
    target, mpp = _target(source, options)
    file = read_annotations(
        source,
        origin_l0=target.origin_l0,
        strict=options["strict"],
        ungrouped="name" if options["ungrouped_by_name"] else "none",
        close_gap_px=options["close_gap"],
    )
    warning = None if mpp is None else file.mpp_warning(mpp)
    if warning is not None:
        stderr.print(f"wsiseg: {warning}", style="yellow", soft_wrap=True, markup=False)
    annotations = _renamed(file, options["map_path"])
    if options["config"] is None:
        schema = in_own_colors(schema, annotations)
    refuse_nothing_left(source, file.report, len(annotations))
    report = write_annotations(out, annotations, schema, options["target_format"], target)
    refuse_nothing_left(source, file.report, report.total)
    _print(source, out, file, report, options["target_format"])


def _target(source: Path, options: dict[str, Any]) -> tuple["Target", float | None]:
    """What the slide gives to the file, and the slide's resolution where it is known."""
    from wsiseg.annotation.convert import Target
    from wsiseg.errors import ResolutionError
    from wsiseg.geometry import Resolution
    from wsiseg.slide import Slide

    mpp = options["mpp_slide"]
    given = None if mpp is None else Resolution(mpp, mpp)
    if options["slide"] is None:
        return Target(source.name.split(".")[0], resolution=given, holes=options["asap_holes"]), mpp
    with Slide.open(options["slide"], mpp=mpp) as slide:
        try:
            resolution = slide.resolution
        except ResolutionError:
            if options["target_format"] == "imagescope":
                raise
            resolution = None
        target = Target(slide.fingerprint, slide.origin_qupath, resolution, options["asap_holes"])
        return target, None if resolution is None else resolution.mpp_x


def _renamed(file: "AnnotationFile", map_path: Path | None) -> list["Annotation"]:
    from wsiseg.annotation.classmap import rename
    from wsiseg.config import load_mapping

    if map_path is None:
        return file.annotations
    annotations, unused = rename(file.annotations, load_mapping(map_path))
    if unused:
        stderr.print(
            f"wsiseg: no annotation is called {', '.join(map(repr, unused))}, as the mapping says",
            style="yellow",
            soft_wrap=True,
            markup=False,
        )
    return annotations


def _print(
    source: Path, out: Path, file: "AnnotationFile", report: "WriteReport", target_format: str
) -> None:
    classes = ", ".join(f"{name or 'no class'} {count}" for name, count in report.written.items())
    lines = [
        f"read {source} ({file.format}): {file.report.summary()}",
        f"wrote {out} ({target_format}): {report.total} objects{f' ({classes})' if classes else ''}",
        *(f"lost in {target_format}: {what}: {count} objects" for what, count in report.losses.items()),
    ]
    if not report.losses:
        lines.append(f"of what was read nothing is lost in {target_format}")
    for line in lines:
        stdout.print(line, soft_wrap=True, markup=False)
