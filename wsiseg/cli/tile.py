"""``wsiseg tile``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsiseg.cli.console import can_go_on, exit_for, print_outcomes, progress_bars
from wsiseg.cli.options import PATH, backend_option, mpp_slide_option

if TYPE_CHECKING:
    from wsiseg.slide import BackendName


@click.command()
@click.argument("slides", metavar="SLIDE...", nargs=-1, required=True)
@click.option(
    "--out",
    type=PATH,
    default=Path("tiles"),
    show_default=True,
    help="Folder of the stores.",
)
@click.option(
    "--annotations",
    type=PATH,
    help="Annotations of the slide, or a folder of files named after the slides. "
    "Without it, <stem>.geojson, .json, .geojson.gz or .xml beside a slide is taken.",
)
@click.option("--mpp", type=float, help="Micrometres per pixel of the tiles (tiling.mpp).")
@mpp_slide_option
@click.option(
    "--mpp-csv",
    type=PATH,
    help="The same for each slide: a CSV with columns slide,mpp.",
)
@click.option(
    "--mask",
    type=PATH,
    help="Your own tissue in place of the detector's: a PNG over the whole slide, or drawn outlines.",
)
@click.option("--config", "config_path", type=PATH, help="A YAML configuration.")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting, as tiling.tile_px=256.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Threads; each takes 64 tiles at a time from the slide to the disk.",
)
@backend_option
@click.option("--strict", is_flag=True, help="Make anything wrong with the annotations an error.")
@click.option("--overwrite", is_flag=True, help="Make everything anew, whatever is there.")
def command(
    slides: tuple[str, ...],
    out: Path,
    annotations: Path | None,
    mpp: float | None,
    mpp_slide: float | None,
    mpp_csv: Path | None,
    mask: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
    workers: int,
    backend: "BackendName",
    strict: bool,
    overwrite: bool,
) -> None:
    """Cut slides into tiles, with labels where there are annotations.

    Writes OUT/<stem>.zarr and OUT/<stem>.tissue.png for each slide, and OUT/report.json. A slide without
    annotations gives unlabelled tiles. Asked again for the same, it answers at once; interrupted, it
    goes on where it stopped.

    \b
    Examples:
      wsiseg tile slides/*.svs
      wsiseg tile slide.svs --annotations slide.geojson --mpp 1.0
      wsiseg tile old.tiff --mpp-slide 0.5 --set tiling.tile_px=256
    """
    from wsiseg.config import load_config
    from wsiseg.outcome import Outcome, recording, write_report
    from wsiseg.tiling import TileOptions, make_jobs, tile_slide

    extra = () if mpp is None else (f"tiling.mpp={mpp}",)
    config = load_config(config_path, (*overrides, *extra))
    jobs = make_jobs(slides, annotations=annotations, mask=mask, mpp_slide=mpp_slide, mpp_csv=mpp_csv)
    options = TileOptions(workers=workers, backend=backend, strict=strict, overwrite=overwrite)
    outcomes: list[Outcome] = []
    unreadable: dict[str, list[tuple[int, int, int, int]]] = {}
    report = partial(write_report, out, "tile", outcomes, unreadable_tiles_l0=unreadable)
    can_go_on()
    with progress_bars() as progress:
        try:
            for job in jobs:
                with recording(job.slide, outcomes) as outcome:
                    summary = tile_slide(job, config, out, options=options, progress=progress)
                    outcome.counts = summary.counts()
                    if summary.up_to_date:
                        outcome.status, outcome.reason = "skipped", "up to date"
                    if summary.unreadable_l0:
                        unreadable[job.slide] = summary.unreadable_l0
        except KeyboardInterrupt:
            report()
            raise
    print_outcomes(outcomes, report())
    exit_for(outcomes)
