"""``wsiseg check``: whether a viewer would take annotation files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsiseg.cli.console import exit_for, stderr, stdout
from wsiseg.cli.options import NamedPath, refuse_nothing_left, refuse_same_file
from wsiseg.outcome import Outcome, recording

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
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=NamedPath(exists=True, dir_okay=False),
)
@click.option(
    "--fix",
    type=NamedPath(dir_okay=False),
    help="Write a mended copy of the one file here, in the same format.",
)
@click.option(
    "--as",
    "viewer",
    type=click.Choice(list(_VIEWERS)),
    help="Check against this viewer; by default the one whose format it is.",
)
def command(files: tuple[Path, ...], fix: Path | None, viewer: "TargetFormat | None") -> None:
    """Say why QuPath (0.4 to 0.7), ASAP, ImageScope or DSA would refuse annotation files.

    Exit code 1 where the viewer would refuse one; with --fix, where it would refuse the copy, or nothing is
    left for one. What it would change, or lose for its smallness, is a warning. What has no area, such as
    points, is left out of a copy, and said.

    \b
      wsiseg check slides/*.geojson
      wsiseg check slide.xml --fix mended.xml
    """
    if fix is not None:
        if len(files) > 1:
            raise click.UsageError(f"--fix mends one file; found {len(files)}: mend them one after the other")
        refuse_same_file(files[0], fix)
    outcomes: list[Outcome] = []
    passed = True
    for path in files:
        with recording(str(path), outcomes):
            passed &= _check(path, fix, viewer)
    exit_for(outcomes)
    if not passed:
        sys.exit(1)


def _check(source: Path, fix: Path | None, viewer: "TargetFormat | None") -> bool:
    """Print what a viewer makes of a file; whether it opens the file, or the mended copy of it."""
    from wsiseg.annotation import read_annotations
    from wsiseg.annotation.convert import CHECKS

    file = read_annotations(source)
    chosen = viewer or ("imagescope" if file.format == "halo" else file.format)
    problems: Sequence[Problem] = CHECKS[chosen](source)
    _print(source, chosen, problems)
    stdout.print(f"read by wsiseg: {file.report.summary()}", soft_wrap=True, markup=False)
    if fix is not None:
        problems = _fix(file, source, fix, chosen)
    return not any(problem.severity == "error" for problem in problems)


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
    refuse_nothing_left(source, file.report, len(file.annotations))
    target = Target(source.name.split(".")[0], holes="group")
    report = write_annotations(out, file.annotations, schema, viewer, target)
    refuse_nothing_left(source, file.report, report.total)
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
