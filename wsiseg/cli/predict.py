"""``wsiseg predict``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsiseg.cli.console import exit_for, print_outcomes, progress_bars, stderr, stdout

if TYPE_CHECKING:
    from wsiseg.infer.export import Format

FORMATS = ("qupath", "asap", "imagescope", "dsa")


@click.command()
@click.argument("slides", metavar="SLIDE...", nargs=-1, required=True)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="A run, a checkpoint or an exported model.  [default: the newest run in runs/]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("predictions"),
    show_default=True,
    help="Folder of the files.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("qupath", "asap"),
    show_default=True,
    help="Annotation files to write; may be given several times.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Threads that read tiles ahead.",
)
@click.option(
    "--mpp-slide", type=float, help="Micrometres per pixel of the slides' level 0, where they do not say."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting of the run: predict.* or tissue.*",
)
@click.option("--overwrite", is_flag=True, help="Make everything anew, whatever is there.")
def command(
    slides: tuple[str, ...],
    run: Path | None,
    out: Path,
    formats: "tuple[Format, ...]",
    device: str,
    workers: int,
    mpp_slide: float | None,
    overrides: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Segment whole slides with a trained run.

    Writes for each slide into OUT: <stem>.geojson (QuPath), <stem>.xml (ASAP), <stem>.ome.tiff (label mask),
    <stem>.objects.csv (measurements), <stem>.png (picture with outlines), and OUT/report.json. Tile size,
    resolution and classes come from the run. A finished slide is skipped; interrupted, the same command
    goes on where it stopped.

    \b
    Examples:
      wsiseg predict slide.svs
      wsiseg predict slides/*.svs --run runs/run-001 --format imagescope
      wsiseg predict slide.svs --set predict.stitching=window
    """
    from wsiseg.infer.batch import predict_batch, prepare
    from wsiseg.infer.pipeline import Settings
    from wsiseg.infer.predictor import choose_device
    from wsiseg.model.checkpoint import latest_run, load_trained

    where = choose_device(device)
    run = latest_run() if run is None else run
    predictor, card, settings = prepare(
        load_trained(run, where),
        where,
        Settings(formats=tuple(dict.fromkeys(formats)), workers=workers, overwrite=overwrite),
        overrides=overrides,
        name=str(run),
    )
    with progress_bars() as progress:
        batch = predict_batch(
            slides,
            predictor,
            card,
            out=out,
            settings=settings,
            progress=progress,
            mpp_slide=mpp_slide,
        )
    stdout.print(f"run: {run}   device: {where}")
    print_outcomes(batch.outcomes, batch.report)
    for slide, text in batch.warnings:
        stderr.print(f"wsiseg: {slide}: {text}", style="yellow", soft_wrap=True, markup=False)
    exit_for(batch.outcomes)
