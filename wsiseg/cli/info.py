"""``wsiseg info``."""

import json
from pathlib import PurePath
from typing import TYPE_CHECKING

import click
from rich.table import Table

from wsiseg.cli.console import exit_for, progress_bars, stdout
from wsiseg.cli.options import backend_option, mpp_slide_option
from wsiseg.outcome import Outcome, recording

if TYPE_CHECKING:
    from wsiseg.slide import BackendName
    from wsiseg.summary import SlideSummary


@click.command()
@click.argument("slides", metavar="SLIDE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with one entry a slide.")
@mpp_slide_option
@backend_option
def command(slides: tuple[str, ...], as_json: bool, mpp_slide: float | None, backend: "BackendName") -> None:
    """Show what slide files hold: size, resolution, levels, tissue, and how they will be read.

    \b
    wsiseg info slide.svs
    wsiseg info slides/*.svs --json
    """
    from wsiseg.slide import Slide
    from wsiseg.summary import summarise

    outcomes: list[Outcome] = []
    summaries: list[SlideSummary] = []
    with progress_bars() as progress:
        progress.start("info", len(slides))
        for path in slides:
            with recording(path, outcomes), Slide.open(path, mpp=mpp_slide, backend=backend) as slide:
                summaries.append(summarise(slide))
            progress.advance()
    if as_json:
        failed = [{"path": each.slide, "error": each.reason} for each in outcomes if each.status == "failed"]
        click.echo(
            json.dumps([*(each.to_json() for each in summaries), *failed], indent=2, ensure_ascii=False)
        )
    else:
        for summary in summaries:
            _print(summary)
    exit_for(outcomes)


def _print(summary: "SlideSummary") -> None:
    table = Table.grid(padding=(0, 2))
    for key, value in _rows(summary).items():
        table.add_row(key, value)
    stdout.print(PurePath(summary.path).name, style="bold", markup=False)
    stdout.print(table)
    stdout.print()


def _rows(summary: "SlideSummary") -> dict[str, str]:
    """Labels and values, for people; without the rows that have nothing to say."""
    levels = [f"{width} x {height} (1/{downsample:g})" for width, height, downsample in summary.levels]
    rows = {
        "vendor": summary.vendor,
        "read by": summary.backend,
        "size": f"{summary.size_l0[0]} x {summary.size_l0[1]} px{_extent(summary)}",
        "resolution": summary.mpp_problem or _resolution(summary),
        "objective": f"{summary.objective:g}x" if summary.objective else "not said",
        "levels": ", ".join(levels),
        "tissue": f"{summary.tissue_share:.1%} of the slide",
        "stain": f"{summary.stain_guess} (a guess)",
    }
    if summary.bounds_l0 is not None:
        x0, y0, x1, y1 = summary.bounds_l0
        rows["scanned"] = f"{x1 - x0} x {y1 - y0} px at ({x0}, {y0})"
    if summary.unreadable:
        rows["damaged"] = f"regions that cannot be read: {summary.unreadable}"
    return rows


def _resolution(summary: "SlideSummary") -> str:
    mpp_x, mpp_y = summary.mpp or (0.0, 0.0)
    return f"{mpp_x:.4g} um/px" if mpp_x == mpp_y else f"{mpp_x:.4g} x {mpp_y:.4g} um/px"


def _extent(summary: "SlideSummary") -> str:
    if summary.mpp is None:
        return ""
    width, height = (side * mpp / 1000 for side, mpp in zip(summary.size_l0, summary.mpp, strict=True))
    return f", {width:.2g} x {height:.2g} mm"
