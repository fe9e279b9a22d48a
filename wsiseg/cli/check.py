"""``wsiseg check``: whether a viewer would take an annotation file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsiseg.cli.console import stderr, stdout
from wsiseg.cli.options import refuse_same_file

if TYPE_CHECKING:
    from wsiseg.annotation import AnnotationFile, Problem
    from wsiseg.annotation.convert import TargetFormat

_VIEWERS = {
    "qupath": "QuPath",
    "asap": "ASAP",
    "imagescope": "ImageScope",
    "dsa": "the Digital Slide Archive",
}


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--fix",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a mended copy here, in the same format.",
)
@click.option(
    "--as",
    "viewer",
    type=click.Choice(list(_VIEWERS)),
    help="Check against this viewer; by default the one whose format it is.",
)
def command(source: Path, fix: Path | None, viewer: "TargetFormat | None") -> None:
    """Say why QuPath (0.4 to 0.7), ASAP, ImageScope or DSA would refuse an annotation file.

    Exit code 1 where the viewer would refuse it, or lose an object; with --fix, where it would refuse the
    copy. What has no area, such as points, is left out of a copy, and said.
    """
    from wsiseg.annotation import read_annotations
    from wsiseg.annotation.convert import CHECKS

    if fix is not None:
        refuse_same_file(source, fix)
    file = read_annotations(source)
    chosen = viewer or ("imagescope" if file.format == "halo" else file.format)
    problems: Sequence[Problem] = CHECKS[chosen](source)
    _print(source, chosen, problems)
    stdout.print(f"read by wsiseg: {file.report.summary()}", soft_wrap=True, markup=False)
    if fix is not None:
        problems = _fix(file, source, fix, chosen)
    if any(problem.severity == "error" for problem in problems):
        sys.exit(1)


def _print(path: Path, viewer: str, problems: "Sequence[Problem]") -> None:
    from wsiseg.annotation.model import group_by_reason

    errors = [problem for problem in problems if problem.severity == "error"]
    verdict = "would refuse it" if errors else "opens it"
    stdout.print(f"{path}: {_VIEWERS[viewer]} {verdict}", soft_wrap=True, markup=False)
    for severity in ("error", "warning"):
        for reason in group_by_reason(p for p in problems if p.severity == severity):
            stdout.print(f"  {severity}: {reason}", soft_wrap=True, markup=False)


def _fix(file: "AnnotationFile", source: Path, out: Path, viewer: "TargetFormat") -> "Sequence[Problem]":
    """Write the mended copy and check it in turn."""
    from wsiseg.annotation.convert import CHECKS, Target, in_own_colors, write_annotations
    from wsiseg.classes import default_schema

    schema = in_own_colors(default_schema(), file.annotations)
    target = Target(source.name.split(".")[0], holes="group")
    report = write_annotations(out, file.annotations, schema, viewer, target)
    if file.report.dropped:
        stderr.print(
            f"wsiseg: {len(file.report.dropped)} objects could not be kept",
            style="yellow",
            soft_wrap=True,
            markup=False,
        )
    stdout.print(f"wrote {out}: {report.total} objects", soft_wrap=True, markup=False)
    problems = CHECKS[viewer](out)
    _print(out, viewer, problems)
    return problems
